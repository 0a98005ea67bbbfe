# One millisecond of Ruby with the lock held, counted in CPU time of the thread.
run(lambda do |_env|
  finish = Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID, :microsecond) + 1000
  nil while Process.clock_gettime(Process::CLOCK_THREAD_CPUTIME_ID, :microsecond) < finish
  [200, { "content-type" => "text/plain" }, ["done"]]
end)
