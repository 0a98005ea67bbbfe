//! Bodies: every kind arrives as it is, is held to its length, and is closed exactly once.

use magnus::Value;

use crate::{
    Case,
    driver::{Client, Received, World, post, request},
};

pub(crate) const CASES: &[Case] = &[
    ("bodies: kinds", kinds),
    ("bodies: a file", file),
    ("bodies: lengths", lengths),
    ("bodies: framed by the application", framed),
    ("bodies: closed exactly once", closed_once),
    ("bodies: raising", raising),
    ("bodies: a client that leaves", client_leaves),
    ("bodies: larger than the channel", large),
    ("bodies: streams", streams),
    ("bodies: a slow client holds up its own thread only", slow_client),
    ("bodies: each of many writers can be killed", killed_writers),
];

/// A body with `each`, which counts its closings in `$closed`.
const COUNTING: &str = "
    $closed = 0
    class Counting
      def initialize(*parts, &block) = (@parts, @block = parts, block)
      def each
        @parts.each { |part| yield part }
        @block.call if @block
      end
      def close = $closed += 1
    end
    class CountingCall
      def initialize(&block) = @block = block
      def call(stream) = @block.call(stream)
      def close = $closed += 1
    end
    class CountingArray < Array
      def close = $closed += 1
    end
    class CountingPath < Counting
      def to_path = '/etc/passwd'
    end
    class CountingAry < Counting
      def to_ary
        @parts.dup
      ensure
        close
      end
    end
";

fn kinds(world: &World<'_>) {
    world.eval::<Value>(COUNTING);
    for (body, expected, is_stream) in [
        ("[]", "", false),
        ("['a']", "a", false),
        ("['a', '', nil, \"\\xFF\", 'b']", "a\u{fffd}b", false),
        ("Counting.new", "", false),
        ("Counting.new('a', 'b')", "ab", true),
        ("['a', 'b'].each", "ab", true),
        ("Enumerator.new { |y| y << 'one'; y << nil; y << 'two' }", "onetwo", true),
        ("->(stream) { stream.write('a', 1); stream << 'b'; stream.close }", "a1b", true),
        ("->(stream) { stream.close }", "", false),
        ("proc { |stream| stream.flush; stream.close_write }", "", true),
    ] {
        let (received, log) =
            world.logged(|| world.get(&format!("->(env) {{ [200, {{}}, {body}] }}")));
        assert_eq!(String::from_utf8_lossy(&received.body), expected, "{body} {log}");
        assert_eq!((received.status, received.is_stream), (200, is_stream), "{body} {log}");
        assert!(!received.is_aborted && log.is_empty(), "{body} {log}");
    }
    let received = world.get("->(env) { [200, {}, CountingAry.new('a', 'b')] }");
    assert_eq!(received.body, b"ab");
    assert_eq!(received.is_stream, world.rack.major < 3);
}

fn file(world: &World<'_>) {
    let passwd = std::fs::read("/etc/passwd").unwrap();
    let path = "class Path < Struct.new(:to_path); def each = yield('each'); end";
    world.eval::<Value>(path);
    let length = passwd.len();
    for (triple, expected) in [
        ("[200, {}, Path.new('/etc/passwd')]".to_owned(), &passwd[..]),
        (format!("[200, {{'content-length' => '{length}'}}, Path.new('/etc/passwd')]"), &passwd),
        ("[206, {'content-length' => '4'}, Path.new('/etc/passwd')]".to_owned(), b"each"),
        ("[200, {}, Path.new('/no/such/file')]".to_owned(), b"each"),
        ("[200, {}, Path.new('/tmp')]".to_owned(), b"each"),
        ("[200, {}, Path.new(nil)]".to_owned(), b"each"),
        ("[200, {}, File.open('/etc/passwd')]".to_owned(), &passwd),
    ] {
        let received = world.get(&format!("->(env) {{ {triple} }}"));
        assert_eq!(received.body, expected, "{triple}");
    }
    let app = "->(env) { [200, {}, Path.new('/etc/passwd')] }";
    let head = world.send(&world.context, app, request("HEAD", "/"), Client::Reads);
    assert_eq!(head.headers["content-length"], length.to_string());
}

