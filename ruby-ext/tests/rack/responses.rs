//! Status and headers: what is sent, what is refused.

use crate::{
    Case,
    driver::{Client, Received, World, request},
};

pub(crate) const CASES: &[Case] = &[
    ("responses: what is sent", sent),
    ("responses: what is refused", refused),
    ("responses: without content", without_content),
    ("responses: early hints", early_hints),
    ("responses: callbacks", callbacks),
    ("responses: raising callbacks under the collector", raising_callbacks),
    ("responses: more headers than can be sent", too_many_headers),
];

fn header(received: &Received, name: &str) -> Vec<String> {
    let values = received.headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

fn sent(world: &World<'_>) {
    let table: &[(&str, u16, &str, &[&str])] = &[
        ("[200, {'x-a' => '1'}, []]", 200, "x-a", &["1"]),
        ("['201', {'X-A' => '1'}, []]", 201, "x-a", &["1"]),
        ("[999, {'x-a' => ''}, []]", 999, "x-a", &[""]),
        ("[200, {'x-a' => nil}, []]", 200, "x-a", &[""]),
        ("[200, {'x-a' => 7}, []]", 200, "x-a", &["7"]),
        ("[200, {:\"x-a\" => :b}, []]", 200, "x-a", &["b"]),
        ("[200, {'x-a' => ['1', '2', 3]}, []]", 200, "x-a", &["1", "2", "3"]),
        ("[200, {'x-a' => []}, []]", 200, "x-a", &[]),
        ("[200, {'x-a' => \"1\\n2\\n\"}, []]", 200, "x-a", &["1", "2"]),
        ("[200, [['x-a', '1'], ['x-a', '2']], []]", 200, "x-a", &["1", "2"]),
        ("[200, {'rack.mine' => 'x', 'x-a' => \"\\xC3\\xA9\"}, []]", 200, "rack.mine", &[]),
        ("[200, {'status' => '500'}, []]", 200, "status", &[]),
        ("[200, {'connection' => 'close'}, []]", 200, "connection", &["close"]),
        ("[200, {'transfer-encoding' => 'chunked'}, ['a']]", 200, "transfer-encoding", &[]),
        ("[200, {'content-length' => '1'}, ['a']]", 200, "content-length", &["1"]),
        ("[200, {'content-length' => ['1', '1']}, ['a']]", 200, "content-length", &["1"]),
        ("[200, nil, []]", 200, "x-a", &[]),
    ];
    for (triple, status, name, values) in table {
        let (received, log) = world.logged(|| world.get(&format!("->(env) {{ {triple} }}")));
        assert_eq!(received.status, *status, "{triple}: {log}");
        assert_eq!(header(&received, name), *values, "{triple}");
        assert_eq!(log, "", "{triple}");
    }
}

fn refused(world: &World<'_>) {
    let table = [
        ("[200, {'x-a' => \"1\\r\\nx-b: 2\"}, ['ok']]", "x-a"),
        ("[200, {'x-a' => \"1\\rx-b: 2\"}, ['ok']]", "x-a"),
        ("[200, {'x-a' => \"1\\0\"}, ['ok']]", "x-a"),
        ("[200, {\"x-a\\r\\nx-b\" => '1'}, ['ok']]", "x-a\\r\\nx-b"),
        ("[200, {'x a' => '1'}, ['ok']]", "x a"),
        ("[200, {'x-a' => ['1', \"2\\r\\n\"]}, ['ok']]", "x-a"),
        ("[200, {'content-length' => 'ten'}, ['ok']]", "content-length"),
        ("[200, {'content-length' => ['1', '2']}, ['ok']]", "content-length"),
        ("[100, {}, []]", "100"),
        ("[103, {}, []]", "103"),
        ("[0, {}, []]", "status 0"),
        ("[1000, {}, []]", "1000"),
        ("[-1, {}, []]", "-1"),
        ("[nil, {}, []]", "status 0"),
        ("[200, {}, nil]", "NilClass"),
        ("[200, {}, 'text']", "String"),
        ("[200, {}]", "Array"),
        ("nil", "NilClass"),
        ("[200, {}, [1]]", "Integer"),
        ("[101, {}, []]", "101"),
        ("[200, 7, []]", "Integer"),
    ];
    for (triple, named) in table {
        let (received, log) = world.logged(|| world.get(&format!("->(env) {{ {triple} }}")));
        assert_eq!(received.status, 500, "{triple}");
        assert!(log.contains(named) && log.starts_with("GET /: "), "{triple}: {log}");
        assert!(received.headers.get("x-b").is_none());
    }
}

fn without_content(world: &World<'_>) {
    let long = "[s, {'content-length' => '5'}, Enumerator.new { raise 'consumed' }]";
    let table = [
        ("GET", 204, long, &[][..]),
        ("GET", 205, long, &["0"]),
        ("GET", 304, long, &["5"]),
        ("HEAD", 200, long, &["5"]),
        ("HEAD", 200, "[s, {}, ['ab', 'c']]", &["3"]),
        ("HEAD", 200, "[s, {}, Enumerator.new { raise 'consumed' }]", &[]),
        ("HEAD", 204, "[s, {}, ['ab', 'c']]", &[]),
        ("GET", 204, "[s, {}, ['ab', 'c']]", &[]),
    ];
    for (method, status, triple, lengths) in table {
        let app = format!("->(env) {{ s = {status}; {triple} }}");
        let received = world.send(&world.context, &app, request(method, "/"), Client::Reads);
        assert_eq!(received.status, status, "{method} {triple}");
        assert!(received.body.is_empty() && !received.is_stream, "{method} {status} {triple}");
        assert_eq!(header(&received, "content-length"), lengths, "{method} {status} {triple}");
    }
}

fn early_hints(world: &World<'_>) {
    let received = world.get(
        "->(env) {
            env['rack.early_hints'].call('link' => \"</a>\\n</b>\", 'x-bad' => \"1\\r\\n2\\0\")
            [200, {}, []]
        }",
    );
    assert_eq!(received.status, 200);
    assert_eq!(received.hints.len(), 1);
    let links: Vec<_> = received.hints[0].get_all("link").iter().collect();
    assert_eq!(links, ["</a>", "</b>"]);
}

fn callbacks(world: &World<'_>) {
    let app = "->(env) {
        $calls = []
        env['rack.after_reply'] << -> { $calls << 'after' } << -> { raise 'in a callback' }
        env['rack.response_finished'] << ->(e, s, h, x) { $calls << [e.equal?(env), s, h, x] }
        env['rack.response_finished'] << ->(*) { $calls << 'last first' }
        FAILS ? raise('boom') : [200, {'a' => 'b'}, ['x']]
    }";
    let (_, log) = world.logged(|| world.get(&app.replace("FAILS", "false")));
    assert!(log.contains("in a callback"), "{log}");
    let calls: String = world.eval("$calls.inspect");
    let headers = world.eval::<String>("{'a' => 'b'}.inspect");
    assert_eq!(calls, format!("[\"after\", \"last first\", [true, 200, {headers}, nil]]"));
    world.logged(|| world.get(&app.replace("FAILS", "true")));
    let calls: String = world.eval("$calls.inspect");
    let raised = "[true, 500, {}, #<RuntimeError: boom>]";
    assert_eq!(calls, format!("[\"after\", \"last first\", {raised}]"));
}

