//! Channels within one process and across a fork and an exec.

use std::{
    fs::File,
    io::{Read, Write, pipe},
    os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        resource::{Resource, setrlimit},
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
        wait::WaitStatus,
    },
};

use super::{
    Channel, DESCRIPTORS_MAX, InheritError, MESSAGE_BYTES_MAX, ReceiveError, Received, SendError,
    inherited,
};
use crate::{
    fork::fork_child,
    forked::{in_child, wait},
};

/// The next message, which must be one.
fn message(channel: &Channel, buffer: &mut [u8]) -> (Vec<u8>, Vec<OwnedFd>) {
    match channel.receive(buffer).unwrap() {
        Received::Message { bytes, descriptors } => (buffer[..bytes].to_vec(), descriptors),
        other @ (Received::Closed | Received::NotYet | Received::Interrupted) => {
            panic!("no message but {other:?}")
        }
    }
}

fn is_cloexec(descriptor: impl AsFd) -> bool {
    let flags = fcntl(descriptor, FcntlArg::F_GETFD).unwrap();
    FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC)
}

#[test]
fn messages_keep_their_borders_and_order() {
    let (one, other) = Channel::pair().unwrap();
    let long = vec![7; MESSAGE_BYTES_MAX];
    one.send(b"a", &[]).unwrap();
    one.send(b"bc", &[]).unwrap();
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    assert_eq!(message(&other, &mut buffer).0, b"a");
    assert_eq!(message(&other, &mut buffer).0, b"bc");
    one.send(&long, &[]).unwrap();
    assert_eq!(message(&other, &mut buffer).0, long);
    assert!(is_cloexec(&one) && is_cloexec(&other));
}

#[test]
fn descriptors_arrive_in_order_and_cloexec() {
    let (one, other) = Channel::pair().unwrap();
    let pipes: Vec<_> = (0..DESCRIPTORS_MAX).map(|_| pipe().unwrap()).collect();
    let writers: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
    one.send(b"take", &writers).unwrap();
    let (_, taken) = message(&other, &mut [0; 16]);
    assert_eq!(taken.len(), DESCRIPTORS_MAX);
    for (index, (descriptor, (mut reader, writer))) in taken.into_iter().zip(pipes).enumerate() {
        assert!(is_cloexec(&descriptor));
        drop(writer);
        let byte = u8::try_from(index).unwrap();
        File::from(descriptor).write_all(&[byte]).unwrap();
        let mut read = [0];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, [byte]);
    }
}

#[test]
fn limits_are_kept_by_the_sender() {
    let (one, _other) = Channel::pair().unwrap();
    assert!(matches!(one.send(b"", &[]), Err(SendError::Empty)));
    let long = one.send(&vec![0; MESSAGE_BYTES_MAX + 1], &[]).unwrap_err();
    assert_eq!(long.to_string(), "cannot send a message of 131073 bytes; the limit is 131072");
    assert_eq!(long.exit_code(), 70);
    let many = vec![one.as_fd(); DESCRIPTORS_MAX + 1];
    assert!(matches!(one.send(b"x", &many), Err(SendError::TooManyDescriptors { count: 65 })));
}

#[test]
fn a_message_that_does_not_fit_is_an_error_and_the_next_one_is_whole() {
    let (one, other) = Channel::pair().unwrap();
    one.send(b"too long", &[]).unwrap();
    one.send(b"fits", &[]).unwrap();
    let mut buffer = [0; 4];
    let error = other.receive(&mut buffer).unwrap_err();
    assert!(matches!(error, ReceiveError::Truncated { buffer_bytes: 4 }));
    assert_eq!(message(&other, &mut buffer).0, b"fits");
}

