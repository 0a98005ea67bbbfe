//! What systemd, or another service manager with its protocol, is told: `sd_notify(3)`.

use std::{env, time::Duration};

use rackrs_sys::{monotonic, notify::Notifier};

use super::moment::Moment;
use crate::telemetry::{chain, events};

/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often it wants to hear from us, in microseconds, and from which process.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// The manager, where there is one; without, everything here does nothing.
#[derive(Debug)]
pub(super) struct ServiceManager {
    notifier: Option<Notifier>,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    /// Half of what the manager allows, as `sd_watchdog_enabled(3)` advises.
    every: Duration,
    next: Moment,
}

impl ServiceManager {
    /// As the environment names it.
    pub(super) fn of_environment() -> Self {
        let notifier = env::var_os(SOCKET).and_then(|address| {
            Notifier::new(&address).inspect_err(|error| events::complain(&chain(error))).ok()
        });
        let is_for_us =
            env::var(WATCHDOG_PID).map_or(true, |pid| pid.parse() == Ok(std::process::id()));
        let limit_us = env::var(WATCHDOG).ok().and_then(|text| text.parse().ok());
        let watchdog = limit_us
            .filter(|limit| is_for_us && notifier.is_some() && *limit > 0)
            .map(|limit| Watchdog { every: Duration::from_micros(limit) / 2, next: Moment::now() });
        Self { notifier, watchdog }
    }

    /// All workers serve. Also the end of a restart, good or bad.
    pub(super) fn ready(&self, workers: u16) {
        let pid = std::process::id();
        self.tell(&format!("READY=1\nMAINPID={pid}\nSTATUS=serving with {workers} workers\n"));
    }

    /// A restart begins.
    pub(super) fn reloading(&self) {
        let now_us = monotonic::now_ms().saturating_mul(1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=restarting\n"));
    }

    /// The server finishes what it holds, then ends.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing requests\n");
    }

    /// When [`ServiceManager::feed_watchdog`] is next due.
    pub(super) fn watchdog_at(&self) -> Option<Moment> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// The master's loop runs: says so when it is due.
    pub(super) fn feed_watchdog(&mut self, now: Moment) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) else {
            return;
        };
        watchdog.next = now + watchdog.every;
        self.tell("WATCHDOG=1\n");
    }

    fn tell(&self, state: &str) {
        if let Some(notifier) = &self.notifier
            && let Err(error) = notifier.send(state)
        {
            events::complain(&chain(&error));
        }
    }
}
