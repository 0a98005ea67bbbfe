//! The base line, the restarts, and how it is known that one is complete.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde::Serialize;

use super::{
    address::Address,
    answer::Question,
    judge::{Mark, Markers},
    load::Load,
    record::Clock,
    release::{FIRST, Release},
    report::{Phase, Report},
    stop::Stop,
};

/// A restart is complete when for so long no new connection was answered by the old release.
const QUIET: Duration = Duration::from_millis(300);
/// Between two such looks at each address.
const PROBE_PAUSE: Duration = Duration::from_millis(5);

/// The server that is restarted. It serves `tests/apps/release.ru` already.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it listens.
    pub addresses: Vec<Address>,
    /// Its pid file.
    pub pid_file: PathBuf,
    /// The release that it finds when it boots.
    pub release: Release,
}

/// What is done with it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Length of the load without a restart.
    pub base_line: Duration,
    /// How often it is restarted then.
    pub restarts: u32,
    /// Load before each restart and after the last.
    pub between: Duration,
    /// The longest that one restart may take, and that one answer may.
    pub limit: Duration,
    /// Whether no client's answer may come from an older release than its answer before. Only a
    /// server whose old workers have stopped accepting before new ones begin can promise this:
    /// rackrs lets both accept for a moment, so that no client waits.
    pub monotonic: bool,
}

/// A restart that was complete.
#[derive(Clone, Debug, Serialize)]
pub struct Restart {
    /// The release that it brought.
    pub marker: u32,
    /// When it began, in seconds since the load with restarts began.
    pub begin_s: f64,
    /// How long it took, in seconds, with the time in which the old release had to be silent.
    pub took_s: f64,
}

/// One restart, for the function that makes it.
#[derive(Debug)]
pub struct Round<'a> {
    pub(super) subject: &'a Subject,
    pub(super) marker: u32,
    pub(super) limit: Duration,
}

impl Round<'_> {
    /// Waits until the new release has answered on every address.
    ///
    /// # Errors
    ///
    /// When the plan's limit is over.
    pub fn await_first_answer(&self) -> anyhow::Result<()> {
        self.await_quiet(Duration::ZERO)
    }

    /// Waits until the new release has answered on every address, and for 300 ms no new
    /// connection was answered by the old one.
    ///
    /// # Errors
    ///
    /// When the plan's limit is over.
    pub fn settle(&self) -> anyhow::Result<()> {
        self.await_quiet(QUIET)
    }

    fn await_quiet(&self, quiet: Duration) -> anyhow::Result<()> {
        let (begin, stop) = (Instant::now(), Stop::default());
        // Per address: since when only the new release has answered there.
        let mut since: Vec<Option<Instant>> = vec![None; self.subject.addresses.len()];
        while !since.iter().all(|since| since.is_some_and(|since| since.elapsed() >= quiet)) {
            if begin.elapsed() > self.limit {
                bail!("release {} did not take over within {:?}", self.marker, self.limit);
            }
            for (address, since) in self.subject.addresses.iter().zip(&mut since) {
                match self.probe(address, &stop) {
                    Some(marker) if marker == self.marker => {
                        since.get_or_insert_with(Instant::now);
                    }
                    Some(_) => *since = None,
                    // The clients say what was lost; here it only proves nothing.
                    None => {}
                }
            }
            stop.pause(PROBE_PAUSE);
        }
        Ok(())
    }

    /// The release that answers on a new connection, if one does.
    fn probe(&self, address: &Address, stop: &Stop) -> Option<u32> {
        let mut wire = address.connect(self.limit).ok()?;
        let answer = Question::Get.ask(&mut wire, "probe", false, stop).ok()?;
        Question::Get.judge(&answer, "probe").ok()
    }
}

/// Puts the load on a server, restarts it as planned, and says what the clients saw.
///
/// `restart` makes one restart and returns when it is complete; [`Round::settle`] tells when that
/// is, where the server itself does not. The first restart that fails ends the load.
pub fn watch(
    subject: &Subject,
    plan: &Plan,
    restart: &mut dyn FnMut(&Round) -> anyhow::Result<()>,
) -> Report {
    let start = || Load::start(&subject.addresses, &subject.pid_file, plan.limit);
    let load = start();
    load.run_for(plan.base_line);
    let base_line = Phase::of(&load.finish());

    let load = start();
    let (mut marks, mut failure) = (Vec::new(), None);
    for marker in (FIRST + 1..).take(plan.restarts as usize) {
        load.run_for(plan.between);
        let begin = load.clock.now();
        let restarted = subject
            .release
            .publish(marker)
            .context("cannot put the next release in place")
            .and_then(|()| restart(&Round { subject, marker, limit: plan.limit }));
        marks.push(mark(marker, begin, load.clock, restarted.is_ok()));
        if let Err(error) = restarted {
            failure = Some(format!("restart {} failed: {error:#}", marks.len()));
            break;
        }
    }
    load.run_for(plan.between);
    let recording = load.finish();
    let markers = Markers::judge(&recording.clients, &marks, plan.monotonic);
    let restarts = marks.iter().filter_map(complete).collect();
    Report { base_line, restarted: Phase::of(&recording), restarts, markers, failure }
}

fn mark(marker: u32, begin: Duration, clock: Clock, complete: bool) -> Mark {
    Mark { marker, begin, done: complete.then(|| clock.now()) }
}

fn complete(mark: &Mark) -> Option<Restart> {
    let took_s = mark.done?.saturating_sub(mark.begin).as_secs_f64();
    Some(Restart { marker: mark.marker, begin_s: mark.begin.as_secs_f64(), took_s })
}
