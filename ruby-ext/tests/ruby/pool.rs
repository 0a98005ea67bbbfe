//! The threads of a worker: growth, replacement, draining, and requests that kill their thread.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use magnus::{Error, RHash, Ruby, Value, prelude::*, value::Opaque};
use nix::sys::signal::{Signal, kill};
use rackrs_ruby::{
    exception::Exception,
    exchange::{self, Body, Event, Peer, Queue, Reply, Request, Response, ResponseBody, Scheme},
    gvl::{self, without_gvl},
    pool::{Pool, PoolEnd, PoolOptions, PoolStatusNow, Serve},
    signals,
    vm::{Ending, Vm},
};

use super::{
    child::{eval, execute, succeeds},
    runner::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("pool_serves_and_drains", || drop(succeeds("pool-serves"))),
    ("pool_grows_to_its_maximum_only_on_demand", || drop(succeeds("pool-grows"))),
    ("pool_shrinks_to_its_minimum_when_idle", || drop(succeeds("pool-shrinks"))),
    ("pool_survives_a_fork_that_comes_back", || drop(succeeds("pool-fork"))),
    ("pool_survives_what_a_request_does_to_its_thread", || drop(succeeds("pool-hostile"))),
    ("pool_replaces_threads_killed_between_requests", || drop(succeeds("pool-kills-idle"))),
    ("pool_runs_signal_traps_and_other_threads", || drop(succeeds("pool-signals"))),
    ("pool_kills_at_the_end_of_the_drain", || drop(succeeds("pool-kill"))),
    ("pool_gives_up_on_threads_that_hang_outside_of_ruby", || drop(succeeds("pool-hangs"))),
    ("pool_ends_with_an_exit_in_a_trap", || drop(succeeds("pool-exit"))),
];

/// Longest that a test waits for something that should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Evaluates the path of the request, without its slash, as a global procedure.
struct Procedures {
    /// Handed in, because nothing can be evaluated at the bottom of a native thread.
    by_name: Opaque<RHash>,
    strays: Mutex<Vec<String>>,
    hang: Mutex<()>,
}

impl Serve for Procedures {
    fn serve(&self, ruby: &Ruby, request: Box<Request>) -> Result<(), Error> {
        let name = request.head.uri.path().trim_start_matches('/').to_owned();
        assert!(name != "panic", "as asked");
        if name == "hang" {
            // Without an unblock function: nothing reaches this thread.
            let hang = without_gvl(ruby, || self.hang.lock().is_ok(), gvl::Wake::Never)?;
            assert_eq!(hang, Some(true));
        }
        let procedure: Value = ruby.get_inner(self.by_name).fetch(name)?;
        let body: String = procedure.funcall("call", ())?;
        let response = Response {
            status: http::StatusCode::OK,
            headers: http::HeaderMap::new(),
            body: ResponseBody::Whole(body.into()),
        };
        // `Err` says that the client is gone, which is no matter.
        let _ = request.answer.respond(response);
        Ok(())
    }

    fn stray(&self, _ruby: &Ruby, exception: &Exception) {
        self.strays.lock().unwrap().push(exception.to_string());
    }
}

const PROCEDURES: &str = r#"
$gate = Queue.new
$entered = 0
Thread.report_on_exception = true
$procedures = {
  "hello" => -> { "hello from #{Thread.current.name}" },
  "wait" => -> { $entered += 1; $gate.pop; "waited" },
  "sleep" => -> { begin sleep; ensure $ensured = true; end },
  "exit" => -> { exit 3 },
  "throw" => -> { throw :nowhere },
  "raise" => -> { raise "no" },
  "kill" => -> { Thread.current.kill; "not reached" },
  "thread-exit" => -> { Thread.exit },
  "stack" => -> { f = ->(n) { f.(n + 1) }; f.(0) },
  "memory" => -> { "x" * (1 << 62) },
  "no-memory" => -> { raise NoMemoryError },
  "fatal" => -> { ObjectSpace.each_object(Class).find { _1.name == "fatal" }.then { raise _1.allocate } },
  "nil" => -> {},
  "fork" => -> { (pid = fork) ? (Process.wait(pid); "parent #{$?.exitstatus}") : "child" },
}
nil
"#;

/// The I/O side of a test: one native thread that sends requests and reads answers.
struct Client {
    queue: Arc<Queue>,
    pool: Arc<Pool>,
    ended: Arc<AtomicBool>,
}

impl Client {
    fn send(&self, path: &str) -> Reply {
        let (answer, reply) = exchange::exchange();
        let head = http::Request::get(format!("/{path}")).body(()).unwrap().into_parts().0;
        let peer = Arc::new(Peer { remote: None, local: None, scheme: Scheme::Http });
        let request = Request { head, body: Body::Empty, peer, body_wait: Duration::ZERO, answer };
        assert!(self.queue.try_push(Box::new(request)).is_ok(), "the queue is full");
        reply
    }

    fn get(&self, path: &str) -> Option<String> {
        answer(self.send(path))
    }

    fn await_status(&self, what: &str, holds: impl Fn(PoolStatusNow) -> bool) {
        self.until(what, || holds(self.pool.status().now()));
    }

