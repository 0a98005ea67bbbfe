# A hundred chunks of 100 bytes from `each`, without a length.
class Chunks
  CHUNK = ("x" * 99 << "\n").freeze

  def each
    100.times { yield CHUNK }
  end
end

run ->(_env) { [200, { "content-type" => "text/plain" }, Chunks.new] }
