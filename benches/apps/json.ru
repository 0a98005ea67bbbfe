# A small JSON document made for each request.
require "json"

run(lambda do |env|
  body = JSON.generate(
    "message" => "Hello, World!",
    "path" => env["PATH_INFO"],
    "items" => Array.new(10) { |index| { "id" => index, "name" => "item #{index}", "even" => index.even? } }
  )
  [200, { "content-type" => "application/json", "content-length" => body.bytesize.to_s }, [body]]
end)
