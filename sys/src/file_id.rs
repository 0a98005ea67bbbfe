//! Which file a path or a descriptor names: device and inode, never the name.

use std::{os::fd::AsFd, path::Path};

use nix::{
    errno::Errno,
    sys::stat::{self, FileStat},
};

/// Two equal values name the same file as long as one of them is kept open or linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: nix::libc::dev_t,
    inode: nix::libc::ino_t,
}

impl FileId {
    /// From an answer of `stat(2)` that the caller already has.
    pub(crate) fn of(status: &FileStat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino }
    }

    /// From numbers that another program had from [`FileId::numbers`].
    pub(crate) fn of_numbers(device: u64, inode: u64) -> Self {
        Self { device, inode }
    }

    /// Device and inode.
    pub(crate) fn numbers(self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Of the name itself: a symbolic link is not followed.
    pub(crate) fn of_name(path: &Path) -> Result<Self, Errno> {
        stat::lstat(path).map(|status| Self::of(&status))
    }

    /// Of what the path leads to: symbolic links are followed.
    pub(crate) fn of_target(path: &Path) -> Result<Self, Errno> {
        stat::stat(path).map(|status| Self::of(&status))
    }

    /// Of an open file.
    pub(crate) fn of_descriptor(descriptor: impl AsFd) -> Result<Self, Errno> {
        stat::fstat(descriptor).map(|status| Self::of(&status))
    }
}

/// What kind of file stands somewhere, in an operator's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    SymbolicLink,
    Fifo,
    Socket,
    CharacterDevice,
    BlockDevice,
}

impl FileKind {
    pub(crate) fn of(status: &FileStat) -> Self {
        match status.st_mode & nix::libc::S_IFMT {
            nix::libc::S_IFDIR => Self::Directory,
            nix::libc::S_IFLNK => Self::SymbolicLink,
            nix::libc::S_IFIFO => Self::Fifo,
            nix::libc::S_IFSOCK => Self::Socket,
            nix::libc::S_IFCHR => Self::CharacterDevice,
            nix::libc::S_IFBLK => Self::BlockDevice,
            _ => Self::Regular,
        }
    }

    /// With its article, for the middle of a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Regular => "a regular file",
            Self::Directory => "a directory",
            Self::SymbolicLink => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::CharacterDevice => "a character device",
            Self::BlockDevice => "a block device",
        }
    }
}
