//! env: every key, its value, its encoding and whether it is frozen; and what `Rack::Lint` says.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use magnus::Value;
use rackrs_ruby::{
    exchange::{Body, Peer, Request, Scheme, exchange},
    rack,
};

use crate::{
    Case,
    driver::{Client, World, post, request},
};

pub(crate) const CASES: &[Case] = &[
    ("env: lint finds nothing", lint),
    ("env: values", values),
    ("env: encodings and frozenness", encodings),
    ("env: headers", headers),
    ("env: names with underscores", underscores),
    ("env: keys of a release", releases),
    ("env: client address", addresses),
    ("env: nothing is shared", nothing_shared),
    ("env: many headers and many names", many),
    ("env: under a busy collector", collector),
];

const LINTED: &str = "Rack::Lint.new(->(env) {
    env['rack.input'].read
    env['rack.errors'].flush
    [200, {'content-type' => 'text/plain', 'content-length' => '2'}, ['ok']]
})";

fn lint(world: &World<'_>) {
    let requests = [
        ("GET", "/"),
        ("GET", "/a%20b?x=%41&y"),
        ("GET", "http://example.org:81/x?y"),
        ("POST", "/"),
        ("PATCH", "/"),
        ("DELETE", "/x"),
    ];
    for (method, target) in requests {
        for scheme in [Scheme::Http, Scheme::Https] {
            let mut request = request(method, target);
            let headers = request.headers_mut();
            headers.insert("content-type", "text/plain".parse().unwrap());
            headers.insert("x-bytes", http::HeaderValue::from_bytes(b"\xff\xfe").unwrap());
            headers.insert("transfer-encoding", "chunked".parse().unwrap());
            headers.insert("proxy", "http://evil".parse().unwrap());
            *request.body_mut() = Body::Memory(Bytes::from_static(b"a\nb"));
            let (head, body) = request.into_parts();
            let app = world.app(LINTED);
            let (received, log) = world
                .logged(|| world.serve(&world.context, &app, (head, body, scheme), Client::Reads));
            assert_eq!((received.status, &received.body[..]), (200, &b"ok"[..]), "{log}");
            assert_eq!(log, "");
        }
    }
    let head = world.send(&world.context, LINTED, request("HEAD", "/"), Client::Reads);
    assert_eq!(head.status, 200);
}

/// `env` of one request as `$env`.
fn capture(world: &World<'_>, request: http::Request<Body>, scheme: Scheme) {
    let app = world.app("->(env) { $env = env; [200, {}, []] }");
    let (head, body) = request.into_parts();
    assert_eq!(world.serve(&world.context, &app, (head, body, scheme), Client::Reads).status, 200);
}

fn expect(world: &World<'_>, table: &[(&str, &str)]) {
    for (key, value) in table {
        let found: String = world.eval(&format!("$env[{key:?}].inspect"));
        assert_eq!(found, *value, "{key}");
    }
}

fn values(world: &World<'_>) {
    let mut get = request("GET", "/a%20b/c?x=%41&y=1");
    get.headers_mut().insert("host", "exam.ple:88".parse().unwrap());
    get.headers_mut().insert("x-forwarded-proto", "https".parse().unwrap());
    capture(world, get, Scheme::Http);
    expect(
        world,
        &[
            ("REQUEST_METHOD", "\"GET\""),
            ("SCRIPT_NAME", "\"\""),
            ("PATH_INFO", "\"/a%20b/c\""),
            ("REQUEST_PATH", "\"/a%20b/c\""),
            ("REQUEST_URI", "\"/a%20b/c?x=%41&y=1\""),
            ("QUERY_STRING", "\"x=%41&y=1\""),
            ("SERVER_NAME", "\"exam.ple\""),
            ("SERVER_PORT", "\"88\""),
            ("SERVER_PROTOCOL", "\"HTTP/1.1\""),
            ("SERVER_SOFTWARE", "\"rackrs 0\""),
            ("GATEWAY_INTERFACE", "\"CGI/1.2\""),
            ("REMOTE_ADDR", "\"127.0.0.1\""),
            ("HTTP_HOST", "\"exam.ple:88\""),
            ("HTTPS", "nil"),
            ("CONTENT_LENGTH", "nil"),
            ("rack.version", "[1, 6]"),
            ("rack.url_scheme", "\"https\""),
            ("rack.multithread", "true"),
            ("rack.multiprocess", "false"),
            ("rack.run_once", "false"),
            ("rack.hijack?", "true"),
            ("rack.after_reply", "[]"),
            ("rack.response_finished", "[]"),
            ("puma.request_body_wait", "3.0"),
        ],
    );
    assert!(world.eval::<bool>("$env['rack.errors'].equal?($stderr)"));

    capture(world, request("GET", "http://b.example/x"), Scheme::Https);
    expect(
        world,
        &[
            ("PATH_INFO", "\"/x\""),
            ("REQUEST_URI", "\"http://b.example/x\""),
            ("HTTP_HOST", "\"b.example\""),
            ("SERVER_NAME", "\"b.example\""),
            ("SERVER_PORT", "\"443\""),
            ("HTTPS", "\"https\""),
            ("QUERY_STRING", "\"\""),
        ],
    );
    capture(world, request("OPTIONS", "*"), Scheme::Http);
    // Rack 2 wants a slash there, or nothing.
    let path = if world.rack.major < 3 { "\"\"" } else { "\"*\"" };
    expect(world, &[("PATH_INFO", path), ("REQUEST_URI", "\"*\"")]);
}

