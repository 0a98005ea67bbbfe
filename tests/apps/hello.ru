# The smallest correct application, with what most tests ask of a server.
require 'rack/lint'
require_relative 'gate'

use Rack::Lint

run(lambda do |env|
  # No `$1`: a block at the top has one for all threads.
  _, route, name = env['PATH_INFO'].split('/', 3)
  body =
    case route
    when 'pid' then Process.pid.to_s
    when 'parent' then Process.ppid.to_s
    when 'gate' then Gate.pass(name) || "through #{name}"
    else "hello\n"
    end
  [200, { 'content-type' => 'text/plain' }, [body]]
end)
