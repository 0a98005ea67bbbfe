//! Descriptors that a process forked by the application does not keep.
//!
//! An application may fork: in a hook of the mold, inside a request, by `Process.daemon`. Such a
//! process has copies of all that we have open. A listening socket would stay open in it when the
//! server has ended, and take connections that nobody accepts; a channel would hide our end from
//! the master; a client's socket would keep the client waiting. So what is [`Private`] becomes
//! `/dev/null` there: the numbers stay valid, because what owns them has been copied too.
//!
//! This is by `pthread_atfork` and not by `Process._fork`: it also holds for `Process.daemon` and
//! for forks of native code, and it is in no library's way that hooks `_fork`. Forks of our own
//! (workers) keep everything. The list is a static because descriptors are the process's and
//! because the handler of a fork is given nothing; it is only atomics, as a lock may be held by a
//! thread that the new process does not have.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use nix::{
    fcntl::{self, OFlag},
    libc,
    sys::stat::Mode,
};

/// Descriptors from this number on are not listed, and so kept by whoever is forked.
pub const DESCRIPTORS_MAX: usize = WORDS * BITS;

const WORDS: usize = 1024;
const BITS: usize = u64::BITS as usize;

/// One bit for each descriptor.
static LISTED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Whether the application has forked this process, or one before it.
static STRANGER: AtomicBool = AtomicBool::new(false);

/// Held by whoever forks, and by whoever opens a descriptor that is to be private from its first
/// moment; both for microseconds.
static FORKING: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether the next fork of this thread is one of our own.
    static OUR_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Something with a descriptor that the application's forks do not keep.
///
/// The descriptor is listed as long as this lives, and no longer: its number may be another's then.
#[derive(Debug)]
pub struct Private<T> {
    // In this order: what is closed must not be listed any more.
    listing: Listing,
    value: T,
}

#[derive(Debug)]
struct Listing(RawFd);

impl<T: AsFd> Private<T> {
    /// Lists the descriptor of `value`, which must keep it.
    pub fn new(value: T) -> Self {
        let number = value.as_fd().as_raw_fd();
        if let Some((word, bit)) = place(number) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Self { listing: Listing(number), value }
    }
}

impl<T> Private<T> {
    /// Lists it no longer.
    pub fn into_inner(self) -> T {
        let Self { listing, value } = self;
        drop(listing);
        value
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        if let Some((word, bit)) = place(self.0) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

impl<T> Deref for Private<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Private<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: AsFd> AsFd for Private<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.value.as_fd()
    }
}

impl<T: AsRawFd> AsRawFd for Private<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.value.as_raw_fd()
    }
}

/// From now on, in this process and the workers forked of it, forks of the application lose what is
/// [`Private`]. Programs that are started are no matter: every descriptor closes at their start.
pub fn watch_forks() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        // SAFETY: after a fork, `in_child` does only what is allowed in a process that may have
        // been forked while other threads held locks: atomics, a thread's own cell, and calls of
        // the system. The other two touch an atomic and a thread's own cell.
        let refused =
            unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        // It fails for want of a few bytes of memory only.
        assert_eq!(refused, 0, "no memory to be told of forks");
    });
}

/// Runs `open`, which opens a descriptor and makes it [`Private`], without a fork between the two.
/// It must not fork or wait.
pub fn between_forks<T>(open: impl FnOnce() -> T) -> T {
    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            FORKING.store(false, Ordering::Release);
        }
    }

    enter();
    let _leave = Leave;
    open()
}

/// Not a lock of the library: it is entered before a fork and left after it, in both processes.
fn enter() {
    while FORKING.swap(true, Ordering::Acquire) {
        thread::yield_now();
    }
}

/// Whether the application has forked this process: it is no mold and no worker.
#[must_use]
pub fn is_stranger() -> bool {
    STRANGER.load(Ordering::Relaxed)
}

/// Runs `fork`, which forks a process of our own on this thread, or fails.
pub(super) fn of_our_own<T>(fork: impl FnOnce() -> T) -> T {
    OUR_OWN.set(true);
    let returned = fork();
    // When it has failed, nobody has.
    OUR_OWN.set(false);
    returned
}

extern "C" fn before() {
    enter();
}

extern "C" fn in_parent() {
    FORKING.store(false, Ordering::Release);
    OUR_OWN.set(false);
}

extern "C" fn in_child() {
    FORKING.store(false, Ordering::Release);
    // The hooks of libraries run in the new process too, and what they fork is the application's.
    if !OUR_OWN.replace(false) {
        STRANGER.store(true, Ordering::Relaxed);
        let_go();
    }
}

/// Replaces everything that is listed. Allocates nothing, takes no lock.
fn let_go() {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mut null = fcntl::open(c"/dev/null", flags, Mode::empty()).ok();
    for (number, word) in LISTED.iter().enumerate() {
        let mut bits = word.swap(0, Ordering::Relaxed);
        while bits != 0 {
            let first = bits.trailing_zeros();
            bits &= bits - 1;
            let Ok(descriptor) = RawFd::try_from(number * BITS + first as usize) else { return };
            if null.is_none() {
                // Without a descriptor to spare, one of ours makes room.
                // SAFETY: the descriptor is ours and open, as it is listed; what owns it in this
                // copy of our memory belongs to threads and objects that act no more here.
                let _closed = unsafe { libc::close(descriptor) };
                null = fcntl::open(c"/dev/null", flags, Mode::empty()).ok();
            }
            if let Some(null) = &null
                && null.as_raw_fd() != descriptor
            {
                // SAFETY: as above; the number stays open, now as the null device.
                let _same = unsafe { libc::dup3(null.as_raw_fd(), descriptor, libc::O_CLOEXEC) };
            }
        }
    }
}

fn place(number: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(number).ok()?;
    Some((LISTED.get(number / BITS)?, 1 << (number % BITS)))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::OwnedFd};

    use super::*;

    fn is_listed(number: RawFd) -> bool {
        place(number).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    #[test]
    fn a_descriptor_is_listed_as_long_as_it_is_private() {
        let null = Private::new(OwnedFd::from(File::open("/dev/null").unwrap()));
        let number = null.as_raw_fd();
        assert!(is_listed(number));
        let plain = null.into_inner();
        assert!(!is_listed(number));
        let again = Private::new(plain);
        assert!(is_listed(number));
        drop(again);
        // Another test may have got the number meanwhile, but lists nothing.
        assert!(!is_listed(number));
    }

    #[test]
    fn a_number_beyond_the_list_has_no_place() {
        assert!(place(RawFd::try_from(DESCRIPTORS_MAX - 1).unwrap()).is_some());
        assert!(place(RawFd::try_from(DESCRIPTORS_MAX).unwrap()).is_none());
        assert!(place(-1).is_none());
    }
}
