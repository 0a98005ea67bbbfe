//! What the oracle says about a server.

use serde::Serialize;

use super::{
    client::Seen,
    judge::Markers,
    load::Recording,
    mix::Profile,
    pid_watch::PidFile,
    record::Outcome,
    restart::Restart,
    summary::{Client, Fast},
};

/// Failed requests that are told one by one.
const FAILURES_TOLD_MAX: usize = 20;

/// What one load saw.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// How long it lasted.
    pub seconds: f64,
    /// All requests.
    pub requests: u64,
    /// Those answered as they must be.
    pub answered: u64,
    /// Those written and not answered so.
    pub lost: u64,
    /// Connections that could not be made.
    pub refused: u64,
    /// Kept connections that the server closed while no request was on them.
    pub closed_idle: u64,
    /// The first that failed, in the order of time.
    pub first_failures: Vec<String>,
    /// The fast clients together.
    pub fast: Fast,
    /// Each client.
    pub clients: Vec<Client>,
    /// The pid file.
    pub pid_file: PidFile,
}

impl Phase {
    pub(super) fn of(recording: &Recording) -> Self {
        let (clients, length) = (&recording.clients, recording.length);
        let summaries: Vec<_> =
            clients.iter().map(|(profile, seen)| Client::of(profile, seen, length)).collect();
        let sum = |of: fn(&Client) -> u64| summaries.iter().map(of).sum();
        Self {
            seconds: length.as_secs_f64(),
            requests: sum(|client| client.requests),
            answered: sum(|client| client.answered),
            lost: sum(|client| client.lost),
            refused: sum(|client| client.refused),
            closed_idle: sum(|client| client.closed_idle),
            first_failures: first_failures(clients),
            fast: Fast::of(clients, length),
            clients: summaries,
            pid_file: recording.pid_file.clone(),
        }
    }
}

fn first_failures(clients: &[(Profile, Seen)]) -> Vec<String> {
    let all = clients.iter().flat_map(|(profile, seen)| {
        seen.records.iter().filter_map(move |record| match &record.outcome {
            Outcome::Answered { .. } => None,
            Outcome::Lost(why) => Some((record, profile, "lost", why)),
            Outcome::Refused(why) => Some((record, profile, "refused", why)),
        })
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(record, ..)| record.end);
    let told = all.iter().take(FAILURES_TOLD_MAX).map(|(record, profile, what, why)| {
        let (begin, end) = (record.begin.as_secs_f64(), record.end.as_secs_f64());
        let connection = if record.fresh { "new" } else { "reused" };
        format!("{begin:.3} to {end:.3} s, {profile}, {connection} connection: {what}: {why}")
    });
    told.collect()
}

/// What the oracle saw; its `Display` is a table for a person.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The load without a restart.
    pub base_line: Phase,
    /// The load with the restarts.
    pub restarted: Phase,
    /// The restarts that were complete.
    pub restarts: Vec<Restart>,
    /// The releases that answered.
    pub markers: Markers,
    /// Why a restart was not complete; the load ended then.
    pub failure: Option<String>,
}

impl Report {
    /// Everything that a server whose restarts lose nothing does not do, one sentence each. The
    /// gap is none of it: how long it may be is not the oracle's to say.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.failure.iter().cloned().collect();
        for (name, phase) in [("base line", &self.base_line), ("restarts", &self.restarted)] {
            let counts = [
                (phase.lost, "requests were lost"),
                (phase.refused, "connections were refused"),
                (phase.pid_file.faults, "looks at the pid file found no living process"),
            ];
            let counts = counts.iter().filter(|(count, _)| *count > 0);
            faults.extend(counts.map(|(count, what)| format!("{name}: {count} {what}")));
        }
        let markers = self.markers.faults();
        if markers > 0 {
            faults.push(format!("{markers} answers came from a release that may not answer"));
        }
        faults
    }

    /// How much longer the longest gap was than that of the base line, in milliseconds.
    #[must_use]
    pub fn gap_above_base_line_ms(&self) -> f64 {
        self.restarted.fast.gap_ms - self.base_line.fast.gap_ms
    }

    /// Panics with the whole report when there is a fault.
    pub fn assert_nothing_lost(&self) {
        let faults = self.faults();
        assert!(faults.is_empty(), "{}\n\n{self}", faults.join("\n"));
    }
}
