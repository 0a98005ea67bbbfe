//! What native threads ring to have the main Ruby thread look up.
//!
//! The main Ruby thread must wait inside Ruby, not in a call of ours without the GVL: Ruby delivers
//! signals to it only when one of its threads waits on Ruby's own descriptor for them. So the bell
//! is a descriptor, which Ruby's wait can watch beside its own.

use std::{io, os::fd::AsFd, time::Duration};

use magnus::{Error, Ruby};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::gvl;

/// Rung from any thread; heard by one. A ring before the wait is not lost.
#[derive(Debug)]
pub struct Bell {
    rings: EventFd,
}

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    ///
    /// When the limit of descriptors is reached.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self { rings: EventFd::from_value_and_flags(0, flags)? })
    }

    /// Wakes the listener. One system call; it does not block and runs no Ruby code.
    pub fn ring(&self) {
        // It fails only when 2^64 rings have not been heard, and then the bell is ringing.
        let _ = self.rings.write(1);
    }

    /// Forgets the rings so far.
    pub fn hush(&self) {
        // It fails only when there are none.
        let _ = self.rings.read();
    }

    /// Waits for a ring, at most `patience`, and forgets it. Other Ruby threads run meanwhile, and
    /// on the main thread signal traps.
    ///
    /// # Errors
    ///
    /// What Ruby delivered to this thread.
    pub fn hear(&self, ruby: &Ruby, patience: Duration) -> Result<(), Error> {
        gvl::wait_readable(ruby, self.rings.as_fd(), Some(patience))?;
        self.hush();
        Ok(())
    }
}
