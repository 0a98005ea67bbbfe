# Gives the request body back.
run(lambda do |env|
  body = env["rack.input"].read
  [200, { "content-type" => "application/octet-stream", "content-length" => body.bytesize.to_s }, [body]]
end)
