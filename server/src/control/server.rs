//! The control socket of a master: clients' requests become a queue that the master's loop reads.

use std::{
    convert::Infallible,
    io, mem,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixListener as StdListener,
    },
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rackrs_sys::listen::{self, Address, BindError, Listener};
use tokio::{
    net::UnixListener,
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinHandle, spawn_local, yield_now},
    time::{sleep, timeout},
};

use super::{
    Reply, Request,
    conversation::{self, Outstanding},
};
use crate::telemetry::{chain, events};

/// Connections at a time; the kernel's backlog holds further ones.
pub const CONNECTIONS_MAX: usize = 16;
/// Connections that wait in the kernel; who comes then waits in connect(2).
const BACKLOG: u32 = 128;
/// The user that the master runs as, and root, who is asked for no permission.
const MODE: u32 = 0o600;
/// How long accepting pauses when the system has no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(50);
/// For the replies that are on their way when the process execs or ends.
const SETTLE_LIMIT: Duration = Duration::from_millis(250);

/// One request, and where its answer goes. A sender that is dropped tells the client that the server
/// is ending.
pub type Asked = (Request, oneshot::Sender<Reply>);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot be made; another server may have it.
    #[error("cannot open the control socket")]
    Open(#[source] BindError),
    /// It cannot be watched.
    #[error("cannot watch the control socket {address}; look for the limit of open files")]
    Watch {
        /// Where it is.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl ControlError {
    /// The exit status that fits: sysexits(3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        /// The operating system failed us.
        const EX_OSERR: u8 = 71;
        match self {
            Self::Open(error) => error.exit_code(),
            Self::Watch { .. } => EX_OSERR,
        }
    }
}

/// The control socket. Dropping it ends the accepting and unlinks the socket's file, if it is still
/// ours; clients that were accepted get their answers as long as the runtime lives.
///
/// It lives in a `LocalSet` of a runtime with one thread.
#[derive(Debug)]
pub struct ControlServer {
    listener: Listener,
    accepting: Option<JoinHandle<Infallible>>,
    outstanding: Rc<Outstanding>,
}

impl ControlServer {
    /// Makes the socket, with mode 0600. Follows no symbolic link and replaces only a dead socket.
    ///
    /// # Errors
    ///
    /// When somebody listens there, something else stands there, or the path cannot be one.
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        listen::bind_unix(path, None, Some(MODE), BACKLOG)
            .map(Self::from_listener)
            .map_err(ControlError::Open)
    }

    /// Takes over the socket of the program before an exec.
    #[must_use]
    pub fn from_listener(listener: Listener) -> Self {
        Self { listener, accepting: None, outstanding: Rc::default() }
    }

    /// The socket, for handing it to the program after an exec.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Starts to accept: requests go to `master`, whose capacity limits how many wait there.
    /// A second call has the requests go to another place.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    ///
    /// # Panics
    ///
    /// Outside a `LocalSet`.
    pub fn serve(&mut self, master: mpsc::Sender<Asked>) -> Result<(), ControlError> {
        let listener = self.watch().map_err(|source| ControlError::Watch {
            address: self.listener.address.clone(),
            source,
        })?;
        self.stop_accepting();
        self.accepting =
            Some(spawn_local(accept_all(listener, master, Rc::clone(&self.outstanding))));
        Ok(())
    }

    /// Accepts nobody more: who connects from now on waits in the kernel, for the program after an
    /// exec or until [`ControlServer::serve`] is called again.
    pub fn pause(&mut self) {
        self.stop_accepting();
    }

    /// Waits until those who were accepted have their answers, at most 250 ms: for the time between
    /// [`ControlServer::pause`] and an exec. Somebody must answer meanwhile.
    pub async fn settle(&self) {
        // One that was accepted this moment is counted when its task has run.
        yield_now().await;
        // What is not written by then is lost; the client says so.
        let _ = timeout(SETTLE_LIMIT, self.outstanding.none()).await;
    }

    fn watch(&self) -> io::Result<UnixListener> {
        // A copy: the original stays here for the handover.
        let listener = StdListener::from(self.listener.as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }

    fn stop_accepting(&mut self) {
        if let Some(task) = self.accepting.take() {
            task.abort();
        }
    }
}

impl AsFd for ControlServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.stop_accepting();
        if let Err(error) = listen::unlink_unix(&self.listener) {
            events::complain(&chain(&error));
        }
    }
}

async fn accept_all(
    listener: UnixListener,
    master: mpsc::Sender<Asked>,
    outstanding: Rc<Outstanding>,
) -> Infallible {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut pausing = false;
    loop {
        // The permit comes first: at the limit, the kernel's backlog holds the newcomers.
        let permit =
            Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                pausing = false;
                let (master, outstanding) = (master.clone(), Rc::clone(&outstanding));
                spawn_local(async move {
                    conversation::hold(stream, master, &outstanding).await;
                    drop(permit);
                });
            }
            Err(error) => {
                if !mem::replace(&mut pausing, true) {
                    tracing::error!(%error, "cannot accept control connections; trying on");
                }
                sleep(PAUSE).await;
            }
        }
    }
}
