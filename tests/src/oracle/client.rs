//! One client: asks again and again until it is told to stop.

use std::{io::ErrorKind, time::Duration};

use super::{
    mix::{Connections, Profile},
    record::{Clock, Outcome, Record},
    stop::Stop,
    wire::{Cut, Wire},
};

/// A client, and what it has seen.
#[derive(Debug)]
pub(super) struct Client {
    profile: Profile,
    /// Its number among the clients of the load; the first part of its requests' ids.
    number: usize,
    answer_limit: Duration,
    kept: Option<Wire>,
    seen: Seen,
}

/// What a client has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Its requests, in order.
    pub(super) records: Vec<Record>,
    /// Kept connections that the server closed while no request was on them.
    pub(super) closed_idle: u64,
}

impl Client {
    pub(super) fn new(profile: Profile, number: usize, answer_limit: Duration) -> Self {
        Self { profile, number, answer_limit, kept: None, seen: Seen::default() }
    }

    /// Asks until it is told to stop; the request in hand is finished.
    pub(super) fn run(mut self, clock: Clock, stop: &Stop) -> Seen {
        for count in 0.. {
            let pause = self.profile.pace.pause(count);
            if stop.pause(pause) {
                break;
            }
            let id = format!("{}-{count}", self.number);
            let begin = clock.now();
            let (fresh, outcome) = self.ask(&id, stop);
            self.seen.records.push(Record { begin, end: clock.now(), fresh, outcome });
        }
        self.seen
    }

    /// One request; says whether it had a new connection, and how it ended.
    fn ask(&mut self, id: &str, stop: &Stop) -> (bool, Outcome) {
        if let Some(mut wire) = self.kept.take() {
            let asked = wire.is_open().then(|| self.ask_over(wire, id, stop));
            match asked {
                Some(Ok(outcome)) => return (false, outcome),
                // The server said goodbye in time; whoever keeps connections must expect that.
                Some(Err(Closed)) | None => self.seen.closed_idle += 1,
            }
        }
        let wire = match self.profile.address.connect(self.answer_limit) {
            Ok(wire) => wire,
            Err(error) => return (true, Outcome::Refused(error.to_string().into())),
        };
        let outcome = self.ask_over(wire, id, stop).unwrap_or_else(|Closed| {
            Outcome::Lost("a new connection was closed before the request".into())
        });
        (true, outcome)
    }

    fn ask_over(&mut self, mut wire: Wire, id: &str, stop: &Stop) -> Result<Outcome, Closed> {
        let keep = self.profile.connections == Connections::Kept;
        let question = self.profile.question;
        let answer = match question.ask(&mut wire, id, keep, stop) {
            Ok(answer) => answer,
            Err(Cut::Unwritten(error)) if is_end(error.kind()) => return Err(Closed),
            Err(cut) => return Ok(Outcome::Lost(cut.to_string().into())),
        };
        let outcome = match question.judge(&answer, id) {
            Ok(marker) => Outcome::Answered { marker },
            Err(why) => Outcome::Lost(why.into()),
        };
        if keep && !answer.closes {
            self.kept = Some(wire);
        }
        Ok(outcome)
    }
}

/// The server had closed the connection before any byte of the request was taken.
#[derive(Debug)]
struct Closed;

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
