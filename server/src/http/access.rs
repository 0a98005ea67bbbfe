//! What is known of a request when its response is finished, for the access log.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use rackrs_ruby::exchange::Peer;
use tokio::time::Instant;

/// Writes the access log; called on the I/O thread, so it must not block.
pub trait AccessLog {
    /// Takes one finished response.
    fn record(&self, entry: &Entry<'_>);
}

/// One finished response.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's target: `path()` and `query()`, raw as the client sent them.
    pub target: &'a Uri,
    /// The request's HTTP version.
    pub version: Version,
    /// The status; `None` when the application took the socket without one (Puma then logs
    /// `HIJACKED -1`).
    pub status: Option<StatusCode>,
    /// Bytes of the response body that were given to the connection, without chunked framing.
    pub body_bytes: u64,
    /// Whether the response was cut short: by the client, a time-out or the application.
    pub cut: bool,
    /// From the end of the request's head to the end of the response.
    pub elapsed: Duration,
    /// The connection.
    pub peer: &'a Peer,
    /// First `X-Forwarded-For` of the request, raw.
    pub forwarded_for: Option<&'a HeaderValue>,
}

/// What an [`Entry`] is made of, kept while a request is under way.
#[derive(Debug)]
pub(super) struct Record {
    method: Method,
    target: Uri,
    version: Version,
    forwarded_for: Option<HeaderValue>,
    started: Instant,
}

impl Record {
    pub(super) fn new(head: &http::request::Parts, started: Instant) -> Self {
        Self {
            method: head.method.clone(),
            target: head.uri.clone(),
            version: head.version,
            forwarded_for: forwarded_for(&head.headers),
            started,
        }
    }

    pub(super) fn finish(self, log: &dyn AccessLog, peer: &Arc<Peer>, outcome: Outcome) {
        log.record(&Entry {
            method: &self.method,
            target: &self.target,
            version: self.version,
            status: outcome.status,
            body_bytes: outcome.body_bytes,
            cut: outcome.cut,
            elapsed: self.started.elapsed(),
            peer,
            forwarded_for: self.forwarded_for.as_ref(),
        });
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) status: Option<StatusCode>,
    pub(super) body_bytes: u64,
    pub(super) cut: bool,
}

fn forwarded_for(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get("x-forwarded-for").cloned()
}
