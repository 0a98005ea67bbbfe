//! How workers are watched, replaced and restarted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What keeps the workers of a running server healthy. `None` means no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upkeep {
    /// Slots that are swapped at a time in a restart, 1: so many workers more than usual exist
    /// meanwhile, besides those that finish what they hold.
    pub restart_batch: u16,
    /// Paths that every new worker must have answered, without a 5xx, before it serves.
    pub warmup: Vec<String>,
    /// For one such answer, 30 s.
    pub warmup_timeout: Duration,
    /// Puma's `worker_timeout`, 60 s: without a sign of life from a worker's I/O thread or from
    /// its Ruby, before it is killed.
    pub worker_timeout: Option<Duration>,
    /// One request in the hands of Ruby, before its worker is killed (Unicorn's `timeout`); none.
    pub request_timeout: Option<Duration>,
    /// Requests that a worker serves before another takes its place; none.
    pub requests_max: Option<u64>,
    /// Up to so many more, by chance for each worker: they must not all go at once; 0.
    pub requests_jitter: u64,
    /// Resident memory of a worker before another takes its place, bytes; none.
    pub resident_bytes_max: Option<u64>,
    /// Its share of memory (PSS: shared pages count in parts), bytes; none.
    pub proportional_bytes_max: Option<u64>,
    /// Puma's `fork_worker`: requests of one worker after which it becomes, once, the mold of all
    /// others; none.
    pub refork_after: Option<u64>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            restart_batch: 1,
            warmup: Vec::new(),
            warmup_timeout: Duration::from_secs(30),
            worker_timeout: Some(Duration::from_mins(1)),
            request_timeout: None,
            requests_max: None,
            requests_jitter: 0,
            resident_bytes_max: None,
            proportional_bytes_max: None,
            refork_after: None,
        }
    }
}
