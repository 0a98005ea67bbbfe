//! A request body on its way to a temporary file, written in large batches off the I/O thread.

use std::{
    fs::File,
    io::{self, Seek, Write},
};

use bytes::BytesMut;
use tokio::sync::Semaphore;

use crate::http::settings::OpenTempFile;

/// Fewest bytes worth a trip to a blocking thread; the last batch of a body may be shorter.
const BATCH_BYTES: usize = 256 * 1024;

/// A request body could not be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// No temporary file could be had.
    #[error("cannot open a temporary file for a request body; check the temporary folder")]
    Open(#[source] io::Error),
    /// The file could not be written.
    #[error("cannot write a request body to a temporary file; check the room on that disk")]
    Write(#[source] io::Error),
    /// The blocking thread ended without a result.
    #[error("cannot write a request body to a temporary file; its writer was stopped")]
    Stopped(#[source] io::Error),
}

impl SpoolError {
    pub(super) fn cause(&self) -> &io::Error {
        match self {
            Self::Open(cause) | Self::Write(cause) | Self::Stopped(cause) => cause,
        }
    }
}

/// A file in the making.
#[derive(Debug)]
pub(super) struct Spool {
    open_temp_file: OpenTempFile,
    file: Option<File>,
    batch: BytesMut,
    len: u64,
}

impl Spool {
    /// A spool that has taken `batch` already.
    pub(super) fn holding(batch: BytesMut, open_temp_file: OpenTempFile) -> Self {
        let len = batch.len() as u64;
        Self { open_temp_file, file: None, batch, len }
    }

    /// Bytes taken so far, written or not.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds `data`; gives the batch to be written when it is large enough.
    pub(super) fn push(&mut self, data: &[u8]) -> Option<BytesMut> {
        self.batch.extend_from_slice(data);
        self.len += data.len() as u64;
        (self.batch.len() >= BATCH_BYTES).then(|| std::mem::take(&mut self.batch))
    }

    /// Writes one batch behind those before it.
    pub(super) async fn write(
        &mut self,
        batch: BytesMut,
        writes: &Semaphore,
    ) -> Result<(), SpoolError> {
        let (file, batch) = self.run(batch, writes, Ok).await?;
        self.file = Some(file);
        self.batch = batch;
        Ok(())
    }

    /// Writes what is left and gives the file, at offset 0, with its length.
    pub(super) async fn finish(mut self, writes: &Semaphore) -> Result<(File, u64), SpoolError> {
        let batch = std::mem::take(&mut self.batch);
        let rewind = |mut file: File| file.rewind().map(|()| file);
        let (file, _) = self.run(batch, writes, rewind).await?;
        Ok((file, self.len))
    }

    /// Opens the file if need be, writes `batch` and calls `then`, all on a blocking thread; gives
    /// the file and the emptied batch.
    async fn run(
        &mut self,
        mut batch: BytesMut,
        writes: &Semaphore,
        then: impl FnOnce(File) -> io::Result<File> + Send + 'static,
    ) -> Result<(File, BytesMut), SpoolError> {
        let _permit = writes.acquire().await.expect("the semaphore is never closed");
        let (file, open) = (self.file.take(), self.open_temp_file);
        let work = move || {
            let mut file = match file {
                Some(file) => file,
                None => open().map_err(SpoolError::Open)?,
            };
            file.write_all(&batch).map_err(SpoolError::Write)?;
            batch.clear();
            Ok((then(file).map_err(SpoolError::Write)?, batch))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(stopped) => Err(SpoolError::Stopped(io::Error::other(stopped))),
        }
    }
}
