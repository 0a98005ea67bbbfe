//! `recvmsg(2)` with descriptors. Written out because a wrapper that refuses to look at a cut list
//! (`MSG_CTRUNC`) leaks the descriptors that the kernel has already installed.

use std::{
    mem::{self, MaybeUninit},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use nix::{errno::Errno, libc, sys::socket::MsgFlags};

/// The kernel puts at most this many descriptors into one message, unix(7).
const SCM_MAX_FD: usize = 253;

/// Room for the header (16 bytes on 64-bit Linux) and `SCM_MAX_FD` numbers, in aligned words: the
/// list can be cut only because the process may not open more.
const CONTROL_WORDS: usize = 2 + SCM_MAX_FD.div_ceil(2);

/// One number in the list.
const NUMBER_BYTES: usize = mem::size_of::<RawFd>();

/// What one call received.
pub(super) struct Datagram {
    pub(super) bytes: usize,
    pub(super) flags: MsgFlags,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Receives one datagram; every descriptor that came with it is owned by the result.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Datagram, Errno> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: every field of `msghdr` is an integer or a pointer, for which zero is a value; some
    // C libraries have padding fields, so it cannot be written as a literal.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control);
    // SAFETY: `header` points to `part` and `control`, and `part` to `buffer`; all are writable,
    // have the lengths given and outlive the call.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let bytes = usize::try_from(Errno::result(received)?).map_err(|_| Errno::EIO)?;
    Ok(Datagram {
        bytes,
        flags: MsgFlags::from_bits_retain(header.msg_flags),
        descriptors: descriptors(&header),
    })
}

/// Takes the descriptors out of a header that `recvmsg` has just filled.
fn descriptors(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    // SAFETY: `header` describes the control buffer, which its caller keeps alive, with the
    // length that the kernel filled; the macro looks only at those fields.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the macros return only headers that lie wholly inside the filled control
        // buffer, and its words are aligned for them.
        let entry = unsafe { ptr::read(next) };
        if entry.cmsg_level == libc::SOL_SOCKET && entry.cmsg_type == libc::SCM_RIGHTS {
            take(next, entry.cmsg_len, &mut descriptors);
        }
        // SAFETY: `next` came from these macros and `header` has not changed since.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    descriptors
}

/// Takes the numbers of one `SCM_RIGHTS` entry of `length` bytes, its header counted.
fn take(entry: *const libc::cmsghdr, length: usize, descriptors: &mut Vec<OwnedFd>) {
    // SAFETY: the macro only computes the length of a header with no data.
    let head = unsafe { libc::CMSG_LEN(0) } as usize;
    let count = length.saturating_sub(head) / NUMBER_BYTES;
    // SAFETY: `entry` is a header inside the control buffer; the macro computes the address
    // behind it.
    let data = unsafe { libc::CMSG_DATA(entry) }.cast_const();
    for index in 0..count {
        // SAFETY: the kernel wrote `count` numbers behind this header, inside the buffer.
        let place = unsafe { data.add(index * NUMBER_BYTES) };
        // SAFETY: `place` is where one of them starts; bytes need no alignment.
        let number = RawFd::from_ne_bytes(unsafe { ptr::read(place.cast()) });
        // SAFETY: the kernel has just installed this descriptor for this message, which is
        // read once, so nobody else owns it.
        descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
    }
}
