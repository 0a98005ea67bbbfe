//! Listeners that are handed over, and descriptors that are no listener.

use std::{
    fs,
    io::pipe,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
    },
};

use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    unistd::getpid,
};

use super::{AdoptError, FileNumbers};
use crate::{
    forked::in_child,
    listen::{Address, Listener, bind_abstract, bind_tcp, bind_unix, unlink_unix},
};

/// As it would come through an exec: blocking and without CLOEXEC, which adopting must change.
fn handed_over(listener: &Listener) -> OwnedFd {
    let copy = listener.as_fd().try_clone_to_owned().unwrap();
    fcntl(&copy, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    fcntl(&copy, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    copy
}

fn assert_same(listener: &Listener) -> Listener {
    let adopted = Listener::adopt(handed_over(listener), listener.file_numbers()).unwrap();
    assert_eq!(adopted.address, listener.address);
    assert_eq!(adopted.file_numbers(), listener.file_numbers());
    assert_eq!(fcntl(&adopted, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    let status = OFlag::from_bits_retain(fcntl(&adopted, FcntlArg::F_GETFL).unwrap());
    assert!(status.contains(OFlag::O_NONBLOCK));
    adopted
}

#[test]
fn every_kind_is_itself_again() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web_server.sock");
        let name = format!("rackrs-adopt-{}", getpid());
        let tcp = bind_tcp("127.0.0.1:0".parse().unwrap(), 4).unwrap();
        let unix = bind_unix(&path, None, None, 4).unwrap();
        let hidden = bind_abstract(&name, 4).unwrap();
        for listener in [&tcp, &unix, &hidden] {
            assert_same(listener);
        }
        assert!(unix.file_numbers().is_some());
        assert_eq!((tcp.file_numbers(), hidden.file_numbers()), (None, None));
        assert_eq!(hidden.address.to_string(), format!("unix://@{name}"));
    });
}

#[test]
fn a_connection_that_waits_is_not_lost() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let Address::Tcp(address) = listener.address else { panic!("{}", listener.address) };
    let client = TcpStream::connect(address).unwrap();
    let adopted = assert_same(&listener);
    drop(listener);
    let (_, from) = TcpListener::from(adopted.fd).accept().unwrap();
    assert_eq!(from, client.local_addr().unwrap());
}

#[test]
fn a_file_that_is_not_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web_server.sock");
    let manager = UnixListener::bind(&path).unwrap();
    let descriptor = OwnedFd::from(manager.try_clone().unwrap());
    let passed = Listener::adopt(descriptor, None).unwrap();
    assert_eq!(passed.address, Address::Unix(path.clone()));
    unlink_unix(&passed).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_file_that_is_ours_is_unlinked_and_no_other() {
    in_child(|_| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web_server.sock");
        let listener = bind_unix(&path, None, None, 4).unwrap();
        let numbers = listener.file_numbers().unwrap();
        let stranger = FileNumbers { inode: numbers.inode + 1, ..numbers };
        let other = Listener::adopt(handed_over(&listener), Some(stranger)).unwrap();
        unlink_unix(&other).unwrap();
        assert!(path.exists());
        unlink_unix(&assert_same(&listener)).unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn numbers_mean_nothing_without_a_file() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let numbers = FileNumbers { device: 1, inode: 1 };
    let adopted = Listener::adopt(handed_over(&listener), Some(numbers)).unwrap();
    assert_eq!(adopted.file_numbers(), None);
}

#[test]
fn what_does_not_listen_is_refused_by_number() {
    let refused = |descriptor: OwnedFd| {
        let number = descriptor.as_raw_fd();
        let error = Listener::adopt(descriptor, None).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot serve descriptor {number}: ")));
        assert_eq!(error.exit_code(), 78);
        error
    };
    let (reader, _writer) = pipe().unwrap();
    let streams = [
        OwnedFd::from(reader),
        fs::File::open("/dev/null").unwrap().into(),
        UdpSocket::bind("127.0.0.1:0").unwrap().into(),
        UnixDatagram::unbound().unwrap().into(),
    ];
    for descriptor in streams {
        assert!(matches!(refused(descriptor), AdoptError::NotAStream { .. }));
    }
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(matches!(refused(one.into()), AdoptError::NotListening { .. }));
}

#[test]
fn a_name_that_is_no_text_is_refused() {
    let name = [b"rackrs\xff".as_slice(), getpid().to_string().as_bytes()].concat();
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let error = Listener::adopt(listener.into(), None).unwrap_err();
    assert!(matches!(error, AdoptError::Address { .. }));
}
