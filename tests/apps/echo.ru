# Says what it was asked: method, path, query and the length of the body, as one line.
require 'rack/lint'

use Rack::Lint

run(lambda do |env|
  body = env['rack.input'] ? env['rack.input'].read.to_s : ''
  marked = env.select { |key, _| key.start_with?('HTTP_X_') }.map { |key, value| " #{key}=#{value}" }.sort.join
  said = "#{env['REQUEST_METHOD']} #{env['PATH_INFO']}?#{env['QUERY_STRING']} #{body.bytesize}#{marked}"
  [200, { 'content-type' => 'text/plain' }, [said]]
end)
