//! What the Ruby side of a worker notes in the memory that it shares with the master.

use std::time::Duration;

use rackrs_ruby::{exchange::Request, pool::Watch};

use crate::scoreboard::Row;

/// Writes to one row.
#[derive(Debug)]
pub(super) struct Scores(pub(super) Row);

impl Watch for Scores {
    fn ruby_ran(&self) {
        self.0.beat_ruby();
    }

    fn hand_began(&self, seat: usize, tid: i32) {
        self.0.set_thread(seat, tid);
    }

    fn hand_ended(&self, seat: usize) {
        self.0.set_thread(seat, 0);
    }

    fn request_began(&self, seat: usize, request: &Request, gvl_wait: Duration) {
        if !gvl_wait.is_zero() {
            self.0.add_gvl_wait(gvl_wait);
        }
        self.0.begin(seat, request.head.method.as_str(), request.head.uri.path());
    }

    fn request_ended(&self, seat: usize) {
        self.0.end(seat);
    }
}
