# Twenty milliseconds of waiting without the lock, as for a database.
run(lambda do |_env|
  sleep 0.02
  [200, { "content-type" => "text/plain" }, ["done"]]
end)
