//! Counts of one worker's HTTP side, readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Raised by the I/O thread, read by whoever reports.
///
/// Relaxed order: each count stands for itself and none guards other memory.
#[derive(Debug, Default)]
pub struct Counters {
    connections_open: AtomicU64,
    connections: AtomicU64,
    requests: AtomicU64,
    finished: AtomicU64,
    in_flight: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    timed_out: AtomicU64,
    body_bytes_out: AtomicU64,
    accept_pauses: AtomicU64,
}

/// The counts of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections open now.
    pub connections_open: u64,
    /// Connections accepted since the start.
    pub connections: u64,
    /// Requests whose head was complete, since the start.
    pub requests: u64,
    /// Requests that are over, answered or cut short, since the start.
    pub finished: u64,
    /// Requests handed to the application whose response is not finished.
    pub in_flight: u64,
    /// Requests refused by us (4xx, 5xx), malformed ones not counted.
    pub refused: u64,
    /// Heads that could not be parsed.
    pub malformed: u64,
    /// Connections ended by a time-out while a request or a response was under way.
    pub timed_out: u64,
    /// Bytes of response bodies, before any chunked framing.
    pub body_bytes_out: u64,
    /// Times accepting had to pause for want of descriptors or memory.
    pub accept_pauses: u64,
}

impl Counters {
    /// All counts as they stand now; not one instant, as they are read one after another.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Snapshot {
            connections_open: read(&self.connections_open),
            connections: read(&self.connections),
            requests: read(&self.requests),
            finished: read(&self.finished),
            in_flight: read(&self.in_flight),
            refused: read(&self.refused),
            malformed: read(&self.malformed),
            timed_out: read(&self.timed_out),
            body_bytes_out: read(&self.body_bytes_out),
            accept_pauses: read(&self.accept_pauses),
        }
    }

    pub(super) fn connection_opened(&self) {
        raise(&self.connections_open, 1);
        raise(&self.connections, 1);
    }

    pub(super) fn connection_closed(&self) {
        self.connections_open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        raise(&self.requests, 1);
    }

    pub(super) fn finished(&self) {
        raise(&self.finished, 1);
    }

    pub(super) fn dispatched(&self) {
        raise(&self.in_flight, 1);
    }

    pub(super) fn answered(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        raise(&self.refused, 1);
    }

    pub(super) fn malformed(&self) {
        raise(&self.malformed, 1);
    }

    pub(super) fn timed_out(&self) {
        raise(&self.timed_out, 1);
    }

    pub(super) fn body_bytes_out(&self, bytes: u64) {
        raise(&self.body_bytes_out, bytes);
    }

    pub(super) fn accept_paused(&self) {
        raise(&self.accept_pauses, 1);
    }
}

fn raise(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}
