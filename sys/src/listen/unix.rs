//! Unix socket listeners: files, and names in Linux's abstract namespace.

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    sys::stat::{self, Mode},
    unistd::{Pid, geteuid},
};
use socket2::{Domain, SockAddr, Socket};

use super::{Address, BindError, Listener};
use crate::{
    directory_lock::DirectoryLock,
    file_id::{FileId, FileKind},
    peer,
};

/// Longest path or abstract name, in bytes: `sun_path` of unix(7) less its NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// How often a path is cleared before the one who keeps filling it wins.
const ATTEMPTS_MAX: u32 = 3;

/// Listens on a socket file, which is made now.
///
/// # What stands at the path
///
/// A socket on which somebody listens is left alone, and an error. A dead one is replaced, if it
/// is ours or we are root. Anything else is an error: nothing is followed, emptied or removed.
///
/// # Permissions
///
/// The file has mode 0777 less `umask`, and Puma's default for that is 0; so without `umask` and
/// `mode` everybody may connect. `mode` is set after. There is no moment at which more is allowed
/// than in the end, as the umask of the process is changed while the file is made: no other
/// thread of this process should make files meanwhile.
///
/// # Errors
///
/// When somebody listens there, something else stands there, the path is too long, or the
/// directory does not allow it. No file is left behind then.
pub fn bind_unix(
    path: &Path,
    umask: Option<u32>,
    mode: Option<u32>,
    backlog: u32,
) -> Result<Listener, BindError> {
    let address = Address::Unix(path.to_owned());
    check_name(&address, path.as_os_str().as_bytes())?;
    // Between bind and listen our new socket looks dead to another server that starts now.
    let _lock = DirectoryLock::acquire(parent(path));
    let system = |source| BindError::from_system(address.clone(), source);
    let mask = Umask::set(umask.unwrap_or(0) | mode.map_or(0, |mode| !mode & 0o777));
    let bound = make_file(path);
    drop(mask);
    let socket = bound?;
    let file = FileId::of_name(path).map_err(|errno| system(errno.into()))?;
    let finished = finish(&socket, path, file, mode, backlog);
    if finished.is_err() && FileId::of_name(path) == Ok(file) {
        // The first error is the one to tell.
        let _ = unlink(path);
    }
    finished.map(|()| Listener { fd: socket.into(), address, file: Some(file) })
}

/// Listens on a name of the abstract namespace, given without its `@`. There is no file, there
/// are no permissions, and the name is free again when the last descriptor closes.
///
/// # Errors
///
/// When somebody listens there, or the name is empty or too long.
pub fn bind_abstract(name: &str, backlog: u32) -> Result<Listener, BindError> {
    let address = Address::Abstract(name.to_owned());
    check_name(&address, name.as_bytes())?;
    let bound = SockAddr::unix(format!("\0{name}")).and_then(|name| {
        let socket = super::stream_socket(Domain::UNIX, None)?;
        socket.bind(&name)?;
        super::listen(&socket, backlog)?;
        Ok(socket)
    });
    match bound {
        Ok(socket) => Ok(Listener { fd: socket.into(), address, file: None }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let owner = SockAddr::unix(format!("\0{name}")).ok().and_then(|name| owner_of(&name));
            Err(BindError::InUse { address, owner })
        }
        Err(error) => Err(BindError::from_system(address, error)),
    }
}

/// Unlinks the listener's socket file, if its path still names the file that was made. Does
/// nothing for the listeners that have no file. Connections that wait are not lost by it.
///
/// # Errors
///
/// When our own file cannot be unlinked.
pub fn unlink_unix(listener: &Listener) -> Result<(), BindError> {
    let (Address::Unix(path), Some(ours)) = (&listener.address, listener.file) else {
        return Ok(());
    };
    let _lock = DirectoryLock::acquire(parent(path));
    if FileId::of_name(path) != Ok(ours) {
        return Ok(());
    }
    unlink(path)
}

/// Clears the path and binds to it. Somebody may put a file there between the two.
fn make_file(path: &Path) -> Result<Socket, BindError> {
    let system = |source| BindError::from_system(Address::Unix(path.to_owned()), source);
    let name = SockAddr::unix(path).map_err(system)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        clear(path)?;
        let socket = super::stream_socket(Domain::UNIX, None).map_err(system)?;
        match socket.bind(&name) {
            Ok(()) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < ATTEMPTS_MAX => {}
            Err(error) => return Err(system(error)),
        }
    }
}

