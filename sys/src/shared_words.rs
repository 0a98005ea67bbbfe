//! Shared memory of 64-bit words, for what several processes note and read without asking.

#[cfg(test)]
mod tests;

use std::{
    ffi::CStr,
    fs::File,
    io,
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    slice,
    sync::atomic::AtomicU64,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    libc,
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, ProtFlags, mmap, munmap},
    },
};

use crate::sysexits;

/// Most words of one area: 128 MiB of addresses.
pub const WORDS_MAX: usize = 16 * 1024 * 1024;

const WORD_BYTES: usize = size_of::<AtomicU64>();

/// `MFD_NOEXEC_SEAL` of `memfd_create(2)`, Linux 6.3: the memory can never be executed. Where
/// `vm.memfd_noexec` is 2 nothing else may be made.
const NOEXEC: MFdFlags = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);

/// Words that every process with the descriptor, or forked from one with the mapping, sees.
///
/// A `memfd_create(2)` file of fixed size, mapped whole. All words are 0 at first. Each word is
/// atomic by itself; what several words mean together is the caller's to agree on, by the order
/// of its stores.
///
/// Pages that nobody ever touches take no memory, so an area may be made for the most that could
/// be needed. A page that is touched stays until the last process drops the area; if the machine
/// has no memory for it, the process that touches it is killed, as with any other memory.
#[derive(Debug)]
pub struct SharedWords {
    descriptor: OwnedFd,
    start: NonNull<AtomicU64>,
    count: NonZeroUsize,
}

// SAFETY: the mapping belongs to no thread and stays until Drop, and all access to it goes
// through atomics.
unsafe impl Send for SharedWords {}
// SAFETY: a shared reference gives out nothing but `&[AtomicU64]` and the descriptor, which any
// number of threads may use at once.
unsafe impl Sync for SharedWords {}

/// Why there is no shared memory.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// None, or more than [`WORDS_MAX`].
    #[error("cannot share {words} words of memory; the limit is 1 to {WORDS_MAX}")]
    Size {
        /// How many words.
        words: usize,
    },
    /// The memory could not be made.
    #[error("cannot make shared memory: {doing} failed")]
    Make {
        /// The step.
        doing: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The descriptor is something else than what [`SharedWords::create`] makes.
    #[error("cannot use a descriptor as shared memory: it is {what}")]
    NotShared {
        /// What it is.
        what: &'static str,
    },
    /// The descriptor could not be looked at.
    #[error("cannot look at the descriptor of shared memory")]
    Look(#[source] io::Error),
    /// The memory could not be mapped.
    #[error("cannot map shared memory")]
    Map(#[source] Errno),
}

impl SharedError {
    /// The exit status, from sysexits(3): 70 for what only a mistake of ours can cause, else 71.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Size { .. } | Self::NotShared { .. } => sysexits::SOFTWARE,
            Self::Make { .. } | Self::Look(_) | Self::Map(_) => sysexits::OSERR,
        }
    }
}

impl SharedWords {
    /// Makes `words` words, 1 to [`WORDS_MAX`]. `name` is what `/proc/PID/maps` shows.
    ///
    /// # Errors
    ///
    /// When the number is out of range, or the system has no descriptor or memory left.
    pub fn create(name: &CStr, words: usize) -> Result<Self, SharedError> {
        let count = count(words)?;
        let made = |doing| move |errno: Errno| SharedError::Make { doing, source: errno.into() };
        let descriptor = open(name).map_err(made("memfd_create"))?;
        let file = File::from(descriptor);
        let bytes = u64::try_from(count.get() * WORD_BYTES).expect("the limit is far below 2^64");
        file.set_len(bytes).map_err(|source| SharedError::Make { doing: "ftruncate", source })?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(made("sealing it"))?;
        Self::map(file.into(), count)
    }

    /// Maps the words of another process, whose descriptor has come here.
    ///
    /// # Errors
    ///
    /// When it is not such memory. A file that could shrink is refused: touching what is no
    /// longer there would be a SIGBUS.
    pub fn from_fd(descriptor: OwnedFd) -> Result<Self, SharedError> {
        // EINVAL: another kind of file, which has no seals.
        let seals = fcntl(&descriptor, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
        if !seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK)) {
            return Err(SharedError::NotShared { what: "not sealed and could shrink" });
        }
        // Asked now that it can only grow.
        let file = File::from(descriptor);
        let status = file.metadata().map_err(SharedError::Look)?;
        let bytes = usize::try_from(status.len()).unwrap_or(usize::MAX);
        if bytes % WORD_BYTES != 0 {
            return Err(SharedError::NotShared { what: "not made of whole words" });
        }
        Self::map(file.into(), count(bytes / WORD_BYTES)?)
    }

    /// All the words.
    #[must_use]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `map` got this many words from the kernel, page-aligned and filled with zeros
        // or with what other processes stored; the file cannot shrink under them; and they stay
        // mapped until `self` is dropped, which outlives the borrow.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.count.get()) }
    }

    /// The file must have at least `count` words and the seal against shrinking.
    fn map(descriptor: OwnedFd, count: NonZeroUsize) -> Result<Self, SharedError> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses a free range, so no memory that is in use is replaced.
        let start =
            unsafe { mmap(None, length(count), access, MapFlags::MAP_SHARED, &descriptor, 0) };
        Ok(Self { start: start.map_err(SharedError::Map)?.cast(), descriptor, count })
    }
}

impl AsFd for SharedWords {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: `map` made exactly this range, and whoever borrowed words from `self` is done.
        let outcome = unsafe { munmap(self.start.cast(), length(self.count).get()) };
        outcome.expect("a range that mmap gave is taken back");
    }
}

fn open(name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(name, flags | NOEXEC) {
        // A kernel before 6.3.
        Err(Errno::EINVAL) => memfd_create(name, flags),
        outcome => outcome,
    }
}

fn count(words: usize) -> Result<NonZeroUsize, SharedError> {
    let count = NonZeroUsize::new(words).filter(|count| count.get() <= WORDS_MAX);
    count.ok_or(SharedError::Size { words })
}

/// In bytes.
fn length(count: NonZeroUsize) -> NonZeroUsize {
    const BYTES: NonZeroUsize = NonZeroUsize::new(WORD_BYTES).expect("a word has bytes");
    count.checked_mul(BYTES).expect("the limit is far below the address space")
}
