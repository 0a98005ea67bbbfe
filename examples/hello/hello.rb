# The example application; config.ru runs it.
require "rack"
require "uri" # Rack::Lint of Rack 2 uses it without asking for it
require "erb"

class Hello
  STYLE = File.expand_path("style.css", __dir__)
  UPLOAD_BYTES_MAX = 16 * 1024 * 1024

  Upload = Struct.new(:name, :type, :bytes, keyword_init: true)

  def call(env)
    request = Rack::Request.new(env)
    case [request.request_method, request.path_info]
    in ["GET" | "HEAD", "" | "/"] then page(home(request))
    in ["GET" | "HEAD", "/env"] then page(environment(env))
    in ["POST", "/upload"] then upload(request)
    in ["GET" | "HEAD", "/stream"] then stream
    in ["GET" | "HEAD", "/style.css"] then file(STYLE, "text/css; charset=utf-8")
    else text(404, "There is no #{request.path_info} here.\n")
    end
  end

  private

  def home(request)
    facts = {
      "Server" => request.get_header("SERVER_SOFTWARE"),
      "Ruby" => RUBY_DESCRIPTION,
      "Rack" => Rack.release,
      "Environment" => ENV.fetch("RACK_ENV", "development"),
      "Process" => Process.pid,
      "You" => request.ip
    }
    <<~HTML
      <h1>Hello from rackrs</h1>
      <p class="lead">This page was made by Ruby and served by Rust.</p>
      #{table(facts)}
      <h2>Try it</h2>
      <ul class="cards">
        <li><a href="#{request.script_name}/env">The Rack environment</a><span>what the application sees of your request</span></li>
        <li><a href="#{request.script_name}/stream">A stream</a><span>five lines, sent one after the other while they are made</span></li>
      </ul>
      <form action="#{request.script_name}/upload" method="post" enctype="multipart/form-data">
        <label for="file">Send a file</label>
        <input id="file" type="file" name="file" required>
        <button>Upload</button>
      </form>
    HTML
  end

  def environment(env)
    shown = env.sort.to_h.transform_values { |value| value.is_a?(String) ? value : value.inspect }
    "<h1>The Rack environment</h1>#{table(shown)}#{back(env)}"
  end

  def upload(request)
    length = request.content_length.to_i
    return text(413, "At most #{UPLOAD_BYTES_MAX} bytes, please.\n") if length > UPLOAD_BYTES_MAX

    part = request.POST["file"]
    return text(422, "Choose a file first.\n") unless part.is_a?(Hash) && part[:tempfile]

    got = Upload.new(name: part[:filename], type: part[:type], bytes: part[:tempfile].size)
    page(<<~HTML)
      <h1>Received</h1>
      #{table("Name" => got.name, "Type" => got.type, "Bytes" => got.bytes)}
      #{back(request.env)}
    HTML
  end

  # Five lines with a pause before each: they reach the client one by one.
  def stream
    lines = Enumerator.new do |out|
      5.times do |index|
        sleep 0.3 unless index.zero?
        out << "line #{index + 1} at #{Time.now.strftime("%H:%M:%S.%L")}\n"
      end
    end
    [200, { "content-type" => "text/plain; charset=utf-8", "x-accel-buffering" => "no" }, lines]
  end

  def file(path, type)
    body = File.binread(path)
    [200, { "content-type" => type, "content-length" => body.bytesize.to_s }, [body]]
  end

  def page(content)
    body = <<~HTML
      <!doctype html>
      <html lang="en">
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <title>rackrs</title>
      <style>#{File.read(STYLE)}</style>
      <main>#{content}</main>
      </html>
    HTML
    [200, { "content-type" => "text/html; charset=utf-8", "content-length" => body.bytesize.to_s }, [body]]
  end

  def text(status, message)
    [status, { "content-type" => "text/plain; charset=utf-8", "content-length" => message.bytesize.to_s }, [message]]
  end

  def table(facts)
    rows = facts.map { |name, value| "<tr><th>#{escape(name)}</th><td>#{escape(value)}</td></tr>" }
    "<table>#{rows.join}</table>"
  end

  def back(env)
    %(<p><a href="#{escape(env["SCRIPT_NAME"])}/">Back</a></p>)
  end

  def escape(value)
    ERB::Util.html_escape(value.to_s.dup.force_encoding(Encoding::UTF_8).scrub)
  end
end