fn encodings(world: &World<'_>) {
    let mut post = post(b"abc");
    *post.uri_mut() = "/p?q".parse().unwrap();
    post.headers_mut().insert("content-type", "a/b".parse().unwrap());
    post.headers_mut().insert("x-mine", "1".parse().unwrap());
    post.headers_mut().insert("host", "h:1".parse().unwrap());
    capture(world, post, Scheme::Http);
    for key in [
        "REQUEST_METHOD",
        "PATH_INFO",
        "REQUEST_PATH",
        "REQUEST_URI",
        "QUERY_STRING",
        "SERVER_NAME",
        "SERVER_PORT",
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "HTTP_X_MINE",
        "HTTP_HOST",
    ] {
        let facts: (String, bool) =
            world.eval(&format!("[$env[{key:?}].encoding.name, $env[{key:?}].frozen?]"));
        assert_eq!(facts, ("ASCII-8BIT".to_owned(), false), "{key}");
    }
    for key in ["SCRIPT_NAME", "SERVER_PROTOCOL", "SERVER_SOFTWARE", "GATEWAY_INTERFACE"] {
        assert!(world.eval::<bool>(&format!("$env[{key:?}].frozen?")), "{key}");
    }
    assert!(world.eval::<bool>("$env.keys.all? { |key| key.frozen? }"));
    assert!(world.eval::<bool>("!$env.frozen? && $env.instance_of?(Hash)"));
}

fn headers(world: &World<'_>) {
    let mut get = request("GET", "/");
    for (name, value) in [
        ("x-a", "1"),
        ("cookie", "a=1"),
        ("x-a", "2"),
        ("cookie", "b=2"),
        ("x-a", "3"),
        ("proxy", "evil"),
        ("proxy-authorization", "p"),
        ("version", "client"),
        ("content-encoding", "gzip"),
        ("x-empty", ""),
    ] {
        get.headers_mut().append(name, value.parse().unwrap());
    }
    get.headers_mut().insert("x-bytes", http::HeaderValue::from_bytes(b"\xc3\xa9\xff").unwrap());
    get.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
    *get.body_mut() = Body::Memory(Bytes::from_static(b"12345"));
    capture(world, get, Scheme::Http);
    expect(
        world,
        &[
            ("HTTP_X_A", "\"1, 2, 3\""),
            ("HTTP_COOKIE", "\"a=1; b=2\""),
            ("HTTP_PROXY", "nil"),
            ("HTTP_PROXY_AUTHORIZATION", "\"p\""),
            ("HTTP_CONTENT_ENCODING", "\"gzip\""),
            ("HTTP_X_EMPTY", "\"\""),
            ("HTTP_X_BYTES", "\"\\xC3\\xA9\\xFF\""),
            ("HTTP_TRANSFER_ENCODING", "nil"),
            ("HTTP_CONTENT_LENGTH", "nil"),
            ("CONTENT_LENGTH", "\"5\""),
        ],
    );
}

fn underscores(world: &World<'_>) {
    let mut get = request("GET", "/");
    for (name, value) in [
        ("x_only", "o"),
        ("x_twin", "u"),
        ("x-twin", "d"),
        ("content_length", "9"),
        ("content_type", "c"),
        ("transfer_encoding", "t"),
    ] {
        get.headers_mut().append(http::HeaderName::from_static(name), value.parse().unwrap());
    }
    capture(world, get, Scheme::Http);
    expect(
        world,
        &[
            ("HTTP_X_ONLY", "\"o\""),
            ("HTTP_X_TWIN", "\"d\""),
            ("HTTP_CONTENT_LENGTH", "nil"),
            ("HTTP_CONTENT_TYPE", "nil"),
            ("HTTP_TRANSFER_ENCODING", "nil"),
            ("CONTENT_TYPE", "nil"),
            ("CONTENT_LENGTH", "nil"),
        ],
    );
}

