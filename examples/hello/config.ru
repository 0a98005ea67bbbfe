# A small application to look at: a page, the Rack environment, an upload, a stream.
#
# Plain Rack, nothing else to install. Try it with script/server.
require_relative "hello"

use Rack::Lint if ENV["RACK_ENV"] != "production"
use Rack::Head

run Hello.new
