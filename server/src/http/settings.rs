//! What the HTTP side of one worker is told at its start.

use std::{fs::File, io, rc::Rc, sync::Arc, time::Duration};

use super::{access::AccessLog, counters::Counters};
use crate::config::Limits;

/// Opens an empty unlinked temporary file for a request body.
pub type OpenTempFile = fn() -> io::Result<File>;

/// Everything a [`Server`](super::Server) needs besides sockets and application.
#[derive(Clone)]
pub struct Settings {
    /// Sizes and time-outs.
    pub limits: Limits,
    /// Where request bodies beyond `limits.request_body_memory_bytes_max` go.
    pub open_temp_file: OpenTempFile,
    /// How long a worker whose application is busy leaves a newcomer to its siblings before it
    /// accepts it after all (Puma's `wait_for_less_busy_worker`, 5 ms); `None` with one worker.
    pub yield_when_busy: Option<Duration>,
    /// Shared with whoever reports them.
    pub counters: Arc<Counters>,
    /// Called once for every finished response; `None` costs nothing.
    pub access_log: Option<Rc<dyn AccessLog>>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limits, open_temp_file: _, yield_when_busy, counters, access_log } = self;
        formatter
            .debug_struct("Settings")
            .field("limits", limits)
            .field("yield_when_busy", yield_when_busy)
            .field("counters", counters)
            .field("access_log", &access_log.is_some())
            .finish_non_exhaustive()
    }
}
