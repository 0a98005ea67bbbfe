//! The client's socket, as hyper reads and writes it.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout},
    sys::socket::{MsgFlags, Shutdown, recv, shutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::link::Link;

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// Gives the descriptor away, still non-blocking, no longer known to the runtime.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Unix(stream) => stream.into_std().map(OwnedFd::from),
            Self::Tcp(stream) => stream.into_std().map(OwnedFd::from),
        }
    }

    /// Ready when there is something to read, or the end of it. Reads nothing.
    pub(super) fn poll_input(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_readable(context))?;
            // What the runtime believes of a new socket is only a guess; this corrects it.
            let mut byte = [0];
            let peek = || Ok(recv(self.as_fd().as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK)?);
            let peeked = match self {
                Self::Unix(stream) => stream.try_io(Interest::READABLE, peek),
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, peek),
            };
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other.map(|_count| ())),
            }
        }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => stream.poll_read_ready(context),
            Self::Tcp(stream) => stream.poll_read_ready(context),
        }
    }

    /// Whether unread bytes, or the client's end, are waiting in the kernel.
    pub(super) fn has_input(&self) -> bool {
        self.now(PollFlags::POLLIN).contains(PollFlags::POLLIN)
    }

    /// Forbids the client to send more, where the system tells a client so, and says whether
    /// something had come before. On a Unix socket the client's next write fails and carries
    /// nothing, so that it knows to go elsewhere; TCP has no word for it.
    pub(super) fn shut_input(&self) -> bool {
        let Self::Unix(stream) = self else { return false };
        let descriptor = stream.as_raw_fd();
        let mut byte = [0];
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        shutdown(descriptor, Shutdown::Read).is_ok()
            && recv(descriptor, &mut byte, peek).is_ok_and(|count| count > 0)
    }

    /// Whether nothing can reach the client any more: both directions are shut, or it was reset.
    /// A client that only ended its sending is not gone.
    pub(super) fn is_gone(&self) -> bool {
        self.now(PollFlags::empty()).intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
    }

    fn now(&self, wanted: PollFlags) -> PollFlags {
        let mut descriptors = [PollFd::new(self.as_fd(), wanted)];
        match nix::poll::poll(&mut descriptors, PollTimeout::ZERO) {
            Ok(_) => descriptors[0].revents().unwrap_or(PollFlags::empty()),
            // Only out of memory can bring us here; it tells nothing of the client.
            Err(_) => PollFlags::empty(),
        }
    }

    fn pinned(&mut self) -> Pin<&mut dyn Both> {
        match self {
            Self::Unix(stream) => Pin::new(stream),
            Self::Tcp(stream) => Pin::new(stream),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// What both kinds can do.
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().pinned().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().pinned().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().pinned().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().pinned().poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().pinned().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// What hyper holds: passes everything on to the link's stream and tells the link.
#[derive(Debug)]
pub(super) struct Socket {
    link: Rc<Link>,
}

impl Socket {
    pub(super) fn new(link: Rc<Link>) -> Self {
        Self { link }
    }

    fn with<T>(
        &self,
        operation: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.link.stream.borrow_mut().as_mut() {
            Some(stream) => operation(Pin::new(&mut **stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn write(
        &self,
        operation: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.link.writing();
        let result = self.with(operation);
        match &result {
            Poll::Ready(Ok(_)) => self.link.written(),
            Poll::Pending => self.link.write_blocked(),
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let mut leftover = self.link.leftover.borrow_mut();
        if !leftover.is_empty() {
            let count = leftover.len().min(buffer.remaining());
            buffer.put_slice(&leftover.split_to(count));
            self.link.received(&buffer.filled()[before..]);
            return Poll::Ready(Ok(()));
        }
        let result = self.with(|stream| stream.poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.link.received(&buffer.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes the socket only when its own buffer is empty, so that this is the place where
    /// interim responses go out in order.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut interim = self.link.interim.borrow_mut();
            if interim.is_empty() {
                break;
            }
            match self.write(|stream| stream.poll_write(context, &interim)) {
                Poll::Ready(Ok(count)) => interim.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.link.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};

    use super::*;

    /// Our end, and the client's.
    fn pair() -> (Stream, std::os::unix::net::UnixStream) {
        let (ours, client) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stream::Unix(UnixStream::from_std(ours).unwrap()), client)
    }

    #[tokio::test]
    async fn what_came_before_the_input_was_shut_can_be_read_and_nothing_comes_after() {
        let (stream, mut client) = pair();
        client.write_all(b"before").unwrap();
        assert!(stream.shut_input());
        assert_eq!(client.write(b"after").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut read = String::new();
        std::os::unix::net::UnixStream::from(stream.into_fd().unwrap())
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, "before");
    }

    #[tokio::test]
    async fn shutting_the_input_tells_that_nothing_came() {
        let (stream, mut client) = pair();
        assert!(!stream.shut_input());
        assert_eq!(client.write(b"after").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
