//! Every limit and time-out of a worker, with its default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Every limit and time-out, with Puma's defaults where Puma has the word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Puma's `first_data_timeout`, 30 s: from accept, or the first byte of a head, to the head's
    /// end; and between two arrivals of body bytes.
    pub first_data_timeout: Duration,
    /// Puma's `persistent_timeout`, 65 s: a kept-alive connection without a request.
    pub persistent_timeout: Duration,
    /// Puma's `max_keep_alive`, 999: requests on one connection.
    pub max_keep_alive: u32,
    /// A client that takes no byte of the response for this long is cut off: 10 s (Puma's
    /// `WRITE_TIMEOUT`).
    pub write_timeout: Duration,
    /// Puma's `http_content_length_limit`: longest request body in bytes, 413 beyond. Puma has no
    /// limit by default; here it is 5 GiB, so that a disk is not filled by one request.
    pub request_body_bytes_max: u64,
    /// A request body up to this many bytes stays in memory, 112 KiB (Puma's `MAX_BODY`).
    pub request_body_memory_bytes_max: usize,
    /// Whole request head, 112 KiB (Puma's `MAX_HEADER`), 431 beyond.
    pub head_bytes_max: usize,
    /// Requests that wait for a Ruby thread in one worker, 1,024; 503 beyond.
    pub queue_max: usize,
    /// Open connections of one worker, 16,384; newcomers wait in the kernel's backlog beyond.
    pub connections_max: usize,
    /// Loading of the application by the mold, 300 s. Puma has no limit for it.
    pub load_timeout: Duration,
    /// Puma's `worker_boot_timeout`, 60 s: from a worker's fork to its first accept.
    pub boot_timeout: Duration,
    /// Puma's `worker_shutdown_timeout`, 30 s: draining, before a worker is killed.
    pub shutdown_timeout: Duration,
    /// During a restart, how long an idle kept-alive connection of the old generation may still
    /// bring one more request: 5 s, and never more than half of `shutdown_timeout`.
    pub drain_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_data_timeout: Duration::from_secs(30),
            persistent_timeout: Duration::from_secs(65),
            max_keep_alive: 999,
            write_timeout: Duration::from_secs(10),
            request_body_bytes_max: 5 << 30,
            request_body_memory_bytes_max: 112 << 10,
            head_bytes_max: 112 << 10,
            queue_max: 1024,
            connections_max: 16_384,
            load_timeout: Duration::from_mins(5),
            boot_timeout: Duration::from_mins(1),
            shutdown_timeout: Duration::from_secs(30),
            drain_idle_timeout: Duration::from_secs(5),
        }
    }
}
