# Gates between a test and an application: a request waits in Gate.pass until the test opens it.
module Gate
  FOLDER = ENV.fetch('FOLDER')
  LIMIT_SECONDS = 60

  # Tells the test that the gate is reached, then waits until the test opens it.
  def self.pass(name)
    # By a rename: whoever sees the file sees all of it.
    File.write("#{FOLDER}/#{name}.reaching", Process.pid.to_s)
    File.rename("#{FOLDER}/#{name}.reaching", "#{FOLDER}/#{name}.reached")
    limit = Process.clock_gettime(Process::CLOCK_MONOTONIC) + LIMIT_SECONDS
    until File.exist?("#{FOLDER}/#{name}.open")
      raise "gate #{name} was never opened" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > limit

      sleep 0.005
    end
  end

  # Adds a line to a file that the test reads.
  def self.note(file, line)
    File.open("#{FOLDER}/#{file}", 'a') { |to| to.write("#{line}\n") }
  end
end
