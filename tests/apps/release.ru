# Answers with the release it was booted from, for the restart oracle; under rackrs, Puma and Unicorn, Rack 2 and 3.
#
# Each answer starts with "MARKER ID PID", where the marker was read at boot and the ID is the request's.
require 'zlib'

FOLDER = ENV.fetch('FOLDER')
MARKER = File.read(ENV.fetch('RELEASE_FILE', "#{FOLDER}/release")).strip.freeze

def boot_seconds
  file = "#{FOLDER}/boot_seconds"
  Float(ENV['BOOT_SECONDS'] || (File.exist?(file) ? File.read(file) : 0))
end

sleep boot_seconds

# Parts that come one after the other, over about 400 ms; the last says that it is the last.
class Parts
  COUNT = 20
  PAUSE_SECONDS = 0.02

  def initialize(first, id)
    @first = first
    @id = id
  end

  def each
    yield "#{@first}\n"
    COUNT.times do |number|
      sleep PAUSE_SECONDS
      yield "part #{number} #{@id}\n"
    end
    yield "end #{@id}\n"
  end
end

# Reads the whole body in pieces: its length and its Adler-32.
def measured(input)
  length = 0
  sum = Zlib.adler32
  while input && (piece = input.read(65_536))
    length += piece.bytesize
    sum = Zlib.adler32(piece, sum)
  end
  "#{length} #{sum}"
end

def answer(text)
  [200, { 'content-type' => 'text/plain', 'content-length' => text.bytesize.to_s }, [text]]
end

run(lambda do |env|
  _, route, id = env['PATH_INFO'].split('/', 3)
  first = "#{MARKER} #{id} #{Process.pid}"
  case route
  when 'id' then answer(first)
  when 'upload' then answer("#{first} #{measured(env['rack.input'])}")
  when 'stream' then [200, { 'content-type' => 'text/plain' }, Parts.new(first, id)]
  when 'slow'
    sleep Integer(env['QUERY_STRING'][/\bms=(\d+)/, 1] || 200) / 1000.0
    answer(first)
  else [404, { 'content-type' => 'text/plain' }, ['no such route']]
  end
end)
