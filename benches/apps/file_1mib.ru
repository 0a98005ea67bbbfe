# A file of 1 MiB, as Rack::Files gives it: a body that answers `to_path`.
require "tempfile"

FILE = Tempfile.new("rackrs-bench").tap do |file|
  file.binmode
  file.write("x" * 1_048_576)
  file.flush
end

class FileBody
  def initialize(path)
    @path = path
  end

  def to_path
    @path
  end

  def each
    File.open(@path, "rb") do |file|
      while (part = file.read(16_384))
        yield part
      end
    end
  end
end

run(lambda do |_env|
  headers = { "content-type" => "application/octet-stream", "content-length" => FILE.size.to_s }
  [200, headers, FileBody.new(FILE.path)]
end)
