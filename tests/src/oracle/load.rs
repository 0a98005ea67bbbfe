//! All clients at work at the same time, and the watch over the pid file.

use std::{
    path::Path,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    address::Address,
    client::{Client, Seen},
    mix::{Profile, mix},
    pid_watch::{self, PidFile},
    record::Clock,
    stop::Stop,
};

/// A load that is running.
#[derive(Debug)]
pub(super) struct Load {
    /// Its time.
    pub(super) clock: Clock,
    stop: Ending,
    clients: Vec<(Profile, JoinHandle<Seen>)>,
    pid_watch: JoinHandle<PidFile>,
}

/// Stops the clients when it goes, so that none outlives a load that is given up.
#[derive(Debug)]
struct Ending(Stop);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What a load that has ended has seen.
#[derive(Debug)]
pub(super) struct Recording {
    /// How long it lasted.
    pub(super) length: Duration,
    /// What each client saw.
    pub(super) clients: Vec<(Profile, Seen)>,
    /// What the pid file said.
    pub(super) pid_file: PidFile,
}

impl Load {
    /// Starts every client.
    pub(super) fn start(addresses: &[Address], pid_file: &Path, answer_limit: Duration) -> Self {
        let (clock, stop) = (Clock::start(), Stop::default());
        let clients = mix(addresses).into_iter().enumerate().map(|(number, profile)| {
            let (client, stop) = (Client::new(profile.clone(), number, answer_limit), stop.clone());
            (profile, thread::spawn(move || client.run(clock, &stop)))
        });
        let clients = clients.collect();
        let (path, until) = (pid_file.to_owned(), stop.clone());
        let pid_watch = thread::spawn(move || pid_watch::watch(&path, clock, &until));
        Self { clock, stop: Ending(stop), clients, pid_watch }
    }

    /// Lets the load run for `time`.
    pub(super) fn run_for(&self, time: Duration) {
        self.stop.0.pause(time);
    }

    /// Stops every client after the request it is at.
    pub(super) fn finish(self) -> Recording {
        let length = self.clock.now();
        drop(self.stop);
        let join = |(profile, client): (_, JoinHandle<_>)| {
            (profile, client.join().expect("a client never panics"))
        };
        let clients = self.clients.into_iter().map(join).collect();
        let pid_file = self.pid_watch.join().expect("the watch never panics");
        Recording { length, clients, pid_file }
    }
}
