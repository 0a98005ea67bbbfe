//! A request as the Ruby side receives it: head, whole body, facts of the connection.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::Answer;

/// One request, its body read in full, on its way to the application.
#[derive(Debug)]
pub struct Request {
    /// Method, target, version and headers, as the parser gave them. Header values are bytes.
    pub head: http::request::Parts,
    /// The request body; never a part of one.
    pub body: Body,
    /// Facts of the connection that the request came on.
    pub peer: Arc<Peer>,
    /// From the end of the head to the end of the body (Puma's `puma.request_body_wait`).
    pub body_wait: Duration,
    /// Where the answer goes.
    pub answer: Answer,
}

/// A request body that has arrived completely.
#[derive(Debug)]
pub enum Body {
    /// No body, or one of no bytes.
    Empty,
    /// A body small enough for memory.
    Memory(Bytes),
    /// A body in an unlinked temporary file whose offset is 0.
    File {
        /// The file; nobody else holds it.
        file: File,
        /// Its length in bytes.
        len: u64,
    },
}

impl Body {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is known of a connection when it is accepted; shared by all its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's address; `None` on a Unix socket (Puma then says 127.0.0.1).
    pub remote: Option<IpAddr>,
    /// Our end of a TCP connection; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// Scheme of the listener itself, before any forwarding header is looked at.
    pub scheme: Scheme,
}

/// The scheme a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}
