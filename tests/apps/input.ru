# Reads request bodies in every way there is.
require 'digest'
require 'json'
require 'stringio'
require 'rack/lint'
require_relative 'gate'

LINTED = lambda do |env|
  input = env['rack.input']
  body = input ? (input.read || '') : ''
  answer = { size: body.bytesize, sha256: Digest::SHA256.hexdigest(body), encoding: body.encoding.name,
             length: env['CONTENT_LENGTH'], coding: env['HTTP_TRANSFER_ENCODING'] }
  Gate.note('bodies', body.bytesize)
  [200, { 'content-type' => 'application/json' }, [JSON.generate(answer)]]
end

# What each of these answers must be what a StringIO in binary mode answers.
SCRIPTS = {
  'read' => ->(io) { [io.read, io.read, io.read] },
  'read lengths' => ->(io) { [io.read(3), io.read(0), io.read(4), io.read(100_000_000), io.read(1), io.read(0), io.read] },
  'read nil' => ->(io) { [io.read(nil), io.read(nil), io.read(1)] },
  'read into' => lambda do |io|
    buffer = 'old contents'.b
    same = io.read(4, buffer).equal?(buffer)
    [same, buffer.dup, buffer.encoding.name, io.read(nil, buffer).bytesize, buffer.bytesize, io.read(1, buffer), buffer.dup]
  end,
  'read all into' => ->(io) { b = 'old'.b; [io.read(nil, b), b, io.read(nil, b), b.dup] },
  'gets' => ->(io) { lines = []; while (line = io.gets) do lines << line; end; lines << io.gets },
  'gets then read' => ->(io) { [io.gets, io.read(2), io.gets, io.read] },
  'each' => ->(io) { lines = []; io.each { |line| lines << line }; lines },
  'each after read' => ->(io) { lines = [io.read(5)]; io.each { |line| lines << line }; lines },
  'rewind' => ->(io) { [io.read(3), io.rewind, io.read, io.rewind, io.gets, io.rewind, io.read(2)] },
  'size' => ->(io) { [io.size, io.read(1), io.size] },
  'negative length' => ->(io) { begin; io.read(-1); rescue ArgumentError => e; e.class.name; end },
  'frozen buffer' => ->(io) { begin; io.read(1, 'x'.freeze); rescue FrozenError => e; e.class.name; end },
  'length of a wrong kind' => ->(io) { begin; io.read('a'); rescue TypeError => e; e.class.name; end }
}.freeze

def spelled(value)
  value.is_a?(Array) ? value.map { |one| spelled(one) } : value.is_a?(String) ? [value.encoding.name, value] : value
end

def answer_of(script, io)
  spelled(script.call(io))
rescue StandardError => e
  "#{e.class}: #{e.message}"
end

COMPARED = lambda do |env|
  input = env['rack.input']
  reference = input.read.b
  faults = SCRIPTS.filter_map do |name, script|
    input.rewind
    model = StringIO.new(reference.dup)
    model.binmode
    expected = answer_of(script, model)
    found = answer_of(script, input)
    "#{name}: expected #{expected.inspect[0, 300]}, found #{found.inspect[0, 300]}" if expected != found
  end
  [200, { 'content-type' => 'text/plain' }, [faults.join("\n")]]
end

run(lambda do |env|
  case env['PATH_INFO']
  when '/compare' then COMPARED.call(env)
  when '/ignore' then [200, { 'content-type' => 'text/plain' }, ['ignored']]
  when '/close' then env['rack.input'].close; [200, { 'content-type' => 'text/plain' }, ['closed']]
  when '/class' then [200, { 'content-type' => 'text/plain' }, [env['rack.input'].external_encoding.to_s]]
  else Rack::Lint.new(LINTED).call(env)
  end
end)
