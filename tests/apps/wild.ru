# Responses that break the rules or fail on the way, without Rack::Lint.
require_relative 'gate'

# Gives its parts; a part that can be called is called. Its close is counted.
class Wild
  def initialize(name, *parts)
    @name = name
    @parts = parts
  end

  def each
    @parts.each { |part| yield(part.respond_to?(:call) ? part.call : part) }
  end

  def close
    Gate.note('closes', @name)
  end
end

TEXT = { 'content-type' => 'text/plain' }.freeze
RAISE = -> { raise 'midway' }
# Not an end of the program, not an exception of the usual kind.
ODD = Class.new(Exception) # rubocop:disable Lint/InheritException

# Gives parts for ever, or until nobody reads them.
ENDLESS = Object.new
def ENDLESS.each
  Gate.note('produced', 'started')
  loop { yield 'x' * 65_536 }
rescue Exception => e # rubocop:disable Lint/RescueException
  Gate.note('produced', "ended by #{e.class}")
  raise
end

def ENDLESS.close
  Gate.note('closes', 'endless')
end

def header(value)
  [200, TEXT.merge('x-wild' => value), ['ok']]
end

ROUTES = {
  '/crlf' => -> { header("1\r\nx-injected: 1") },
  '/cr' => -> { header("1\rx-injected: 1") },
  '/nul' => -> { header("1\0") },
  '/name' => -> { [200, { "x-a\r\nx-injected" => '1' }, ['ok']] },
  '/name-blank' => -> { [200, { 'x a' => '1' }, ['ok']] },
  '/lines' => -> { header("one\ntwo") },
  '/array-values' => -> { header(%w[one two]) },
  '/number' => -> { header(42) },
  '/latin' => -> { header("caf\xE9".b) },
  '/rack-headers' => -> { [200, TEXT.merge('rack.internal' => 'secret'), ['ok']] },
  '/mixed-case' => -> { [200, { 'Content-Type' => 'text/plain', 'Content-Length' => '2' }, ['ok']] },
  '/own-coding' => -> { [200, TEXT.merge('transfer-encoding' => 'chunked'), ['hello']] },
  '/own-connection' => -> { [200, TEXT.merge('connection' => 'close'), ['bye']] },
  '/raise' => -> { raise 'before' },
  '/raise-midway' => -> { [200, TEXT.dup, Wild.new('raise-midway', 'some', RAISE)] },
  '/raise-first' => -> { [200, TEXT.dup, Wild.new('raise-first', RAISE)] },
  '/raise-odd' => -> { [200, TEXT.dup, Wild.new('raise-odd', 'some', -> { raise ODD, 'odd' })] },
  '/raise-sized' => -> { [200, TEXT.merge('content-length' => '100'), Wild.new('raise-sized', 'some', RAISE)] },
  '/short' => -> { [200, TEXT.merge('content-length' => '100'), Wild.new('short', 'short')] },
  '/long' => -> { [200, TEXT.merge('content-length' => '5'), Wild.new('long', 'hello', 'HTTP/1.1 200 OK', "\r\n\r\n")] },
  '/short-array' => -> { [200, TEXT.merge('content-length' => '100'), ['short']] },
  '/long-array' => -> { [200, TEXT.merge('content-length' => '5'), ['hello', "HTTP/1.1 200 OK\r\n\r\n"]] },
  '/body-204' => -> { [204, {}, Wild.new('body-204', 'must not be sent')] },
  '/body-304' => -> { [304, {}, Wild.new('body-304', 'must not be sent')] },
  '/not-strings' => -> { [200, TEXT.dup, Wild.new('not-strings', 1, :two)] },
  '/nil' => -> { nil },
  '/two' => -> { [200, {}] },
  '/status-text' => -> { ['201', TEXT.dup, ['made']] },
  '/status-odd' => -> { [:created, TEXT.dup, ['made']] },
  '/no-each' => -> { [200, TEXT.dup, 42] },
  '/endless' => -> { [200, TEXT.dup, ENDLESS] },
  '/close-raises' => lambda do
    body = Wild.new('close-raises', 'fine')
    def body.close
      super
      raise 'in close'
    end
    [200, TEXT.dup, body]
  end,
  '/gated' => -> { [200, TEXT.dup, Wild.new('gated', 'first', -> { Gate.pass('middle') || 'second' })] },
  '/missing-file' => lambda do
    body = Wild.new('missing-file', 'from each')
    def body.to_path = '/nonexistent/file'
    [200, TEXT.dup, body]
  end,
  '/stream-raises' => -> { [200, TEXT.dup, ->(stream) { stream.write('some'); raise 'in stream' }] },
  '/stream-class' => lambda do
    [200, TEXT.dup, lambda do |stream|
      stream.write(%i[read write << flush close close_read close_write closed?].reject { |name| stream.respond_to?(name) }.join(','))
      stream.close
    end]
  end
}.freeze

run(lambda do |env|
  ROUTES.fetch(env['PATH_INFO'], -> { [200, TEXT.dup, ["hello\n"]] }).call
end)
