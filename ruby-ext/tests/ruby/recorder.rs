//! A watch that notes what it is told, and whether that makes sense.

use std::{
    collections::BTreeMap,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{libc, unistd::gettid};
use rackrs_ruby::{exchange::Request, pool::Watch};

/// The status of a forked child that tells the watch of its parent.
pub(crate) const TOLD_BY_A_CHILD: i32 = 99;

/// Everything that was told.
pub(crate) struct Recorder {
    process: u32,
    notes: Mutex<Notes>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// How often the main thread ran.
    pub(crate) ran: usize,
    /// Hands that are on their seats, with their kernel threads.
    pub(crate) hands: BTreeMap<usize, i32>,
    /// Paths that are being served, by seat.
    pub(crate) requests: BTreeMap<usize, String>,
    /// What was served, with the wait for the GVL.
    pub(crate) served: Vec<(String, Duration)>,
    /// Hands that began, and those that ended.
    pub(crate) began_and_ended: (usize, usize),
    /// What makes no sense.
    wrong: Vec<String>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { process: process::id(), notes: Mutex::default() }
    }
}

impl Recorder {
    pub(crate) fn notes(&self) -> Notes {
        self.lock().clone()
    }

    pub(crate) fn assert_all_ended(&self) {
        let notes = self.notes();
        assert_eq!(notes.wrong, Vec::<String>::new());
        assert!(notes.hands.is_empty() && notes.requests.is_empty(), "{notes:?}");
        assert_eq!(notes.began_and_ended.0, notes.began_and_ended.1);
    }

    fn note(&self, holds: bool, what: &str) {
        let mut notes = self.lock();
        if !holds {
            notes.wrong.push(what.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        if process::id() != self.process {
            // SAFETY: ends this process.
            unsafe { libc::_exit(TOLD_BY_A_CHILD) };
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Recorder {
    fn ruby_ran(&self) {
        self.lock().ran += 1;
    }

    fn hand_began(&self, seat: usize, tid: i32) {
        self.note(tid == gettid().as_raw(), "told of another thread");
        let previous = self.lock().hands.insert(seat, tid);
        self.note(previous.is_none(), "two hands on a seat");
        self.lock().began_and_ended.0 += 1;
    }

    fn hand_ended(&self, seat: usize) {
        let tid = self.lock().hands.remove(&seat);
        self.note(tid == Some(gettid().as_raw()), "another hand has ended");
        self.lock().began_and_ended.1 += 1;
    }

    fn request_began(&self, seat: usize, request: &Request, gvl_wait: Duration) {
        let path = request.head.uri.path().to_owned();
        let tid = self.lock().hands.get(&seat).copied();
        self.note(tid == Some(gettid().as_raw()), "a request of nobody");
        let previous = self.lock().requests.insert(seat, path.clone());
        self.note(previous.is_none(), "two requests on a seat");
        self.lock().served.push((path, gvl_wait));
    }

    fn request_ended(&self, seat: usize) {
        let request = self.lock().requests.remove(&seat);
        self.note(request.is_some(), "the end of no request");
    }
}
