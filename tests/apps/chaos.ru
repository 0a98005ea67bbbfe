# What makes a worker stop answering, or end: for the watchdog, and for the report of a death.
require 'fiddle'
require 'io/nonblock'
require_relative 'gate'

TEXT = { 'content-type' => 'text/plain' }.freeze

# A method in C that waits for ever and keeps Ruby's lock, as an extension with a bug does.
READ = Fiddle::Function.new(
  Fiddle::Handle::DEFAULT['read'],
  [Fiddle::TYPE_INT, Fiddle::TYPE_VOIDP, Fiddle::TYPE_SIZE_T],
  Fiddle::TYPE_SSIZE_T,
  need_gvl: true
)

def keep_the_lock
  reader, @writer = IO.pipe
  reader.nonblock = false
  READ.call(reader.fileno, Fiddle.malloc(1), 1)
end

def loop_for_ever
  loop {}
end

def wait_for_each_other
  locks = [Mutex.new, Mutex.new]
  held = Queue.new
  threads = [locks, locks.reverse].map do |first, second|
    Thread.new do
      first.synchronize do
        held << true
        Thread.pass until held.size == 2
        second.synchronize {}
      end
    end
  end
  threads.each(&:join)
end

ROUTES = {
  '/pid' => -> { Process.pid.to_s },
  '/loop' => -> { loop_for_ever },
  '/deadlock' => -> { wait_for_each_other },
  '/native' => -> { keep_the_lock },
  '/segv' => -> { Process.kill(:SEGV, Process.pid); sleep },
  '/exit!' => -> { exit!(3) },
  '/exit!-0' => -> { exit!(0) },
  '/abort-process' => -> { Process.kill(:ABRT, Process.pid); sleep },
  '/abort' => -> { abort 'the application gave up' },
  '/kill' => -> { Process.kill(:KILL, Process.pid); sleep }
}.freeze

run(lambda do |env|
  path = env['PATH_INFO']
  body = path =~ %r{\A/gate/(\w+)\z} ? (Gate.pass($1) || 'through') : ROUTES.fetch(path, -> { 'hello' }).call
  [200, TEXT.dup, [body.to_s]]
end)
