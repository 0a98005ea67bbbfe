//! A master that answers what it is told to, in a thread of its own.

use std::{
    path::Path,
    sync::{Arc, Mutex, mpsc as blocking},
    thread::{self, JoinHandle},
    time::Duration,
};

use rackrs::control::{
    ControlServer, OldestRequest, Reply, Request, Restarts, ServerState, Stats, WorkerStats,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

/// How long the socket is away at a restart.
const AWAY: Duration = Duration::from_millis(300);

/// What to do with a request.
pub(crate) enum Act {
    Reply(Reply),
    /// Drop it.
    Silence,
    /// Answer, then take the socket away for a moment.
    Reopen(Reply),
    /// Go away at once.
    Vanish,
    /// Answer, then go away.
    End(Reply),
}

/// Ends when it is dropped.
pub(crate) struct FakeMaster {
    asked: Arc<Mutex<Vec<Request>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeMaster {
    /// Serves at `socket` when this returns.
    pub(crate) fn start(socket: &Path, act: impl FnMut(&Request) -> Act + Send + 'static) -> Self {
        let socket = socket.to_owned();
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = blocking::channel();
        let seen = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            let mut act = act;
            let act = |request: &Request| {
                seen.lock().unwrap().push(request.clone());
                act(request)
            };
            in_runtime(async {
                tokio::select! {
                    () = run(&socket, act, || ready.send(()).unwrap()) => {}
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self { asked, stop: Some(stop), thread: Some(thread) }
    }

    /// Always gives the same answer.
    pub(crate) fn saying(socket: &Path, reply: Reply) -> Self {
        Self::start(socket, move |_| Act::Reply(reply.clone()))
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        // One that has ended by itself hears nothing.
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Runs something as the master runs: in a runtime with one thread, and a `LocalSet`.
pub(crate) fn in_runtime(what: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, what);
}

/// The loop of a master.
pub(crate) async fn run(socket: &Path, mut act: impl FnMut(&Request) -> Act, ready: impl FnOnce()) {
    let (sender, mut requests) = mpsc::channel(4);
    let mut server = ControlServer::open(socket).unwrap();
    server.serve(sender.clone()).unwrap();
    ready();
    while let Some((request, answer)) = requests.recv().await {
        // Who does not wait for the answer is none of our business.
        match act(&request) {
            Act::Reply(reply) => drop(answer.send(reply)),
            Act::Silence => {}
            Act::Reopen(reply) => {
                drop(answer.send(reply));
                server.settle().await;
                drop(server);
                tokio::time::sleep(AWAY).await;
                server = ControlServer::open(socket).unwrap();
                server.serve(sender.clone()).unwrap();
            }
            Act::Vanish => return,
            Act::End(reply) => {
                drop(answer.send(reply));
                return server.settle().await;
            }
        }
    }
}

/// The answer of a server that does something.
pub(crate) fn serving() -> Stats {
    let worker = WorkerStats {
        slot: 0,
        generation: 2,
        pid: Some(4712),
        state: "ready".into(),
        uptime_seconds: 90.0,
        connections: 3,
        requests: 17,
        threads: 5,
        busy_threads: 1,
        queue: 0,
        oldest_request: Some(OldestRequest { line: "GET /slow".into(), seconds: 2.0 }),
        gvl_wait_seconds: 0.5,
        io_beat_age_seconds: Some(0.1),
        ruby_beat_age_seconds: None,
        rss_bytes: Some(64 << 20),
    };
    Stats {
        version: "0.1.0".into(),
        pid: 4711,
        started_at: "2026-11-22T10:00:00Z".into(),
        uptime_seconds: 95.0,
        state: ServerState::Serving,
        generation: 2,
        workers_wanted: 1,
        restarts: Restarts { begun: 1, succeeded: 1, ..Restarts::default() },
        listeners: vec!["unix:///tmp/web_server.sock".into()],
        pid_file: "/tmp/web_server.pid".into(),
        workers: vec![worker],
        ..Stats::default()
    }
}

/// [`serving`] as a reply.
pub(crate) fn stats() -> Reply {
    Reply::Stats(Box::new(serving()))
}
