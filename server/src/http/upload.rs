//! Receives a request body whole: small in memory, larger in an unlinked temporary file.

use std::{fs::File, future::poll_fn, io, pin::Pin};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use rackrs_ruby::exchange::Body;
use tokio::sync::Semaphore;

use super::{
    link::Link,
    phase::Event,
    refusal::Refusal,
    settings::{OpenTempFile, Settings},
};

mod spool;

use spool::{Spool, SpoolError};

/// Bodies of one worker that may be written to disk at the same moment; the others wait, and with
/// them, unread, their clients.
pub(super) const SPOOL_WRITES_MAX: usize = 4;

/// Receives the body of the request in hand.
///
/// Nothing is read, and no 100 is sent, when the declared length is beyond the limit.
///
/// # Errors
///
/// The [`Refusal`] to answer with: too large, malformed or cut short, or not storable.
pub(super) async fn receive(
    body: Incoming,
    link: &Link,
    spool_writes: &Semaphore,
) -> Result<Body, Refusal> {
    let limits = &link.settings.limits;
    let declared = body.size_hint().exact();
    if declared == Some(0) || body.is_end_stream() {
        return Ok(Body::Empty);
    }
    if declared.is_some_and(|length| length > limits.request_body_bytes_max) {
        return Err(Refusal::BODY_TOO_LARGE);
    }
    let mut store = Store::new(&link.settings, declared);
    let mut body = body;
    while let Some(data) = next_data(&mut body).await? {
        if store.len() + data.len() as u64 > limits.request_body_bytes_max {
            return Err(Refusal::BODY_TOO_LARGE);
        }
        if let Some(batch) = store.push(data) {
            link.on(Event::SpoolingStarted);
            store.write(batch, spool_writes).await.map_err(|error| refuse(&error))?;
            link.on(Event::SpoolingEnded);
        }
    }
    link.on(Event::SpoolingStarted);
    store.finish(spool_writes).await.map_err(|error| refuse(&error))
}

/// The next bytes of the body. Trailers are discarded: no CGI variable is theirs.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(error)) => {
                tracing::debug!(%error, "request body broken");
                return Err(Refusal::BODY_BROKEN);
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn refuse(error: &SpoolError) -> Refusal {
    let cause = error.cause();
    tracing::error!(%error, %cause, "request body not stored");
    if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        Refusal::DISK_FULL
    } else {
        Refusal::DISK_BROKEN
    }
}

/// The bytes received so far.
struct Store {
    memory_bytes_max: usize,
    open_temp_file: OpenTempFile,
    place: Place,
}

enum Place {
    Nothing,
    /// One piece: it is passed on as it is.
    One(Bytes),
    Memory(BytesMut),
    Disk(Spool),
}

impl Store {
    fn new(settings: &Settings, declared: Option<u64>) -> Self {
        let memory_bytes_max = settings.limits.request_body_memory_bytes_max;
        let open_temp_file = settings.open_temp_file;
        let goes_to_disk = declared.is_some_and(|length| length > memory_bytes_max as u64);
        let place = if goes_to_disk {
            Place::Disk(Spool::holding(BytesMut::new(), open_temp_file))
        } else {
            Place::Nothing
        };
        Self { memory_bytes_max, open_temp_file, place }
    }

    fn len(&self) -> u64 {
        match &self.place {
            Place::Nothing => 0,
            Place::One(bytes) => bytes.len() as u64,
            Place::Memory(bytes) => bytes.len() as u64,
            Place::Disk(spool) => spool.len(),
        }
    }

    /// Keeps `data`; gives a batch back when one should be written.
    fn push(&mut self, data: Bytes) -> Option<BytesMut> {
        let fits = self.len() + data.len() as u64 <= self.memory_bytes_max as u64;
        let mut memory = match std::mem::replace(&mut self.place, Place::Nothing) {
            Place::Nothing if fits => {
                self.place = Place::One(data);
                return None;
            }
            Place::Nothing => BytesMut::new(),
            Place::One(first) => BytesMut::from(first),
            Place::Memory(memory) => memory,
            Place::Disk(mut spool) => {
                let batch = spool.push(&data);
                self.place = Place::Disk(spool);
                return batch;
            }
        };
        if fits {
            memory.extend_from_slice(&data);
            self.place = Place::Memory(memory);
            return None;
        }
        let mut spool = Spool::holding(memory, self.open_temp_file);
        let batch = spool.push(&data);
        self.place = Place::Disk(spool);
        batch
    }

    async fn write(&mut self, batch: BytesMut, writes: &Semaphore) -> Result<(), SpoolError> {
        match &mut self.place {
            Place::Disk(spool) => spool.write(batch, writes).await,
            Place::Nothing | Place::One(_) | Place::Memory(_) => Ok(()),
        }
    }

    async fn finish(self, writes: &Semaphore) -> Result<Body, SpoolError> {
        match self.place {
            Place::Nothing => Ok(Body::Empty),
            Place::One(bytes) => Ok(Body::Memory(bytes)),
            Place::Memory(bytes) => Ok(Body::Memory(bytes.freeze())),
            Place::Disk(spool) => {
                let (file, len): (File, u64) = spool.finish(writes).await?;
                Ok(Body::File { file, len })
            }
        }
    }
}