/// What callbacks raised stays alive until it is logged.
fn raising_callbacks(world: &World<'_>) {
    let app = "->(env) {
        deep = ->(n, &block) { n.zero? ? block.call : deep.(n - 1, &block) }
        20.times { |i| env['rack.after_reply'] << -> { deep.(30) { raise \"callback #{i}\" } } }
        churn = -> { GC.start; $churn = Array.new(50_000) { 'x' * 10 } }
        env['rack.after_reply'] << churn << churn
        [200, {}, []]
    }";
    let (_, log) = world.logged(|| world.get(app));
    for number in 0..20 {
        assert!(log.contains(&format!("RuntimeError: callback {number}\n")), "{number}: {log}");
    }
}

fn too_many_headers(world: &World<'_>) {
    for headers in [
        "(1..40_000).to_h { |i| [\"x-#{i}\", '1'] }",
        "{'set-cookie' => Array.new(40_000, 'a=b').join(\"\\n\")}",
        "{'set-cookie' => Array.new(40_000, 'a=b')}",
        "(1..40_000).map { |i| [\"x-#{i}\", '1'] }",
    ] {
        let app = format!("->(env) {{ [200, {headers}, []] }}");
        let (received, log) = world.logged(|| world.get(&app));
        assert_eq!(received.status, 500, "{headers}: {log}");
        assert!(log.contains("too many headers"), "{headers}: {log}");
    }
    let app =
        "->(env) { env['rack.early_hints'].call('link' => ['</a>'] * 40_000); [200, {}, []] }";
    assert_eq!(world.get(app).status, 200);
}
