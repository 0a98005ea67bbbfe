//! Two mappings, two processes, and descriptors that are something else.

use std::{
    fs::File,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering::{Acquire, Relaxed, Release},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use super::{SharedError, SharedWords, WORDS_MAX};
use crate::{
    fork::fork_child,
    forked::{in_child, wait},
    process::resident_bytes,
};

fn copy(words: &SharedWords) -> OwnedFd {
    words.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn mappings_of_one_descriptor_see_each_other() {
    let ours = SharedWords::create(c"test", 1000).unwrap();
    let theirs = SharedWords::from_fd(copy(&ours)).unwrap();
    assert_eq!((ours.words().len(), theirs.words().len()), (1000, 1000));
    assert!(theirs.words().iter().all(|word| word.load(Relaxed) == 0));
    ours.words()[999].store(7, Relaxed);
    theirs.words()[999].fetch_add(1, Relaxed);
    assert_eq!(ours.words()[999].load(Relaxed), 8);
    drop(ours);
    assert_eq!(theirs.words()[999].load(Relaxed), 8);
    assert_eq!(fcntl(&theirs, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
}

#[test]
fn a_forked_childs_store_is_seen() {
    in_child(|proof| {
        let words = SharedWords::create(c"test", 2).unwrap();
        let child = fork_child(proof, || {
            words.words()[0].store(42, Relaxed);
            words.words()[1].store(1, Release);
            0
        });
        let child = child.unwrap();
        assert_eq!(wait(child), WaitStatus::Exited(child, 0));
        assert_eq!(words.words()[1].load(Acquire), 1);
        assert_eq!(words.words()[0].load(Acquire), 42);
    });
}

#[test]
fn threads_may_share_it() {
    let words = SharedWords::create(c"test", 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    words.words()[0].fetch_add(1, Relaxed);
                }
            });
        }
    });
    assert_eq!(words.words()[0].load(Relaxed), 4000);
}

#[test]
fn what_is_not_touched_costs_nothing() {
    in_child(|_| {
        let before = resident_bytes(Pid::this()).unwrap();
        let words = SharedWords::create(c"test", WORDS_MAX).unwrap();
        words.words()[0].store(1, Relaxed);
        words.words()[WORDS_MAX - 1].store(1, Relaxed);
        let grown = resident_bytes(Pid::this()).unwrap().saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes for two words");
    });
}

#[test]
fn its_size_is_fixed() {
    let words = SharedWords::create(c"test", 8).unwrap();
    let file = File::from(copy(&words));
    for bytes in [0, 32, 128] {
        let error = file.set_len(bytes).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    }
    let seals = fcntl(&words, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE));
    assert_eq!(seals, Err(nix::errno::Errno::EPERM));
}

#[test]
fn sizes_have_a_limit() {
    for words in [0, WORDS_MAX + 1, usize::MAX] {
        let error = SharedWords::create(c"test", words).unwrap_err();
        assert!(matches!(error, SharedError::Size { .. }), "{error:?}");
        assert_eq!(error.exit_code(), 70);
    }
}

/// A file that is sealed against shrinking, of any size.
fn sealed(bytes: u64) -> OwnedFd {
    let file = File::from(memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.set_len(bytes).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
    file.into()
}

#[test]
fn what_could_shrink_or_is_no_memory_is_refused() {
    let refused = |descriptor: OwnedFd| {
        let error = SharedWords::from_fd(descriptor).unwrap_err();
        assert!(matches!(error, SharedError::NotShared { .. }), "{error:?}");
        assert_eq!(error.exit_code(), 70);
        error.to_string().split_once("it is ").unwrap().1.to_owned()
    };
    let open = memfd_create(c"test", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    File::from(open.try_clone().unwrap()).set_len(64).unwrap();
    assert_eq!(refused(open), "not sealed and could shrink");
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; 64]).unwrap();
    assert_eq!(refused(file.into()), "not sealed and could shrink");
    let device = File::open("/dev/null").unwrap();
    assert_eq!(refused(device.into()), "not sealed and could shrink");
    assert_eq!(refused(sealed(12)), "not made of whole words");
    assert!(matches!(SharedWords::from_fd(sealed(0)), Err(SharedError::Size { words: 0 })));
    assert_eq!(SharedWords::from_fd(sealed(16)).unwrap().words().len(), 2);
}
