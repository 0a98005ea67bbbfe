# Takes the client's socket, in the ways Rack knows, and sends early hints.
require_relative 'gate'

TEXT = { 'content-type' => 'text/plain' }.freeze

# Answers each line with the same in capitals until "bye".
def converse(io)
  while (line = io.gets)
    io.write(line.upcase)
    io.flush
    break if line.chomp == 'bye'
  end
ensure
  io.close
end

FULL = lambda do |env|
  io = env['rack.hijack'].call
  Gate.note('hijack', "returned #{io.class}")
  Gate.note('hijack', 'the same') if env['rack.hijack_io'].nil? || env['rack.hijack_io'].equal?(io)
  io.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nyours\n")
  Thread.new { converse(io) }
  [200, {}, []]
end

PARTIAL = lambda do |_env|
  [200, TEXT.merge('connection' => 'close', 'rack.hijack' => ->(io) { io.write("partial\n"); io.flush; converse(io) }), []]
end

UPGRADE = lambda do |env|
  next [400, TEXT.dup, ['no upgrade']] unless env['HTTP_UPGRADE'] == 'shout'

  take = ->(io) { Thread.new { converse(io) } }
  [101, { 'upgrade' => 'shout', 'connection' => 'Upgrade', 'rack.hijack' => take }, []]
end

STREAMED_UPGRADE = lambda do |_env|
  [101, { 'upgrade' => 'shout', 'connection' => 'Upgrade' }, ->(stream) { converse(stream) }]
end

HINTS = lambda do |env|
  hints = env['rack.early_hints']
  next [200, TEXT.dup, ['no hints here']] unless hints

  hints.call('link' => "</a.css>; rel=preload\n</b.js>; rel=preload")
  Gate.pass('hinted') if env['QUERY_STRING'] == 'gate'
  [200, TEXT.dup, ['hinted']]
end

BAD_HINTS = lambda do |env|
  begin
    env['rack.early_hints'].call('link' => "a\r\nx-injected: 1")
  rescue StandardError => e
    Gate.note('hijack', e.class.name)
  end
  [200, TEXT.dup, ['survived']]
end

AGAIN = lambda do |env|
  first = env['rack.hijack'].call
  second = begin
    env['rack.hijack'].call
  rescue StandardError => e
    e
  end
  first.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n#{second.equal?(first) ? 'same' : second.class}")
  first.close
  [200, {}, []]
end

ROUTES = { '/full' => FULL, '/partial' => PARTIAL, '/upgrade' => UPGRADE, '/streamed-upgrade' => STREAMED_UPGRADE,
           '/hints' => HINTS, '/bad-hints' => BAD_HINTS, '/again' => AGAIN }.freeze

run(lambda do |env|
  ROUTES.fetch(env['PATH_INFO'], ->(_) { [200, TEXT.dup, ["hello\n"]] }).call(env)
end)
