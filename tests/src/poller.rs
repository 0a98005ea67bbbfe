//! Clients that ask a server all the time while something is done to it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{Connection, Response, Server, eventually, patience::pause};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";

/// Two clients in threads of their own: one with a new connection for each request, and one that
/// keeps its connection for as long as the server lets it.
#[derive(Debug)]
pub struct Poller {
    stop: Arc<AtomicBool>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    answers: Answers,
    thread: Option<JoinHandle<()>>,
}

type Answers = Arc<Mutex<Vec<String>>>;

/// What a client's thread works with.
struct Task {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    answers: Answers,
}

impl Poller {
    /// Begins to `GET /`. A request that was written must be answered.
    #[must_use]
    pub fn start(server: &Server) -> Self {
        Self::of([ask_anew, ask_on], server)
    }

    /// As [`Poller::start`], but a request on a kept connection that the server closes at that
    /// moment is written again on a new one, as clients do (RFC 9112 section 9.3.1). A server that
    /// has the next restart to begin closes idle connections.
    #[must_use]
    pub fn start_patient(server: &Server) -> Self {
        Self::of([ask_anew, ask_again], server)
    }

    fn of(clients: [fn(&Task); 2], server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = clients.map(|ask| {
            let answers = Answers::default();
            let task = Task {
                socket: server.socket().to_owned(),
                stop: Arc::clone(&stop),
                answers: Arc::clone(&answers),
            };
            Client { answers, thread: Some(thread::spawn(move || ask(&task))) }
        });
        Self { stop, clients: clients.into() }
    }

    /// Waits until each client has had an answer that begins with `words` as its last.
    pub fn eventually_hears(&self, words: &str) {
        eventually(&format!("every client is answered {words:?}"), || {
            self.clients.iter().all(|client| client.last_begins_with(words)).then_some(())
        });
    }

    /// The answers of each client, in order. Panics when one was not 200, or did not come.
    #[must_use]
    pub fn finish(mut self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.iter_mut().map(Client::finish).collect()
    }
}

impl Client {
    fn last_begins_with(&self, words: &str) -> bool {
        let lost = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        assert!(!lost, "a client lost an answer");
        let answers = self.answers.lock().expect("no client panics over its answers");
        answers.last().is_some_and(|text| text.starts_with(words))
    }

    fn finish(&mut self) -> Vec<String> {
        let thread = self.thread.take().expect("it is finished once");
        assert!(thread.join().is_ok(), "a client lost an answer");
        std::mem::take(&mut *self.answers.lock().expect("no client panics over its answers"))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // They are not left to complain about a server that is gone.
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.clients.iter_mut().filter_map(|client| client.thread.take()) {
            let _told_already = thread.join();
        }
    }
}

impl Task {
    fn goes_on(&self) -> bool {
        pause();
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, answer: String) {
        self.answers.lock().expect("no client panics over its answers").push(answer);
    }
}

fn connect(socket: &Path) -> Connection {
    Connection::try_unix(socket).expect("a connection is never refused")
}

fn ask_anew(task: &Task) {
    while task.goes_on() {
        task.note(connect(&task.socket).get("/").expect(200).text());
    }
}

fn ask_on(task: &Task) {
    ask_kept(task, || panic!("a kept connection ended instead of a response"));
}

fn ask_again(task: &Task) {
    ask_kept(task, || ());
}

/// `closed` hears that the server has closed instead of answering.
fn ask_kept(task: &Task, closed: fn()) {
    let mut connection = connect(&task.socket);
    while task.goes_on() {
        if connection.poll_end() || !connection.send_if_open(REQUEST) {
            connection = connect(&task.socket);
            continue;
        }
        let answer = connection.try_receive();
        if answer.as_ref().is_none_or(Response::says_close) {
            connection = connect(&task.socket);
        }
        match answer {
            Some(answer) => task.note(answer.expect(200).text()),
            None => closed(),
        }
    }
}
