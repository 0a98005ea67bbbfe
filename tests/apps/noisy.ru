# Writes numbered lines to both standard streams, for tests of log files.
#
# No `$1` here: a block at the top has one for all threads.
run(lambda do |env|
  _, route, word = env['PATH_INFO'].split('/', 3)
  return [404, {}, ['nothing here']] unless route == 'say'

  # As long as a line of a log is now and then.
  $stdout.write("out #{word} #{'.' * 300} #{word}\n")
  $stderr.write("err #{word} #{'.' * 300} #{word}\n")
  [200, {}, [word]]
end)
