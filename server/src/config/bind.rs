//! Where to listen: Puma's bind URIs.

mod query;
mod uri;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use uri::{decode, parse, unix_url};

/// `listen(2)` backlog when the URI does not say, Puma's.
pub(crate) const BACKLOG_DEFAULT: u32 = 1024;

/// One listener to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bind {
    /// `tcp://HOST:PORT?backlog=N`. `localhost` binds every loopback address.
    Tcp {
        /// Host name or address; IPv6 without brackets.
        host: String,
        /// Port; 0 lets the kernel choose.
        port: u16,
        /// `listen(2)` backlog.
        backlog: u32,
    },
    /// `unix://PATH?umask=&mode=&backlog=`.
    Unix {
        /// The socket file, absolute.
        path: PathBuf,
        /// Permissions and backlog.
        options: UnixOptions,
    },
    /// `unix://@NAME`: Linux's abstract namespace.
    Abstract {
        /// Without the `@`.
        name: String,
        /// `listen(2)` backlog.
        backlog: u32,
    },
}

/// Options of a Unix socket file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixOptions {
    /// `umask=` (octal): taken from the mode while the file is made.
    pub umask: Option<u32>,
    /// `mode=` (octal): set on the file after.
    pub mode: Option<u32>,
    /// `listen(2)` backlog.
    pub backlog: u32,
}

/// The URI that means this listener, options that are not the default included.
impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Vec::new();
        let backlog = match self {
            Self::Tcp { host, port, backlog } => {
                if host.contains(':') {
                    write!(f, "tcp://[{host}]:{port}")?;
                } else {
                    write!(f, "tcp://{host}:{port}")?;
                }
                backlog
            }
            Self::Unix { path, options: UnixOptions { umask, mode, backlog } } => {
                write!(f, "unix://{}", uri::encode(&path.to_string_lossy()))?;
                query.extend(umask.map(|bits| format!("umask={bits:04o}")));
                query.extend(mode.map(|bits| format!("mode={bits:04o}")));
                backlog
            }
            Self::Abstract { name, backlog } => {
                write!(f, "unix://@{}", uri::encode(name))?;
                backlog
            }
        };
        query.extend((*backlog != BACKLOG_DEFAULT).then(|| format!("backlog={backlog}")));
        if query.is_empty() { Ok(()) } else { write!(f, "?{}", query.join("&")) }
    }
}
