# Notes each hook that runs: its name, what it was given, and the process.
require_relative 'gate'

def note(name, *arguments)
  Gate.note('hooks', [name, Process.pid, *arguments].join(' '))
end

note 'load'

%i[before_fork before_thread_start before_thread_exit before_restart after_booted after_stopped
   before_refork after_refork].each { |name| Rackrs.public_send(name) { note(name) } }
%i[before_worker_fork after_worker_fork before_worker_boot before_worker_shutdown]
  .each { |name| Rackrs.public_send(name) { |index| note(name, index) } }
Rackrs.after_worker_exit { |index, pid, status| note(:after_worker_exit, index, pid, status) }
Rackrs.worker_timeout { |index, pid| note(:worker_timeout, index, pid) }

run(lambda do |env|
  body =
    case env['PATH_INFO']
    when '/pid' then Process.pid.to_s
    when '/stuck' then loop {}
    else 'hello'
    end
  [200, { 'content-type' => 'text/plain' }, [body]]
end)
