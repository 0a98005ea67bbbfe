//! Where the bytes of a request body are, and reading them at a position.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use magnus::{Error, Ruby};
use nix::errno::Errno;

use crate::{
    exchange::Body,
    gvl::{self, Wake},
    rack::raw,
};

/// Most bytes that one read takes from a file; bounds the memory beside the reader's own string.
const PIECE_BYTES_MAX: u64 = 256 * 1024;

/// Longest read from a file that keeps the GVL. What is longer takes longer than handing the lock
/// over twice.
const UNDER_GVL_BYTES_MAX: usize = 16 * 1024;

/// A request body, or that it is closed.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Closed,
    Memory(Bytes),
    File { file: Arc<File>, len: u64 },
}

impl Source {
    pub(super) fn new(body: Body) -> Self {
        match body {
            Body::Empty => Self::Memory(Bytes::new()),
            Body::Memory(bytes) => Self::Memory(bytes),
            Body::File { file, len } => Self::File { file: Arc::new(file), len },
        }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// How much memory it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Closed | Self::File { .. } => 0,
        }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// The bytes from `position` up to `end`, or some at the start of them; none only when
    /// `position` is not before `end` or not before the end of the body.
    ///
    /// # Errors
    ///
    /// `SystemCallError` when the file cannot be read; an interrupt of this thread.
    pub(super) fn read(&self, ruby: &Ruby, position: u64, end: u64) -> Result<Bytes, Error> {
        match self {
            Self::Closed => Ok(Bytes::new()),
            Self::Memory(bytes) => {
                let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let (start, end) = (clamp(position), clamp(end));
                Ok(if start < end { bytes.slice(start..end) } else { Bytes::new() })
            }
            Self::File { file, .. } => {
                let bytes = end.saturating_sub(position).min(PIECE_BYTES_MAX);
                read_file(ruby, file, position, usize::try_from(bytes).unwrap_or(0))
            }
        }
    }
}

fn read_file(ruby: &Ruby, file: &File, position: u64, bytes: usize) -> Result<Bytes, Error> {
    let read = || {
        let mut buffer = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        Ok(Bytes::from(buffer))
    };
    let result = if bytes <= UNDER_GVL_BYTES_MAX {
        read()
    } else {
        loop {
            // A regular file always answers, so there is nothing to wake.
            match gvl::without_gvl(ruby, read, Wake::Never)? {
                Some(result) => break result,
                None => gvl::check_interrupts(ruby)?,
            }
        }
    };
    result.map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        raw::system_call_error(ruby, errno)
    })
}