/// What comes after bind: permissions, then connections.
fn finish(
    socket: &Socket,
    path: &Path,
    file: FileId,
    mode: Option<u32>,
    backlog: u32,
) -> Result<(), BindError> {
    if let Some(mode) = mode {
        set_mode(path, file, mode)
            .map_err(|source| BindError::Mode { path: path.to_owned(), source })?;
    }
    super::listen(socket, backlog)
        .map_err(|source| BindError::from_system(Address::Unix(path.to_owned()), source))
}

/// `chmod` of the very file that was made. A socket file cannot be opened, and `fchmod` on the
/// socket changes something else; so it is taken hold of with `O_PATH`, looked at, and changed
/// through `/proc/self/fd`, which leads to it whatever has its name by now.
fn set_mode(path: &Path, ours: FileId, mode: u32) -> io::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let handle: OwnedFd = nix::fcntl::open(path, flags, Mode::empty())?;
    if FileId::of_descriptor(&handle)? != ours {
        return Err(Errno::ESTALE.into());
    }
    let same = format!("/proc/self/fd/{}", handle.as_raw_fd());
    fs::set_permissions(same, fs::Permissions::from_mode(mode & 0o7777))
}

/// Makes sure that nothing stands at `path`, or says what does.
fn clear(path: &Path) -> Result<(), BindError> {
    let probe = |source| BindError::Probe { path: path.to_owned(), source };
    let status = match stat::lstat(path) {
        Ok(status) => status,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => {
            return Err(BindError::from_system(Address::Unix(path.to_owned()), errno.into()));
        }
    };
    let kind = FileKind::of(&status);
    if kind != FileKind::Socket {
        return Err(BindError::NotASocket { path: path.to_owned(), kind: kind.words() });
    }
    let socket = super::stream_socket(Domain::UNIX, None).map_err(probe)?;
    let name = SockAddr::unix(path).map_err(probe)?;
    let in_use = |owner| BindError::InUse { address: Address::Unix(path.to_owned()), owner };
    match socket.connect(&name).map_err(|error| error.raw_os_error()) {
        Ok(()) => Err(in_use(peer(&socket))),
        // EAGAIN: its queue is full. EPROTOTYPE: it is there, and of another type.
        Err(Some(libc::EAGAIN | libc::EINPROGRESS | libc::EPROTOTYPE)) => Err(in_use(None)),
        Err(Some(libc::ENOENT)) => Ok(()),
        Err(Some(libc::ECONNREFUSED)) => replace(path, FileId::of(&status), status.st_uid),
        Err(number) => Err(probe(
            number.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error),
        )),
    }
}

/// Unlinks a dead socket that may be unlinked.
fn replace(path: &Path, dead: FileId, owner: u32) -> Result<(), BindError> {
    let user = geteuid();
    if !user.is_root() && owner != user.as_raw() {
        return Err(BindError::OtherOwner { path: path.to_owned(), owner });
    }
    if FileId::of_name(path) == Ok(dead) { unlink(path) } else { Ok(()) }
}

fn unlink(path: &Path) -> Result<(), BindError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BindError::Unlink { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn owner_of(name: &SockAddr) -> Option<Pid> {
    let socket = super::stream_socket(Domain::UNIX, None).ok()?;
    socket.connect(name).ok()?;
    peer(&socket)
}

/// Who called `listen(2)` for the other end; `None` if our pid namespace does not show it.
fn peer(socket: &impl AsFd) -> Option<Pid> {
    let peer = peer::credentials(socket.as_fd()).ok()?;
    (peer.pid.as_raw() > 0).then_some(peer.pid)
}

fn check_name(address: &Address, name: &[u8]) -> Result<(), BindError> {
    let address = address.clone();
    if name.is_empty() || name.contains(&0) {
        Err(BindError::BadName { address })
    } else if name.len() > UNIX_PATH_BYTES_MAX {
        Err(BindError::NameTooLong { address, bytes: name.len() })
    } else {
        Ok(())
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The umask of the process; the one before comes back when this is dropped.
struct Umask {
    previous: Mode,
}

impl Umask {
    fn set(mask: u32) -> Self {
        Self { previous: stat::umask(Mode::from_bits_truncate(mask & 0o777)) }
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        stat::umask(self.previous);
    }
}