    /// Waits until [`Pool::run`] has returned.
    fn await_end(&self) {
        self.until("the pool has ended", || self.ended.load(Ordering::SeqCst));
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.pool.status().now());
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The body of the answer, `None` when the request was lost.
fn answer(mut reply: Reply) -> Option<String> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let deadline = Instant::now() + PATIENCE;
    let mut event = pin!(poll_fn(|context| reply.poll_event(context)));
    loop {
        match event.as_mut().poll(&mut context) {
            Poll::Ready(Event::Response(response)) => {
                let ResponseBody::Whole(bytes) = response.body else { panic!("{response:?}") };
                return Some(String::from_utf8(bytes.to_vec()).unwrap());
            }
            Poll::Ready(Event::Lost) => return None,
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => {
                assert!(Instant::now() < deadline, "no answer");
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

struct Setting {
    idle: Duration,
    threads: std::ops::RangeInclusive<usize>,
    drain: Option<Duration>,
}

const USUAL: Setting = Setting { threads: 2..=4, idle: PATIENCE, drain: Some(PATIENCE) };

/// Runs a pool on this thread and `io` on a native one, which must close the pool or end it.
fn with_pool<T: Send + 'static>(
    vm: &Vm,
    setting: Setting,
    io: impl FnOnce(&Client) -> T + Send + 'static,
) -> (Result<PoolEnd, Error>, T, Vec<String>) {
    let ruby = vm.ruby();
    execute(ruby, PROCEDURES);
    let queue = Arc::new(Queue::new(100));
    let serve = Arc::new(Procedures {
        by_name: eval::<RHash>(ruby, "$procedures").into(),
        strays: Mutex::default(),
        hang: Mutex::default(),
    });
    let options =
        PoolOptions { threads: setting.threads, idle: setting.idle, drain: setting.drain };
    let pool = Pool::new(Arc::clone(&queue), &options, Arc::<Procedures>::clone(&serve)).unwrap();
    let ended = Arc::<AtomicBool>::default();
    let client = Client { queue, pool: Arc::clone(&pool), ended: Arc::clone(&ended) };
    let io = std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| io(&client)));
        client.pool.close();
        outcome
    });
    let held = serve.hang.lock().unwrap();
    let end = pool.run(ruby);
    ended.store(true, Ordering::SeqCst);
    let outcome = io.join().unwrap();
    drop(held);
    let strays = serve.strays.lock().unwrap().clone();
    (end, outcome.unwrap_or_else(|_| panic!("the I/O side failed; {strays:#?}")), strays)
}

pub(crate) fn child(vm: &Vm, scenario: &str) -> Ending {
    match scenario {
        "pool-serves" => serves(vm),
        "pool-grows" => grows(vm),
        "pool-shrinks" => shrinks(vm),
        "pool-fork" => forks(vm),
        "pool-hostile" => hostile(vm),
        "pool-kills-idle" => kills_idle(vm),
        "pool-signals" => traps(vm),
        "pool-kill" => kills(vm),
        "pool-hangs" => hangs(vm),
        "pool-exit" => exits(vm),
        unknown => panic!("no scenario {unknown}"),
    }
    Ending::Status(0)
}

