//! Applications that fail in every way Ruby knows: a 500 each, one log entry, and life goes on.

use crate::{
    Case,
    driver::{Client, World, request, serve_on_ruby_thread},
};

pub(crate) const CASES: &[Case] = &[
    ("failures: every way out", ways_out),
    ("failures: pages", pages),
    ("failures: the log", log),
    ("failures: a killed thread", killed),
    ("failures: a killed thread whose clean-up raises", killed_and_raising),
];

fn ways_out(world: &World<'_>) {
    for (code, named) in [
        ("raise 'boom'", "RuntimeError: boom"),
        ("raise Exception, 'top'", "Exception: top"),
        ("exit", "SystemExit: exit"),
        ("abort", "SystemExit: exit"),
        ("throw :nothing", "UncaughtThrowError: uncaught throw :nothing"),
        ("raise NoMemoryError", "NoMemoryError"),
        ("'x' * (1 << 62)", "NoMemoryError"),
        ("def self.deep = deep; deep", "SystemStackError: stack level too deep"),
        ("raise Interrupt", "Interrupt"),
        ("raise SignalException, 'TERM'", "SignalException: SIGTERM"),
        ("Class.new(StandardError) { def message = raise('again') }.then { |c| raise c }", ""),
        ("Class.new(StandardError) { def backtrace = 7 }.then { |c| raise c, 'odd' }", "odd"),
    ] {
        let (received, log) = world.logged(|| world.get(&format!("->(env) {{ {code} }}")));
        assert_eq!(received.status, 500, "{code}");
        assert!(!received.is_thread_ending, "{code}");
        assert!(log.starts_with("GET /: ") && log.contains(named), "{code}: {log}");
        assert_eq!(log.matches("GET /: ").count(), 1);
        assert_eq!(world.get("->(env) { [200, {}, []] }").status, 200, "{code}");
    }
}

fn pages(world: &World<'_>) {
    let app = "->(env) { raise ArgumentError, 'secret' }";
    let (page, _) = world.logged(|| world.get(app));
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(text.starts_with("Internal Server Error\n\nArgumentError: secret\n    "), "{text}");
    assert_eq!(page.headers["content-type"], "text/plain; charset=utf-8");
    let (page, _) =
        world.logged(|| world.send(&world.production, app, request("GET", "/"), Client::Reads));
    assert_eq!(page.body, b"Internal Server Error\n");
}

fn log(world: &World<'_>) {
    let app = "->(env) {
        begin
          raise KeyError, \"first\\r\\nGET /forged: 1\\e[31m\"
        rescue KeyError
          raise ArgumentError, 'second'
        end
    }";
    let (_, log) = world
        .logged(|| world.send(&world.context, app, request("POST", "/path?secret"), Client::Reads));
    assert!(log.starts_with("POST /path: ArgumentError: second\n    "), "{log}");
    let cause = "\n  caused by KeyError: first\\r\\nGET /forged: 1\\u{1b}[31m\n";
    assert!(log.contains(cause), "{log}");
    assert!(!log.contains("secret"), "{log}");
}

fn killed(world: &World<'_>) {
    for code in ["Thread.exit", "Thread.current.kill"] {
        // On a thread that may die: this one must go on.
        let app =
            format!("->(env) {{ catch(:out) {{ begin; {code}; ensure; $ensured = true; end }} }}");
        world.eval::<magnus::Value>("$ensured = false");
        let (received, log) = world.logged(|| {
            let loaded = world.app(&app);
            serve_on_ruby_thread(world, &loaded)
        });
        assert_eq!(received.status, 500, "{code}: {log}");
        assert!(received.is_thread_ending, "{code}");
        assert!(world.eval::<bool>("$ensured"));
        assert_eq!(world.get("->(env) { [200, {}, []] }").status, 200);
    }
}

/// Ruby refuses to go back to the mark of a kill when the next exception has been caught.
fn killed_and_raising(world: &World<'_>) {
    let app = "->(env) {
        env['rack.after_reply'] << -> { raise 'in a callback' }
        body = Object.new
        def body.each = (yield 'part'; Thread.exit)
        def body.close = raise('at the close')
        [200, {}, body]
    }";
    let (received, log) = world.logged(|| {
        let loaded = world.app(app);
        serve_on_ruby_thread(world, &loaded)
    });
    assert!(received.is_thread_ending, "{log}");
    assert!(log.contains("at the close") && log.contains("in a callback"), "{log}");
}
