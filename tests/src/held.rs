//! Which sockets of a server a process holds.

use procfs::process::{FDTarget, Process};

use crate::Server;

/// `SOCK_SEQPACKET`, as the channels between master, mold and workers are.
const SEQPACKET: u16 = 5;

/// The sockets of `server` that a process has open: listening ones, its clients', and channels.
/// In words, for a failed test.
#[must_use]
pub fn held_by(server: &Server, pid: i32) -> Vec<String> {
    let held = sockets_of(pid);
    let path = server.socket();
    let unix = procfs::net::unix().expect("/proc can be read").into_iter();
    let unix =
        unix.filter(|entry| entry.socket_type == SEQPACKET || entry.path.as_deref() == Some(path));
    let unix = unix.map(|entry| (entry.inode, format!("{:?} {:?}", entry.path, entry.state)));
    let tcp = procfs::net::tcp().expect("/proc can be read").into_iter();
    let tcp = tcp.filter(|entry| server.listens_at(entry.local_address));
    let tcp =
        tcp.map(|entry| (entry.inode, format!("{:?} {:?}", entry.local_address, entry.state)));
    unix.chain(tcp).filter(|(inode, _)| held.contains(inode)).map(|(_, words)| words).collect()
}

/// The inodes of all sockets that a process has open; none when it is gone.
fn sockets_of(pid: i32) -> Vec<u64> {
    let Ok(descriptors) = Process::new(pid).and_then(|process| process.fd()) else {
        return Vec::new();
    };
    let inode = |target| if let FDTarget::Socket(inode) = target { Some(inode) } else { None };
    descriptors.filter_map(|descriptor| inode(descriptor.ok()?.target)).collect()
}
