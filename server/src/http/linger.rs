//! Closes a connection so that the client can still read our last words.
//!
//! Closing a socket with unread input makes the kernel reset the connection, and a reset destroys
//! what the client has not read yet (RFC 9112 section 9.6). So the sending side is shut first, and
//! what still comes is read and thrown away, within limits.

use std::time::Duration;

use rackrs_ruby::fork::Private;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Stream;

/// Longest time that a closed connection is still read.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes that are thrown away.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes per read.
const BUFFER_BYTES: usize = 16 * 1024;

/// Shuts the sending side and discards input until the client closes or a limit is reached.
pub(super) async fn close(mut stream: Private<Stream>) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let discard = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut total = 0;
        while total < LINGER_BYTES_MAX {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
        }
    };
    if tokio::time::timeout(LINGER_TIMEOUT, discard).await.is_err() {
        tracing::debug!("a client goes on sending after the end of its connection");
    }
}
