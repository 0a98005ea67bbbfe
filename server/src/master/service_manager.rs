//! What systemd, or another service manager with its protocol, is told: `sd_notify(3)`.

use std::{collections::VecDeque, env, ffi::OsString, time::Duration};

use nix::unistd::Pid;
use rackrs_sys::{
    monotonic,
    notify::{Notifier, NotifyError},
};

use super::moment::Moment;
use crate::telemetry::{chain, events};

/// Where the manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often it wants to hear from us, in microseconds, and from which process.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PID: &str = "WATCHDOG_PID";
/// It hears from us no more often than this, whatever it wants.
const WATCHDOG_STEP_MIN: Duration = Duration::from_millis(10);
/// When a manager that is behind is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// News that wait for it; the oldest are dropped.
const UNSAID_MAX: usize = 8;

/// The manager, where there is one; without, everything here does nothing.
#[derive(Debug)]
pub(super) struct ServiceManager {
    notifier: Option<Notifier>,
    watchdog: Option<Watchdog>,
    /// News that it had no room for: a lost READY would let it take the start for a failed one.
    unsaid: VecDeque<String>,
    retry: Moment,
    /// The last message did not reach it. One line in the log is enough for all of them.
    is_missing: bool,
}

#[derive(Debug)]
struct Watchdog {
    /// Half of what the manager allows, as `sd_watchdog_enabled(3)` advises.
    every: Duration,
    next: Moment,
}

impl ServiceManager {
    /// As the environment names it; `launched_as` is the process that it means.
    pub(super) fn of_environment(launched_as: Pid) -> Self {
        let notifier = env::var_os(SOCKET).and_then(|address| {
            Notifier::new(&address).inspect_err(|error| events::complain(&chain(error))).ok()
        });
        let is_for_us =
            env::var(WATCHDOG_PID).map_or(true, |pid| pid.parse() == Ok(launched_as.as_raw()));
        let limit_us = env::var(WATCHDOG).ok().and_then(|text| text.parse().ok());
        let watchdog =
            limit_us.filter(|limit| is_for_us && notifier.is_some() && *limit > 0).map(|limit| {
                let every = (Duration::from_micros(limit) / 2).max(WATCHDOG_STEP_MIN);
                Watchdog { every, next: Moment::now() }
            });
        let (unsaid, retry) = (VecDeque::new(), Moment::now());
        Self { notifier, watchdog, unsaid, retry, is_missing: false }
    }

    /// All workers serve. Also the end of a restart, good or bad.
    pub(super) fn ready(&mut self, workers: u16) {
        let pid = std::process::id();
        self.tell(format!("READY=1\nMAINPID={pid}\nSTATUS=serving with {workers} workers\n"));
    }

    /// A restart begins.
    pub(super) fn reloading(&mut self) {
        let now_us = monotonic::now_ms().saturating_mul(1000);
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=restarting\n"));
    }

    /// The server finishes what it holds, then ends.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1\nSTATUS=finishing requests\n".to_owned());
    }

    /// Has the program that this process becomes find its watchdog: a daemon is not the process
    /// that was started.
    pub(super) fn hand_over(&self, environment: &mut [(OsString, OsString)]) {
        for (name, pid) in environment {
            if self.watchdog.is_some() && name == WATCHDOG_PID {
                *pid = Pid::this().to_string().into();
            }
        }
    }

    /// When [`ServiceManager::on_time`] is next due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let feeding = self.watchdog.as_ref().map(|watchdog| watchdog.next);
        let retry = (!self.unsaid.is_empty()).then_some(self.retry);
        feeding.into_iter().chain(retry).min()
    }

    /// The master's loop runs: says so when it is due, after what is still to be said.
    pub(super) fn on_time(&mut self, now: Moment) {
        if self.retry <= now {
            self.say();
        }
        self.feed_watchdog(now);
    }

    fn feed_watchdog(&mut self, now: Moment) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) else {
            return;
        };
        watchdog.next = now + watchdog.every;
        // A manager that is behind has earlier ones to read.
        if self.unsaid.is_empty() {
            self.send("WATCHDOG=1\n");
        }
    }

    fn tell(&mut self, news: String) {
        if self.unsaid.len() == UNSAID_MAX {
            self.unsaid.pop_front();
        }
        self.unsaid.push_back(news);
        self.say();
    }

    fn say(&mut self) {
        while let Some(news) = self.unsaid.pop_front() {
            if !self.send(&news) {
                self.unsaid.push_front(news);
                self.retry = Moment::now() + RETRY_AFTER;
                return;
            }
        }
    }

    /// Whether it is done with; false when there was no room for it.
    fn send(&mut self, state: &str) -> bool {
        let Some(notifier) = &self.notifier else { return true };
        match notifier.send(state) {
            Ok(()) => {
                self.is_missing = false;
                true
            }
            Err(NotifyError::Full { .. }) => false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_missing, true) {
                    events::complain(&chain(&error));
                }
                true
            }
        }
    }
}
