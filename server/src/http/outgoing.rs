//! The body of a response, as hyper takes it.
//!
//! It never gives more than the declared length, and when it gives less, the connection ends.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rackrs_ruby::exchange::{Aborted, ReplyBody};

use super::{file_body::FileBody, link::Link};

/// A body that cannot be sent to its end; hyper drops the connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The application ended it.
    #[error("cannot finish a response: the application gave up its body")]
    Aborted(#[source] Aborted),
    /// The file is not what it was.
    #[error("cannot finish a response: its file cannot be read to its end")]
    File(#[source] io::Error),
    /// Less than the content-length came.
    #[error(
        "cannot finish a response: its body is {missing} bytes shorter than its content-length"
    )]
    Short { missing: u64 },
}

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Nothing, or nothing more.
    Over,
    Whole(Bytes),
    File(FileBody),
    Stream(ReplyBody),
}

/// A response body.
#[derive(Debug)]
pub(super) struct Outgoing {
    link: Rc<Link>,
    source: Source,
    length: Length,
    /// An error, to be told to hyper once all before it is flushed: hyper throws away what it
    /// has not written when a body fails.
    failure: Option<BodyError>,
}

/// What is known of the number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Exactly this many are left, and we know it ourselves.
    Exact(u64),
    /// The application's content-length says that this many are left, which need not be true.
    Declared(u64),
    /// Nothing.
    Unknown,
}

impl Outgoing {
    pub(super) fn new(link: Rc<Link>, source: Source, length: Length) -> Self {
        Self { link, source, length, failure: None }
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match &mut self.source {
            Source::Over => Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Over;
                Poll::Ready(Some(Ok(bytes)))
            }
            Source::File(file) => file
                .poll_chunk(context)
                .map(|item| item.map(|chunk| chunk.map_err(BodyError::File))),
            Source::Stream(body) => body
                .poll_chunk(context)
                .map(|item| item.map(|chunk| chunk.map_err(BodyError::Aborted))),
        }
    }

    /// Counts `chunk` against the length, cutting off what is beyond.
    fn measure(&mut self, mut chunk: Bytes) -> Bytes {
        if let Length::Declared(left) | Length::Exact(left) = &mut self.length {
            let fits = usize::try_from(*left).unwrap_or(usize::MAX);
            if fits < chunk.len() {
                chunk.truncate(fits);
                self.source = Source::Over;
                overlong(&self.link);
            }
            *left -= chunk.len() as u64;
        }
        self.link.body_bytes(chunk.len());
        chunk
    }

    fn missing(&self) -> u64 {
        match self.length {
            Length::Declared(left) | Length::Exact(left) => left,
            Length::Unknown => 0,
        }
    }
}

fn overlong(link: &Link) {
    tracing::warn!("a response body is longer than its content-length; the rest is not sent");
    link.set_last();
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while this.failure.is_none() {
            match ready!(this.poll_source(context)) {
                Some(Ok(chunk)) => {
                    let chunk = this.measure(chunk);
                    if !chunk.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(chunk))));
                    }
                }
                Some(Err(error)) => this.failure = Some(error),
                None => {
                    this.source = Source::Over;
                    let missing = this.missing();
                    if missing == 0 {
                        return Poll::Ready(None);
                    }
                    this.failure = Some(BodyError::Short { missing });
                }
            }
        }
        ready!(this.link.poll_flushed(context));
        Poll::Ready(this.failure.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        let over = match &self.source {
            Source::Over => true,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::File(file) => file.is_over(),
            Source::Stream(_) => false,
        };
        over && self.failure.is_none() && self.missing() == 0
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Exact(left) => SizeHint::with_exact(left),
            Length::Declared(_) | Length::Unknown => SizeHint::default(),
        }
    }
}

impl Drop for Outgoing {
    /// hyper lets go of a body when it has all it wants of it.
    fn drop(&mut self) {
        if let Source::Stream(body) = &mut self.source
            && self.length == Length::Declared(0)
            && let Poll::Ready(Some(Ok(_))) =
                body.poll_chunk(&mut Context::from_waker(Waker::noop()))
        {
            overlong(&self.link);
        }
        self.link.body_given();
    }
}