fn lengths(world: &World<'_>) {
    world.eval::<Value>(COUNTING);
    let whole = |received: &Received| (!received.is_aborted, received.body.len());
    for (length, body, expected) in [
        (5, "['hello']", (true, 5)),
        (5, "['hel', 'lo']", (true, 5)),
        (5, "['hello', 'HTTP/1.1 200 OK']", (false, 5)),
        (5, "['hello world']", (false, 5)),
        (5, "['hel']", (false, 3)),
        (5, "[]", (false, 0)),
        (0, "[]", (true, 0)),
        (0, "['x']", (false, 0)),
        (5, "Counting.new('hello')", (true, 5)),
        (5, "Counting.new('hel', 'lo')", (true, 5)),
        (5, "Counting.new('hello', 'HTTP/1.1 200 OK')", (false, 5)),
        (5, "Counting.new('hello world')", (false, 5)),
        (5, "Counting.new('hel')", (false, 3)),
        (5, "Counting.new", (false, 0)),
        (0, "Counting.new", (true, 0)),
        (0, "Counting.new('x')", (false, 0)),
        (5, "->(s) { s << 'hello'; s.close }", (true, 5)),
        (5, "->(s) { s << 'hel'; s.close }", (false, 3)),
        (5, "->(s) { s << 'hello'; s << '!'; s.close }", (false, 5)),
    ] {
        let app = format!("->(env) {{ [200, {{'content-length' => '{length}'}}, {body}] }}");
        let (received, log) = world.logged(|| world.get(&app));
        assert_eq!(whole(&received), expected, "{length} {body} {log}");
        assert_eq!(received.status, 200);
        assert_eq!(log.is_empty(), expected.0, "{body}: {log}");
    }
}

fn framed(world: &World<'_>) {
    for (body, expected, is_whole) in [
        ("[\"5\\r\\nhello\\r\\n\", \"0\\r\\n\\r\\n\"]", "hello", true),
        ("[\"5\\r\\nhello\\r\\n\", \"0\\r\\n\\r\\n\"].each", "hello", true),
        ("['hello']", "hello", true),
        ("[\"5\\r\\nhello\\r\\n\"]", "hello", false),
        ("[]", "", true),
    ] {
        let app = format!("->(env) {{ [200, {{'transfer-encoding' => 'chunked'}}, {body}] }}");
        let (received, log) = world.logged(|| world.get(&app));
        assert_eq!(String::from_utf8_lossy(&received.body), expected, "{body} {log}");
        assert_eq!(!received.is_aborted, is_whole, "{body} {log}");
    }
}

fn closed_once(world: &World<'_>) {
    world.eval::<Value>(COUNTING);
    let bodies = [
        "Counting.new('a', 'b')",
        "Counting.new('hello')",
        "Counting.new",
        "Counting.new(7)",
        "Counting.new('a') { raise 'mid' }",
        "Counting.new { raise 'before' }",
        "Counting.new('a') { exit }",
        "Counting.new('a') { throw :nothing }",
        "Counting.new('x' * 200_000, 'y' * 200_000, 'z' * 200_000)",
        "CountingArray['a', 'b']",
        "CountingArray['a', 7]",
        "CountingPath.new('a')",
        "CountingAry.new('a')",
        "CountingCall.new { |s| s << 'a'; s.close }",
        "CountingCall.new { |s| s << 'a'; raise 'mid' }",
        "CountingCall.new { |s| raise 'before' }",
    ];
    let heads = [
        ("GET", "[200, {}, B]"),
        ("GET", "[200, {'content-length' => '3'}, B]"),
        ("GET", "[200, {'x' => \"\\r\\n\"}, B]"),
        ("GET", "[200, {'content-length' => 'x'}, B]"),
        ("GET", "['no', {}, B]"),
        ("GET", "[304, {}, B]"),
        ("GET", "[204, {}, B]"),
        ("HEAD", "[200, {}, B]"),
        ("GET", "[200, {'rack.hijack' => ->(io) { io.close }}, B]"),
        ("GET", "[200, {'rack.hijack' => ->(io) { raise 'hijacked' }}, B]"),
        ("GET", "(env['rack.hijack'].call.close; [200, {}, B])"),
    ];
    for body in bodies {
        for (method, head) in heads {
            for client in
                [Client::Reads, Client::Gone, Client::LeavesInTheMiddle, Client::Hands(Some(b""))]
            {
                let app = format!("->(env) {{ $closed = 0; {} }}", head.replace('B', body));
                let case = format!("{method} {app} {client:?}");
                world.logged(|| {
                    world.send(&world.context, &app, request(method, "/"), client);
                });
                // An application that could not hijack has not returned a body.
                let has_body = !head.contains(".call.close") || client == Client::Hands(Some(b""));
                let closed: usize = world.eval("$closed");
                assert_eq!(closed, usize::from(has_body), "{case}");
            }
        }
    }
}

fn raising(world: &World<'_>) {
    world.eval::<Value>(COUNTING);
    for (body, status, is_aborted) in [
        ("Counting.new { raise 'before' }", 500, false),
        ("Counting.new('a') { raise 'mid' }", 200, true),
        ("Counting.new('') { raise 'before' }", 500, false),
        ("->(s) { raise 'before' }", 500, false),
        ("->(s) { s << 'a'; raise 'mid' }", 200, true),
        ("->(s) { s.flush; raise 'mid' }", 200, true),
        ("Counting.new('a', 7)", 200, true),
        ("Counting.new(7)", 500, false),
    ] {
        let app = format!("->(env) {{ [200, {{'x-app' => '1'}}, {body}] }}");
        let (received, log) = world.logged(|| world.get(&app));
        assert_eq!((received.status, received.is_aborted), (status, is_aborted), "{body}");
        assert_eq!(log.matches("GET /: ").count(), 1, "{body}: {log}");
        assert_eq!(received.headers.contains_key("x-app"), status == 200, "{body}");
    }
}

