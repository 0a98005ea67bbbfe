# Loads only when the test opens the gate "load".
require 'rack/lint'
require_relative 'gate'

Gate.pass('load')

use Rack::Lint
run ->(_) { [200, { 'content-type' => 'text/plain' }, ["#{Process.pid} loaded"]] }
