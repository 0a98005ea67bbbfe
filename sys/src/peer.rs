//! Who is at the other end of a Unix socket.

use std::os::fd::BorrowedFd;

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
    unistd::Pid,
};

/// The process at the other end, as the kernel noted it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id, for messages: by now it may be another's. 0 stands for a process that our
    /// pid namespace does not show.
    pub pid: Pid,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// `SO_PEERCRED` of unix(7): who called `connect(2)`, for the side that accepted; who called
/// `listen(2)`, for the side that connected; who made the pair, for a socket pair. The other side
/// cannot forge it.
///
/// # Errors
///
/// `ENOPROTOOPT` or `EOPNOTSUPP` for a socket of another family, `ENOTSOCK` for what is none.
pub fn credentials(socket: BorrowedFd<'_>) -> Result<Peer, Errno> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Peer {
        pid: Pid::from_raw(credentials.pid()),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::{
            fd::AsFd,
            unix::{
                fs::PermissionsExt,
                net::{UnixListener, UnixStream},
            },
        },
    };

    use nix::{
        errno::Errno,
        sys::wait::WaitStatus,
        unistd::{Gid, Uid, getegid, getpid, setgid, setuid},
    };

    use super::{Peer, credentials};
    use crate::{
        fork::fork_child,
        forked::{in_child, wait},
    };

    #[test]
    fn both_sides_know_each_other() {
        in_child(|proof| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            let listener = UnixListener::bind(&path).unwrap();
            let is_root = Uid::effective().is_root();
            if is_root {
                for path in [folder.path(), &path] {
                    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
                }
            }
            let server =
                Peer { pid: getpid(), uid: Uid::effective().as_raw(), gid: getegid().as_raw() };
            let child = fork_child(proof, || {
                if is_root {
                    setgid(Gid::from_raw(65533)).unwrap();
                    setuid(Uid::from_raw(65534)).unwrap();
                }
                let stream = UnixStream::connect(&path).unwrap();
                u8::from(credentials(stream.as_fd()) != Ok(server))
            });
            let child = child.unwrap();
            let (stream, _) = listener.accept().unwrap();
            let (uid, gid) = if is_root { (65534, 65533) } else { (server.uid, server.gid) };
            assert_eq!(credentials(stream.as_fd()), Ok(Peer { pid: child, uid, gid }));
            assert_eq!(wait(child), WaitStatus::Exited(child, 0));
        });
    }

    #[test]
    fn what_is_no_unix_socket_has_no_peer() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(credentials(file.as_fd()), Err(Errno::ENOTSOCK));
    }
}
