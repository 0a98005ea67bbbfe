//! A start right after another master was killed: its workers have the sockets for a moment longer.
//!
//! They close them as soon as they see its end, and go on with what they have in hand. A start
//! that comes first waits for that, as it would for nobody who lives.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::Pid,
};
use rackrs_sys::{
    listen::{Address, BindError},
    pid_file::Claim,
    process::PidFd,
};

use super::listeners::{ListenError, Listeners};
use crate::{config::Config, telemetry::events::Events};

/// For the workers to close their sockets; it takes them milliseconds, more on a busy machine.
const LEAVING_MAX: Duration = Duration::from_secs(2);

/// Milliseconds between two tries.
const STEP_MS: u16 = 5;

/// Opens what the configuration names, as [`Listeners::ensure`], with that patience.
pub(super) fn open_after(
    claim: &Claim,
    listeners: &mut Listeners,
    config: &Config,
    events: &Events,
) -> Result<(), ListenError> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let Err(error) = listeners.ensure(config) else { return Ok(()) };
        let Some(address) = left_behind(&error, claim.replaces()) else { return Err(error) };
        if LEAVING_MAX < began.elapsed() {
            return Err(error);
        }
        if !std::mem::replace(&mut told, true) {
            events.left_behind(address);
        }
        // Nothing tells of the closing; and nothing else is to be done meanwhile.
        let _ = poll(&mut [], PollTimeout::from(STEP_MS));
    }
}

/// The address, if whoever opened it is dead. Where the system does not tell who that was, a pid
/// file without a live master must do.
fn left_behind(error: &ListenError, has_stale_pid_file: bool) -> Option<&Address> {
    let ListenError::Bind(BindError::InUse { address, owner }) = error else { return None };
    owner.map_or(has_stale_pid_file, has_ended).then_some(address)
}

/// Whether the process is gone, or a zombie.
fn has_ended(pid: Pid) -> bool {
    let process = match PidFd::open(pid) {
        Ok(process) => process,
        Err(errno) => return errno == Errno::ESRCH,
    };
    let mut readable = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut readable, PollTimeout::ZERO), Ok(count) if count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use(owner: Option<Pid>) -> ListenError {
        ListenError::Bind(BindError::InUse { address: Address::Abstract("name".into()), owner })
    }

    #[test]
    fn nobody_who_lives_is_waited_for() {
        assert!(left_behind(&in_use(Some(Pid::this())), true).is_none());
        assert!(left_behind(&in_use(None), false).is_none());
        assert!(left_behind(&in_use(None), true).is_some());
        // No process has this pid: it is beyond the kernel's limit.
        assert!(left_behind(&in_use(Some(Pid::from_raw(i32::MAX))), false).is_some());
    }
}
