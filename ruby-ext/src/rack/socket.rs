//! The client's socket as a Ruby `IO`, for hijacking and for connections that were upgraded.

use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use magnus::{Error, RClass, Ruby, Value, prelude::*};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};

use super::raw;
use crate::exchange::HandedSocket;

/// Makes a `UNIXSocket` or `TCPSocket` that owns the descriptor. Bytes that were read already come
/// first when it is read.
///
/// # Errors
///
/// Exceptions of the `socket` library.
pub(super) fn io(ruby: &Ruby, socket: HandedSocket) -> Result<Value, Error> {
    let HandedSocket { fd, leftover } = socket;
    let class: RClass = ruby.class_object().const_get(class_name(fd.as_raw_fd()))?;
    let io: Value = class.funcall("for_fd", (fd.as_raw_fd(),))?;
    // Ruby owns the descriptor from here on.
    let _ = fd.into_raw_fd();
    let _: Value = io.funcall("sync=", (true,))?;
    if !leftover.is_empty() {
        let leftover = raw::binary(ruby, &leftover)?;
        let _: Value = io.funcall("ungetbyte", (leftover,))?;
    }
    Ok(io)
}

/// Loads Ruby's `socket` library. Done once at boot: its classes must be there when a request needs
/// them, and loading in a request could fail or be slow.
pub(super) fn define(ruby: &Ruby) -> Result<(), Error> {
    ruby.require("socket").map(drop)
}

fn class_name(fd: RawFd) -> &'static str {
    let family = getsockname::<SockaddrStorage>(fd).ok().and_then(|name| name.family());
    match family {
        Some(AddressFamily::Unix) => "UNIXSocket",
        Some(AddressFamily::Inet | AddressFamily::Inet6) => "TCPSocket",
        Some(_) | None => "BasicSocket",
    }
}
