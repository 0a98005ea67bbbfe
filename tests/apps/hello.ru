# The smallest correct application, with what most tests ask of a server.
require 'rack/lint'
require_relative 'gate'

use Rack::Lint

run(lambda do |env|
  body =
    case env['PATH_INFO']
    when '/pid' then Process.pid.to_s
    when '/parent' then Process.ppid.to_s
    when %r{\A/gate/(\w+)\z} then Gate.pass($1) || "through #{$1}"
    else "hello\n"
    end
  [200, { 'content-type' => 'text/plain' }, [body]]
end)
