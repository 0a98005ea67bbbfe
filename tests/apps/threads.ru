# What an application may do to its thread, and gates to hold threads with.
require 'timeout'
require_relative 'gate'

TEXT = { 'content-type' => 'text/plain' }.freeze

def deeper(number)
  deeper(number + 1) + 1
end

ROUTES = {
  '/pid' => -> { Process.pid.to_s },
  '/exit' => -> { exit },
  '/exit-3' => -> { exit 3 },
  '/abort' => -> { abort 'the application gave up' },
  '/throw' => -> { throw :nobody_catches_this },
  '/thread-exit' => -> { Thread.exit },
  '/thread-kill' => -> { Thread.current.kill },
  '/thread-raise' => -> { Thread.current.raise(IOError, 'from itself') },
  '/deep' => -> { deeper(0).to_s },
  '/no-memory' => -> { raise NoMemoryError, 'as if memory were out' },
  '/interrupt' => -> { raise Interrupt },
  '/security' => -> { raise SecurityError, 'no' },
  '/script-error' => -> { raise NotImplementedError, 'not yet' },
  '/exit!' => -> { exit! },
  '/segv' => -> { Process.kill(:SEGV, Process.pid); sleep },
  '/break' => -> { proc { break }.call },
  '/timeout' => -> { Timeout.timeout(0.05) { sleep } },
  '/timeout-caught' => lambda do
    Timeout.timeout(0.05) { loop {} }
  rescue Timeout::Error
    'caught'
  end,
  # Kills a thread that waits for a request, then shows that requests are still served.
  '/kill-idle' => lambda do
    idle = Thread.list.reject { |thread| thread == Thread.current || thread == Thread.main }
    idle.each(&:kill)
    idle.each { |thread| thread.join(10) or raise 'a waiting thread cannot be killed' }
    "killed #{idle.size}"
  end,
  '/locals' => -> { seen = Thread.current[:left].inspect; Thread.current[:left] = 'something'; seen },
  '/count' => -> { Thread.list.size.to_s }
}.freeze

run(lambda do |env|
  path = env['PATH_INFO']
  body = path =~ %r{\A/gate/(\w+)\z} ? (Gate.pass($1) || 'through') : ROUTES.fetch(path, -> { 'hello' }).call
  [200, TEXT.dup, [body]]
end)
