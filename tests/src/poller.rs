//! Clients that ask a server all the time while something is done to it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{Connection, Server, eventually, patience::pause};

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
    /// Begins to `GET /`.
    #[must_use]
    pub fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = [ask_anew, ask_on].map(|ask: fn(&Task)| {
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
    let mut connection = connect(&task.socket);
    while task.goes_on() {
        if connection.poll_end() {
            connection = connect(&task.socket);
        }
        let answer = connection.get("/").expect(200);
        if answer.says_close() {
            connection = connect(&task.socket);
        }
        task.note(answer.text());
    }
}
