//! Full and partial hijack, and what becomes of the application's return value.

use crate::{
    Case,
    driver::{Client, World, request},
};

pub(crate) const CASES: &[Case] = &[
    ("hijack: full", full),
    ("hijack: full, then anything", full_then_anything),
    ("hijack: full, under lint", full_under_lint),
    ("hijack: refused", refused),
    ("hijack: partial", partial),
    ("hijack: 101 with a streaming body", upgrade),
    ("hijack: too late", too_late),
];

fn full(world: &World<'_>) {
    let app = "->(env) {
        io = env['rack.hijack'].call
        $facts = [io.class.name, env['rack.hijack_io'].equal?(io), env['rack.hijack'].call.equal?(io)]
        first = io.readpartial(100)
        io.write('HTTP/1.1 299 Mine', first)
        io.close
        nil
    }";
    let (received, log) = world.logged(|| {
        world.send(&world.context, app, request("GET", "/"), Client::Hands(Some(b"left over")))
    });
    assert!(received.is_hijack, "{log}");
    assert_eq!(String::from_utf8_lossy(&received.socket), "HTTP/1.1 299 Mineleft over");
    assert_eq!(world.eval::<String>("$facts.inspect"), "[\"UNIXSocket\", true, true]");
    assert_eq!(log, "");
}

fn full_then_anything(world: &World<'_>) {
    for (after, is_logged) in [
        ("nil", false),
        ("7", false),
        ("[200, {\"x\" => \"\\r\\n\"}, ['never sent']]", false),
        ("raise 'after'", true),
        ("exit", true),
    ] {
        let app = format!("->(env) {{ env['rack.hijack'].call.close; {after} }}");
        let (received, log) = world.logged(|| {
            world.send(&world.context, &app, request("GET", "/"), Client::Hands(Some(b"")))
        });
        assert!(received.is_hijack && received.socket.is_empty(), "{after}");
        assert_eq!(!log.is_empty(), is_logged, "{after}: {log}");
    }
}

fn full_under_lint(world: &World<'_>) {
    let app = "Rack::Lint.new(->(env) {
        io = env['rack.hijack'].call
        (io.respond_to?(:to_io) ? io : io.instance_variable_get(:@io)).then { |s|
          s.write('x'); s.close }
        [200, {'content-type' => 'text/plain'}, []]
    })";
    let (received, log) = world
        .logged(|| world.send(&world.context, app, request("GET", "/"), Client::Hands(Some(b""))));
    assert_eq!(received.socket, b"x", "{log}");
    assert_eq!(log, "");
}

fn refused(world: &World<'_>) {
    let app = "->(env) {
        begin
          env['rack.hijack'].call
        rescue IOError => e
          $error = e.message
        end
        [200, {}, ['ignored']]
    }";
    for client in [Client::Hands(None), Client::Gone] {
        world.logged(|| world.send(&world.context, app, request("GET", "/"), client));
        let error: String = world.eval("$error");
        assert!(error.starts_with("cannot hijack the connection: "), "{error}");
    }
}

fn partial(world: &World<'_>) {
    let app = "->(env) {
        [200, {'x-a' => '1', 'transfer-encoding' => 'chunked', 'rack.hijack' => ->(io) {
          io.write(io.readpartial(10), 'raw'); io.close }}, ['ignored']]
    }";
    let received =
        world.send(&world.context, app, request("GET", "/"), Client::Hands(Some(b"more")));
    assert!(received.is_hijack);
    assert_eq!((received.status, &received.socket[..]), (200, &b"moreraw"[..]));
    assert_eq!(received.headers["transfer-encoding"], "chunked");
    assert!(!received.headers.contains_key("rack.hijack"));

    let raising = "->(env) { [200, {'rack.hijack' => ->(io) { io << 'a'; raise 'later' }}, []] }";
    let (received, log) = world.logged(|| {
        world.send(&world.context, raising, request("GET", "/"), Client::Hands(Some(b"")))
    });
    assert_eq!(received.socket, b"a");
    assert!(log.contains("later"), "{log}");
}

fn upgrade(world: &World<'_>) {
    let app = "->(env) { [101, {'upgrade' => 'x', 'connection' => 'upgrade'},
        ->(io) { io.write('switched ', io.class.name); io.close }] }";
    let received = world.send(&world.context, app, request("GET", "/"), Client::Hands(Some(b"")));
    assert_eq!(received.status, 101);
    assert_eq!(String::from_utf8_lossy(&received.socket), "switched UNIXSocket");
    assert_eq!(received.headers["upgrade"], "x");
}

fn too_late(world: &World<'_>) {
    world.get("->(env) { $late = env['rack.hijack']; [200, {}, []] }");
    let error: String = world.eval("begin; $late.call; rescue IOError => e; e.message; end");
    assert_eq!(error, "cannot hijack the connection: the client is gone");
}