fn releases(world: &World<'_>) {
    let mut get = request("GET", "/");
    *get.version_mut() = http::Version::HTTP_10;
    capture(world, get, Scheme::Http);
    let is_old = (world.rack.major, world.rack.minor) < (3, 1);
    let version = if is_old { "\"HTTP/1.0\"" } else { "nil" };
    expect(world, &[("HTTP_VERSION", version), ("SERVER_PROTOCOL", "\"HTTP/1.0\"")]);
    // No 103 for a client that does not know it.
    expect(world, &[("rack.early_hints", "nil")]);
    let production = world.send(
        &world.production,
        "->(env) { $env = env; [200, {}, []] }",
        request("GET", "/x"),
        Client::Reads,
    );
    assert_eq!(production.status, 200);
    expect(
        world,
        &[("rack.early_hints", "nil"), ("SCRIPT_NAME", "\"/mount\""), ("PATH_INFO", "\"/x\"")],
    );
}

fn addresses(world: &World<'_>) {
    for (address, shown) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ] {
        let (answer, reply) = exchange();
        let remote: IpAddr = address.parse().unwrap();
        let peer = Peer { remote: Some(remote), local: None, scheme: Scheme::Http };
        let request = Box::new(Request {
            head: request("GET", "/").into_parts().0,
            body: Body::Empty,
            peer: Arc::new(peer),
            body_wait: Duration::ZERO,
            answer,
        });
        let app = world.app("->(env) { $env = env; [200, {}, []] }");
        rack::serve(world.ruby, &app, &world.context, request).unwrap();
        drop(reply);
        assert_eq!(world.eval::<String>("$env['REMOTE_ADDR']"), shown);
    }
}

fn nothing_shared(world: &World<'_>) {
    world.eval::<Value>("$envs = []");
    let app = world.app("->(env) { $envs << env; [200, {}, []] }");
    for _ in 0..2 {
        let mut post = post(b"abc");
        post.headers_mut().insert("x-mine", "1".parse().unwrap());
        let (head, body) = post.into_parts();
        world.serve(&world.context, &app, (head, body, Scheme::Http), Client::Reads);
    }
    let shared: Vec<String> = world.eval(
        "first, second = $envs
         first.keys.select { |key| first[key].equal?(second[key]) && !first[key].frozen? &&
            key != 'rack.errors' }",
    );
    assert!(shared.is_empty(), "{shared:?}");
    assert!(!world.eval::<bool>("$envs[0].equal?($envs[1])"));
}

fn many(world: &World<'_>) {
    // More names than are kept, more pairs than go in one step, names longer than are kept.
    for round in 0..8 {
        let mut get = request("GET", "/");
        for index in 0..90 {
            let name = format!("x-made-up-{round}-{index}");
            get.headers_mut()
                .insert(http::HeaderName::try_from(name).unwrap(), "v".parse().unwrap());
        }
        let long = "l".repeat(3000);
        let long_name = http::HeaderName::try_from(long.as_str()).unwrap();
        get.headers_mut().insert(long_name, "w".parse().unwrap());
        capture(world, get, Scheme::Http);
        let found: i64 = world.eval("$env.count { |k, v| k.start_with?('HTTP_X_MADE_UP') }");
        assert_eq!(found, 90);
        assert_eq!(world.eval::<String>("$env['HTTP_' + 'L' * 3000]"), "w");
        world.eval::<Value>("GC.start");
    }
}

/// Every object that is in our hands alone must survive a collection at any allocation, and none
/// may be where it was before a compaction.
fn collector(world: &World<'_>) {
    let app = "->(env) {
        copy = env.map { |k, v| [k.dup, v.is_a?(String) ? v.dup : v] }.to_h
        input = env['rack.input']
        line = input.gets
        env['rack.after_reply'] << -> { $after = copy['HTTP_X_GC'] }
        [200, {'x-a' => ['1', line], 'x-b' => copy['HTTP_X_GC']},
          Enumerator.new { |y| y << input.read << copy['CONTENT_LENGTH'] }]
    }";
    let app = world.app(app);
    for round in 0..20 {
        let mut post = post(b"one two");
        post.headers_mut().insert("x-gc", format!("round {round}").parse().unwrap());
        let unknown = http::HeaderName::try_from(format!("x-unknown-{round}")).unwrap();
        post.headers_mut().insert(unknown, "1".parse().unwrap());
        let (head, body) = post.into_parts();
        world.eval::<Value>("GC.respond_to?(:compact) && GC.compact; GC.stress = true");
        let received = world.serve(&world.context, &app, (head, body, Scheme::Http), Client::Reads);
        world.eval::<Value>("GC.stress = false");
        assert_eq!(received.status, 200);
        assert_eq!(received.headers["x-b"], format!("round {round}"));
        assert_eq!(received.body, b"7");
        assert_eq!(world.eval::<String>("$after"), format!("round {round}"));
    }
}
