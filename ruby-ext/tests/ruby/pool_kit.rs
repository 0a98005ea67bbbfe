//! A pool in a test: what its threads serve, who watches them, and the I/O side.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use magnus::{Error, RHash, Ruby, Value, prelude::*, value::Opaque};
use rackrs_ruby::{
    exception::Exception,
    exchange::{self, Body, Event, Peer, Queue, Reply, Request, Response, ResponseBody, Scheme},
    gvl::{self, without_gvl},
    pool::{Pool, PoolEnd, PoolOptions, PoolStatusNow, Serve},
    vm::Vm,
};

use super::{
    child::{eval, execute},
    recorder::Recorder,
};

/// Longest that a test waits for something that should be there at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Evaluates the path of the request, without its slash, as a global procedure.
pub(crate) struct Procedures {
    /// Handed in, because nothing can be evaluated at the bottom of a native thread.
    by_name: Opaque<RHash>,
    pub(crate) strays: Mutex<Vec<String>>,
    pub(crate) backtraces: Mutex<Vec<String>>,
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

    fn backtraces(&self, text: &str) {
        self.backtraces.lock().unwrap().push(text.to_owned());
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
# What a test adds.
$procedures.merge!($more) if $more
nil
"#;

/// The I/O side of a test: one native thread that sends requests and reads answers.
pub(crate) struct Client {
    pub(crate) queue: Arc<Queue>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) serve: Arc<Procedures>,
    pub(crate) recorder: Arc<Recorder>,
    ended: Arc<AtomicBool>,
}

impl Client {
    pub(crate) fn send(&self, path: &str) -> Reply {
        let (answer, reply) = exchange::exchange();
        let head = http::Request::get(format!("/{path}")).body(()).unwrap().into_parts().0;
        let peer = Arc::new(Peer { remote: None, local: None, scheme: Scheme::Http });
        let request = Request { head, body: Body::Empty, peer, body_wait: Duration::ZERO, answer };
        assert!(self.queue.try_push(Box::new(request)).is_ok(), "the queue is full");
        reply
    }

    pub(crate) fn get(&self, path: &str) -> Option<String> {
        answer(self.send(path))
    }

    pub(crate) fn await_status(&self, what: &str, holds: impl Fn(PoolStatusNow) -> bool) {
        self.until(what, || holds(self.pool.status().now()));
    }

    /// Waits until [`Pool::run`] has returned.
    pub(crate) fn await_end(&self) {
        self.until("the pool has ended", || self.ended.load(Ordering::SeqCst));
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
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
pub(crate) fn answer(mut reply: Reply) -> Option<String> {
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

pub(crate) struct Setting {
    pub(crate) idle: Duration,
    pub(crate) threads: std::ops::RangeInclusive<usize>,
    pub(crate) drain: Option<Duration>,
}

pub(crate) const USUAL: Setting = Setting { threads: 2..=4, idle: PATIENCE, drain: Some(PATIENCE) };

/// Runs a pool on this thread and `io` on a native one, which must close the pool or end it. What
/// the pool told its watch must make sense.
pub(crate) fn with_pool<T: Send + 'static>(
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
        backtraces: Mutex::default(),
        hang: Mutex::default(),
    });
    let recorder = Arc::new(Recorder::default());
    let options = PoolOptions {
        threads: setting.threads,
        idle: setting.idle,
        drain: setting.drain,
        watch: Arc::<Recorder>::clone(&recorder),
    };
    let pool = Pool::new(Arc::clone(&queue), &options, Arc::<Procedures>::clone(&serve)).unwrap();
    let ended = Arc::<AtomicBool>::default();
    let client = Client {
        queue,
        pool: Arc::clone(&pool),
        serve: Arc::clone(&serve),
        recorder: Arc::clone(&recorder),
        ended: Arc::clone(&ended),
    };
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
    if let Ok(PoolEnd::Drained | PoolEnd::Killed(_)) = end {
        recorder.assert_all_ended();
    }
    let strays = serve.strays.lock().unwrap().clone();
    (end, outcome.unwrap_or_else(|_| panic!("the I/O side failed; {strays:#?}")), strays)
}
