# Correct response bodies of every kind, under Rack::Lint unless LINT=off. Each notes its close in the file "closes".
require 'rack/lint'
require_relative 'gate'

# A body whose each gives the parts and whose close is counted.
class Parts
  def initialize(name, parts)
    @name = name
    @parts = parts
  end

  def each(&block)
    @parts.each(&block)
  end

  def close
    Gate.note('closes', @name)
  end
end

# A body that is a file.
class OnDisk < Parts
  def initialize(name, path)
    super(name, [])
    @path = path
  end

  def to_path
    @path
  end

  def each
    Gate.note('closes', "#{@name} was read by each")
    File.open(@path, 'rb') { |file| yield file.read }
  end
end

FILE = "#{ENV.fetch('FOLDER')}/served.bin"
File.binwrite(FILE, Array.new(70_000) { |number| [number].pack('N') }.join)
RACK3 = Rack.release >= '3'
TEXT = { 'content-type' => 'text/plain' }.freeze

def sized(length)
  TEXT.merge('content-length' => length.to_s)
end

ROUTES = {
  '/array' => -> { [200, TEXT.dup, %w[one two three]] },
  '/array-sized' => -> { [200, sized(3), ['abc']] },
  '/empty' => -> { [200, TEXT.dup, []] },
  '/each' => -> { [200, TEXT.dup, Parts.new('each', %w[one two three])] },
  '/each-sized' => -> { [200, sized(11), Parts.new('each-sized', %w[one two three])] },
  '/each-empty-parts' => -> { [200, TEXT.dup, Parts.new('each-empty-parts', ['', 'a', '', 'b', ''])] },
  '/enumerator' => -> { [200, TEXT.dup, Enumerator.new { |to| 3.times { |number| to << "part #{number}\n" } }] },
  '/stream' => lambda do
    raise 'Rack 2 has no streaming bodies' unless RACK3

    [200, TEXT.dup, ->(stream) { stream.write('streamed '); stream << 'well'; stream.flush; stream.close }]
  end,
  '/file' => -> { [200, { 'content-type' => 'application/octet-stream' }, OnDisk.new('file', FILE)] },
  '/file-sized' => -> { [200, sized(File.size(FILE)), OnDisk.new('file-sized', FILE)] },
  '/204' => -> { [204, {}, Parts.new('204', [])] },
  '/304' => -> { [304, {}, Parts.new('304', [])] },
  '/404' => -> { [404, TEXT.dup, Parts.new('404', ['nothing here'])] },
  '/binary' => -> { [200, { 'content-type' => 'application/octet-stream' }, ["\xFF\x00\r\n0\r\n\r\n".b]] },
  '/large' => -> { [200, TEXT.dup, Parts.new('large', Array.new(64) { |number| (65 + number % 26).chr * 65_536 })] },
  '/cookies' => lambda do
    cookies = %w[a=1 b=2]
    [200, TEXT.merge('set-cookie' => RACK3 ? cookies : cookies.join("\n")), ['ok']]
  end,
  '/utf8' => -> { [200, { 'content-type' => 'text/plain; charset=utf-8' }, ['zażółć']] }
}.freeze

use Rack::Lint unless ENV['LINT'] == 'off' # that of Rack 2.2 hides to_path and to_ary

run(lambda do |env|
  ROUTES.fetch(env['PATH_INFO'], -> { [404, TEXT.dup, ['no such route']] }).call
end)