#[test]
fn lost_descriptors_are_an_error_and_nothing_leaks() {
    in_child(|_| {
        let (one, other) = Channel::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        one.send(b"x", &[null.as_fd(); 8]).unwrap();
        // Room for three more and no fourth: these take the lowest free numbers.
        let room: Vec<_> = (0..3).map(|_| null.try_clone().unwrap()).collect();
        let highest = room.iter().map(AsRawFd::as_raw_fd).max().unwrap();
        let limit = u64::try_from(highest).unwrap() + 1;
        setrlimit(Resource::RLIMIT_NOFILE, limit, limit).unwrap();
        drop(room);
        let error = other.receive(&mut [0; 4]).unwrap_err();
        assert!(matches!(error, ReceiveError::DescriptorsLost));
        // The ones that fitted are closed again: three more can be opened.
        let again: Vec<_> = (0..3).map(|_| null.try_clone().unwrap()).collect();
        assert_eq!(again.len(), 3);
    });
}

#[test]
fn the_end_is_seen_on_both_ways() {
    in_child(|_| {
        let (one, other) = Channel::pair().unwrap();
        one.send(b"last words", &[]).unwrap();
        drop(one);
        assert_eq!(message(&other, &mut [0; 16]).0, b"last words");
        assert!(matches!(other.receive(&mut [0; 16]).unwrap(), Received::Closed));
        assert!(matches!(other.send(b"x", &[]), Err(SendError::Closed)));
    });
}

#[test]
fn a_nonblocking_channel_never_waits() {
    let (one, other) = Channel::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    assert!(matches!(other.receive(&mut [0; 4]).unwrap(), Received::NotYet));
    let chunk = vec![0; MESSAGE_BYTES_MAX];
    let full = std::iter::repeat_with(|| one.send(&chunk, &[])).find_map(Result::err).unwrap();
    assert!(matches!(full, SendError::Full));
}

extern "C" fn do_nothing(_signal: i32) {}

#[test]
fn a_signal_interrupts_a_wait() {
    in_child(|proof| {
        let (_one, other) = Channel::pair().unwrap();
        let action =
            SigAction::new(SigHandler::Handler(do_nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing at all.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
        let waiting = nix::unistd::getpid();
        // Signals until the parent ends the loop: one may come before the parent waits.
        let child = fork_child(proof, || {
            while nix::unistd::getppid() == waiting {
                if nix::sys::signal::kill(waiting, Signal::SIGUSR1).is_err() {
                    break;
                }
                nix::poll::poll(&mut [], 10_u16).unwrap();
            }
            0
        });
        let outcome = other.receive(&mut [0; 4]);
        nix::sys::signal::kill(child.unwrap(), Signal::SIGKILL).unwrap();
        assert!(matches!(outcome.unwrap(), Received::Interrupted));
    });
}

#[test]
fn it_speaks_between_processes() {
    in_child(|proof| {
        let (parent, child_end) = Channel::pair().unwrap();
        let child = fork_child(proof, || {
            let (bytes, _) = message(&child_end, &mut [0; 16]);
            u8::from(child_end.send(&bytes, &[]).is_err())
        });
        parent.send(b"echo", &[]).unwrap();
        assert_eq!(message(&parent, &mut [0; 16]).0, b"echo");
        let child = child.unwrap();
        assert_eq!(wait(child), WaitStatus::Exited(child, 0));
    });
}

#[test]
fn only_an_inherited_channel_is_taken_over_and_only_once() {
    in_child(|_| {
        let (one, other) = Channel::pair().unwrap();
        let number = one.as_fd().as_raw_fd();
        assert!(matches!(inherited(number), Err(InheritError::Descriptor(_))));
        fcntl(&one, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert_eq!(one.into_fd().into_raw_fd(), number);
        let taken = Channel::from_fd(inherited(number).unwrap());
        assert!(is_cloexec(&taken));
        assert!(matches!(inherited(number), Err(InheritError::Descriptor(_))));
        other.send(b"hello", &[]).unwrap();
        assert_eq!(message(&taken, &mut [0; 16]).0, b"hello");

        let file = tempfile::tempfile().unwrap();
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let error = inherited(file.as_raw_fd()).unwrap_err();
        assert!(matches!(error, InheritError::NotAChannel { .. }));
        assert!(!is_cloexec(&file), "what is refused is left alone");
        let missing = inherited(9999).unwrap_err();
        assert_eq!(missing.to_string(), "cannot take over descriptor 9999: it is not open");
        assert_eq!(missing.exit_code(), 70);
    });
}