fn client_leaves(world: &World<'_>) {
    world.eval::<Value>("$wrote = 0; $saw = nil");
    let app = "->(env) { [200, {}, Enumerator.new { |y|
        begin
          loop { y << 'x' * 50_000; $wrote += 1 }
        rescue SystemCallError => e
          $saw = e
          raise
        end
    }] }";
    let (received, log) = world
        .logged(|| world.send(&world.context, app, request("GET", "/"), Client::LeavesInTheMiddle));
    assert_eq!(received.status, 200);
    assert_eq!(log, "");
    assert!(
        world.eval::<bool>("$saw.is_a?(Errno::EPIPE) && $saw.class.name == 'Rackrs::ClientGone'")
    );
    assert!(world.eval::<i64>("$wrote") < 10);
}

fn large(world: &World<'_>) {
    for body in
        ["['x' * 3_000_001]", "['x' * 1_000_001, 'x' * 2_000_000]", "['x' * 3_000_001].each"]
    {
        let received = world.get(&format!("->(env) {{ [200, {{}}, {body}] }}"));
        assert_eq!(received.body.len(), 3_000_001, "{body}");
        assert!(received.is_stream && !received.is_aborted);
        if !body.ends_with("each") {
            assert_eq!(received.headers["content-length"], "3000001");
        }
    }
}

fn streams(world: &World<'_>) {
    let echo = "->(env) { [200, {}, ->(s) { s << s.read(2) << '-' << s.read; s.close }] }";
    let received = world.send(&world.context, echo, post(b"abcdef"), Client::Reads);
    assert_eq!(received.body, b"ab-cdef");
    // A thread of the application may go on after `call`.
    let threaded = "->(env) { [200, {}, ->(s) {
        $thread = Thread.new { s << 'late'; s.close; s.closed? }
        $thread.join
    }] }";
    assert_eq!(world.get(threaded).body, b"late");
    assert!(world.eval::<bool>("$thread.value"));
    // It may read what is left of a large body then.
    let mut upload = post(b"");
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"abcdef").unwrap();
    *upload.body_mut() = rackrs_ruby::exchange::Body::File { file, len: 6 };
    let late = "->(env) { $input = env['rack.input']; [200, {}, ->(s) {
        s << s.read(2)
        $go = Queue.new
        env['rack.after_reply'] << -> { $go << true; $thread.join }
        $thread = Thread.new { $go.pop; s << s.read; s.close }
    }] }";
    let received = world.send(&world.context, late, upload, Client::Reads);
    assert_eq!(String::from_utf8_lossy(&received.body), "abcdef");
    assert!(world.eval::<bool>("$input.closed?"));
    let closed = "->(env) { [200, {}, ->(s) {
        s.close
        begin; s << 'x'; rescue IOError => e; $error = e.message; end
        begin; s.read; rescue IOError => e; $error += ', ' + e.message; end
    }] }";
    world.get(closed);
    let error: String = world.eval("$error");
    assert_eq!(error, "not opened for writing, not opened for reading");
}

/// While the client is behind, the application waits, other threads run, and `Thread#raise` and
/// `Timeout` get through.
fn slow_client(world: &World<'_>) {
    world.eval::<Value>("require 'timeout'; $wrote = 0; $others = 0");
    let app = "->(env) { [200, {}, Enumerator.new { |y|
        counter = Thread.new { loop { $others += 1; Thread.pass } }
        begin
          Timeout.timeout(0.2) { loop { y << 'x' * 10_000; $wrote += 1 } }
        ensure
          counter.kill
        end
    }] }";
    let (received, log) =
        world.logged(|| world.send(&world.context, app, request("GET", "/"), Client::Stalls));
    assert!(log.contains("Timeout::Error"), "{log}");
    assert!(received.is_aborted);
    let wrote: usize = world.eval("$wrote");
    let queued = rackrs_ruby::exchange::STREAM_QUEUED_BYTES_MAX;
    assert!(wrote * 10_000 <= queued + 10_000, "{wrote}");
    assert!(world.eval::<i64>("$others") > 10);
}

/// An interrupt reaches the thread it is meant for, not another that waits for the same client.
fn killed_writers(world: &World<'_>) {
    let app = "->(env) { [200, {}, ->(s) {
        writers = Array.new(6) { Thread.new { loop { s << 'x' * 100_000 } } }
        Thread.pass until writers.all? { |thread| thread.status == 'sleep' }
        $ended = writers.reverse.map { |thread| thread.kill; thread.join(20) ? true : false }
        s.close
    }] }";
    let (_, log) =
        world.logged(|| world.send(&world.context, app, request("GET", "/"), Client::Stalls));
    assert_eq!(world.eval::<String>("$ended.uniq.inspect"), "[true]", "{log}");
}
