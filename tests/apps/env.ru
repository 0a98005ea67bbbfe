# Answers with the Rack environment as JSON: for each string its bytes and encoding, for every
# other value its class; and with what Rack::Lint says.
require 'json'
require 'rack/lint'

use Rack::Lint

SHOWN = %w[rack.version rack.multithread rack.multiprocess rack.run_once rack.hijack?].freeze

def shown(key, value)
  case value
  when String then { bytes: value.b.unpack1('H*'), encoding: value.encoding.name, frozen: value.frozen? }
  when nil, true, false, Integer then { value: value }
  else SHOWN.include?(key) ? { value: value } : { class: value.class.name }
  end
end

run(lambda do |env|
  GC.start if env['PATH_INFO'] == '/gc'
  out = JSON.generate(env.to_h { |key, value| [key, shown(key, value)] })
  [200, { 'content-type' => 'application/json' }, [out]]
end)