pub(crate) fn serves(vm: &Vm) {
    let (end, queued, strays) = with_pool(vm, USUAL, |client| {
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        for _ in 0..1000 {
            let hello = client.get("hello").unwrap();
            assert!(hello.starts_with("hello from rackrs srv 00"), "{hello}");
        }
        // Closed behind these: they are served all the same.
        let queued: Vec<Reply> = (0..50).map(|_| client.send("hello")).collect();
        client.pool.close();
        queued
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(queued.into_iter().all(|reply| answer(reply).is_some()));
    assert_eq!(strays, Vec::<String>::new());
    assert_eq!(eval::<usize>(vm.ruby(), "Thread.list.size"), 1);
}

fn grows(vm: &Vm) {
    execute(vm.ruby(), "trap(:USR2) { 8.times { $gate << nil } }; nil");
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        client.await_status("the minimum", |now| now.spawned == 2);
        let mut replies = vec![client.send("wait"), client.send("wait")];
        client.await_status("two at work", |now| now.busy == 2);
        assert_eq!(client.pool.status().now().spawned, 2, "nobody was needed");
        replies.extend((0..6).map(|_| client.send("wait")));
        client.await_status("the maximum", |now| now.busy == 4);
        assert_eq!(client.pool.status().now().spawned, 4);
        assert_eq!(client.queue.load().queued, 4);
        client.pool.close();
        // The gate is opened by a signal's trap, on the foreman's thread.
        kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
        for reply in replies {
            assert_eq!(answer(reply).as_deref(), Some("waited"));
        }
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

fn shrinks(vm: &Vm) {
    execute(vm.ruby(), "trap(:USR2) { 8.times { $gate << nil } }; nil");
    let setting = Setting { idle: Duration::from_millis(1), ..USUAL };
    let (end, (), _) = with_pool(vm, setting, |client| {
        let replies: Vec<Reply> = (0..4).map(|_| client.send("wait")).collect();
        client.await_status("the maximum", |now| now.busy == 4);
        kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
        assert!(replies.into_iter().all(|reply| answer(reply).is_some()));
        client.await_status("the minimum", |now| now.spawned == 2);
        assert!(client.get("hello").is_some());
        assert_eq!(client.pool.status().now().spawned, 2);
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

/// The child leaves its copy of the pool and ends; it never serves.
fn forks(vm: &Vm) {
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        assert_eq!(client.get("fork").as_deref(), Some("parent 0"));
        assert!(client.get("hello").is_some());
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
}

fn hostile(vm: &Vm) {
    let paths = [
        "exit",
        "throw",
        "raise",
        "kill",
        "thread-exit",
        "stack",
        "memory",
        "no-memory",
        "fatal",
        "panic",
        "nil",
        "missing",
    ];
    let (end, (), strays) = with_pool(vm, Setting { threads: 1..=1, ..USUAL }, move |client| {
        for _ in 0..3 {
            for path in paths {
                let lost = client.get(path);
                assert_eq!(lost, None, "{path}");
                assert_eq!(
                    client.get("hello").as_deref(),
                    Some("hello from rackrs srv 001"),
                    "{path}"
                );
            }
        }
        client.await_status("one thread", |now| {
            now == PoolStatusNow { spawned: 1, ..PoolStatusNow::default() }
        });
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    // All but the two kills are reported.
    assert_eq!(strays.len(), 3 * (paths.len() - 2), "{strays:#?}");
    assert!(strays.iter().any(|stray| stray == "as asked (panic)"));
}

fn kills_idle(vm: &Vm) {
    execute(
        vm.ruby(),
        "trap(:USR1) { Thread.list.each { |t| t.kill if t.name&.start_with?('rackrs srv') }; $killed = true };
         trap(:USR2) { Thread.list.each { |t| t.raise('stray') if t.name&.start_with?('rackrs srv') } }; nil",
    );
    let (end, (), strays) = with_pool(vm, USUAL, |client| {
        for _ in 0..20 {
            client.await_status("the minimum", |now| now.spawned == 2);
            kill(nix::unistd::getpid(), Signal::SIGUSR1).unwrap();
            // A thread may be killed with a request in its hands.
            assert!((0..4).any(|_| client.get("hello").is_some()));
        }
        client.await_status("the minimum", |now| now.spawned == 2 && now.starting == 0);
        kill(nix::unistd::getpid(), Signal::SIGUSR2).unwrap();
        assert!((0..4).any(|_| client.get("hello").is_some()));
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(strays.iter().all(|stray| stray == "stray (RuntimeError)"), "{strays:?}");
}

fn traps(vm: &Vm) {
    let ruby = vm.ruby();
    let (sender, receiver) = mpsc::channel();
    signals::trap(ruby, Signal::SIGUSR1, move |_| sender.send(()).unwrap()).unwrap();
    execute(ruby, "$ticks = 0; Thread.new { loop { sleep 0.001; $ticks += 1 } }; nil");
    let (end, (), _) = with_pool(vm, USUAL, move |client| {
        for _ in 0..5 {
            kill(nix::unistd::getpid(), Signal::SIGUSR1).unwrap();
            receiver.recv_timeout(PATIENCE).expect("the trap runs");
        }
        assert!(client.get("hello").is_some());
    });
    assert_eq!(end.unwrap(), PoolEnd::Drained);
    assert!(eval::<i64>(ruby, "sleep 0.001 until $ticks > 0; $ticks") > 0);
}

fn kills(vm: &Vm) {
    let setting = Setting { threads: 2..=2, drain: Some(Duration::ZERO), ..USUAL };
    let (end, reply, _) = with_pool(vm, setting, |client| {
        let reply = client.send("sleep");
        client.await_status("one at work", |now| now.busy == 1);
        reply
    });
    assert!(matches!(end.unwrap(), PoolEnd::Killed(1 | 2)));
    assert_eq!(answer(reply), None);
    assert!(eval::<bool>(vm.ruby(), "$ensured"));
}

fn hangs(vm: &Vm) {
    let setting = Setting { threads: 1..=1, drain: Some(Duration::ZERO), ..USUAL };
    let (end, reply, _) = with_pool(vm, setting, |client| {
        let reply = client.send("hang");
        client.await_status("one at work", |now| now.busy == 1);
        reply
    });
    assert_eq!(end.unwrap(), PoolEnd::Hanging(1));
    drop(reply);
}

fn exits(vm: &Vm) {
    execute(vm.ruby(), "trap(:USR1) { exit 3 }; nil");
    let (end, (), _) = with_pool(vm, USUAL, |client| {
        assert!(client.get("hello").is_some());
        kill(nix::unistd::getpid(), Signal::SIGUSR1).unwrap();
        // Closing it now would race with the signal.
        client.await_end();
    });
    let exception = Exception::read(vm.ruby(), &end.unwrap_err());
    assert_eq!(exception.kind, rackrs_ruby::exception::Kind::Exit(3));
}
