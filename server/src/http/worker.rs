//! What the connections of one worker share.

use std::{rc::Rc, sync::Arc};

use hyper::server::conn::http1;
use tokio::sync::Semaphore;

use super::{application::Application, drain::Roll, settings::Settings, upload};

/// Smallest buffer that hyper works with, in bytes.
const HYPER_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// The application, and whatever there is once for all connections.
pub(super) struct Worker<A> {
    pub(super) application: A,
    pub(super) settings: Rc<Settings>,
    pub(super) roll: Rc<Roll>,
    /// One permit per open connection.
    pub(super) connections: Arc<Semaphore>,
    /// Bounds the bodies that are written to disk at once.
    pub(super) spool_writes: Semaphore,
    pub(super) http: http1::Builder,
}

impl<A: Application> Worker<A> {
    pub(super) fn new(application: A, settings: Settings) -> Rc<Self> {
        let limits = &settings.limits;
        let head_bytes_max = limits.head_bytes_max.max(HYPER_BUFFER_BYTES_MIN);
        let mut http = http1::Builder::new();
        http.half_close(true)
            .header_read_timeout(None)
            .max_buf_size(head_bytes_max)
            .max_header_size(head_bytes_max);
        Rc::new(Self {
            application,
            roll: Rc::default(),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            spool_writes: Semaphore::new(upload::SPOOL_WRITES_MAX),
            http,
            settings: Rc::new(settings),
        })
    }
}
