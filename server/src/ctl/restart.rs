//! `restart`, `phased-restart`, `refork`: ask for it, and wait for its end when told to.

use std::time::Duration;

use serde_json::json;

use super::{
    connection::ConnectError,
    deadline::Deadline,
    error::{CtlError, FAILED},
    process::{Process, pause},
    report::Report,
    target::Target,
};
use crate::control::{LastRestart, Outcome, Reply, Request, Stats};

/// Between two looks at a restart.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a server may not answer while it restarts: it execs itself in place.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Asks for a restart, and waits for its end when there is a limit for that.
pub(super) fn ask(
    target: &Target,
    request: &Request,
    wait: Option<Duration>,
) -> Result<Report, CtlError> {
    let connection = target.connect()?;
    let process = Process::hold(connection.server);
    let reply = connection.ask(request)?;
    match (reply, wait) {
        (Reply::Restarting { ticket, .. }, Some(limit)) => {
            Watch { target, process, ticket }.to_the_end(Deadline::after(limit))
        }
        (reply, _) => Report::of_reply(&reply),
    }
}

/// A restart that is watched.
struct Watch<'a> {
    target: &'a Target,
    process: Option<Process>,
    ticket: u64,
}

impl Watch<'_> {
    fn to_the_end(&self, deadline: Deadline) -> Result<Report, CtlError> {
        let ticket = self.ticket;
        let mut silence = Deadline::after(SILENCE_LIMIT);
        let mut stage = String::new();
        loop {
            if let Some(stats) = self.look()? {
                silence = Deadline::after(SILENCE_LIMIT);
                if let Some(last) = ended(&stats, ticket) {
                    return report(ticket, last, stats.generation);
                }
                stage = stage_of(&stats);
            }
            if pause(self.process.as_ref(), LOOK_EVERY.min(deadline.left())) {
                return Err(CtlError::Ended { ticket });
            }
            if deadline.is_over() {
                return Err(CtlError::RestartLimit { ticket, limit: deadline.limit, stage });
            }
            if silence.is_over() {
                return Err(CtlError::Silent { ticket, limit: SILENCE_LIMIT });
            }
        }
    }

    /// What the server says now; `None` while it cannot say anything, because it is between two
    /// programs, or its answer got lost with the one before.
    fn look(&self) -> Result<Option<Box<Stats>>, CtlError> {
        let reply = match self.target.connect() {
            Ok(connection) => connection.ask(&Request::Stats),
            Err(CtlError::NotRunning { .. } | CtlError::Unreachable { .. }) => return Ok(None),
            Err(CtlError::Connect(ConnectError::Busy { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        match reply {
            Ok(Reply::Stats(stats)) => Ok(Some(stats)),
            Ok(reply @ Reply::NotPermitted { .. }) => Err(CtlError::of_reply(&reply)),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

/// The end of the restart with this number, or of a later one, which says as much: it began after the
/// end of this one.
fn ended(stats: &Stats, ticket: u64) -> Option<&LastRestart> {
    stats.restarts.last.as_ref().filter(|last| last.ticket >= ticket)
}

fn stage_of(stats: &Stats) -> String {
    match &stats.restarts.running {
        Some(running) if !running.stage.is_empty() => format!(" ({})", running.stage),
        Some(_) | None => String::new(),
    }
}

fn report(ticket: u64, last: &LastRestart, generation: u32) -> Result<Report, CtlError> {
    let LastRestart { ticket: ended, outcome, seconds, reason, .. } = last;
    let after =
        if *ended == ticket { String::new() } else { format!(" (it followed restart {ticket})") };
    let (text, status) = match outcome {
        Outcome::Succeeded => (
            format!(
                "restart {ended} succeeded in {seconds:.1} s: generation {generation} serves{after}"
            ),
            0,
        ),
        Outcome::Failed => {
            let reason = reason.as_deref().unwrap_or("the reason is in its log");
            (
                format!(
                    "restart {ended} failed after {seconds:.1} s: {reason}; the old code goes on{after}"
                ),
                FAILED,
            )
        }
    };
    let mut facts = serde_json::to_value(last)?;
    facts["generation"] = json!(generation);
    Ok(Report { status, ..Report::line(&text, &facts)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{RestartKind, Restarts, RunningRestart};

    fn last(ticket: u64, outcome: Outcome) -> LastRestart {
        let reason = (outcome == Outcome::Failed).then(|| "cannot load\nx".to_owned());
        LastRestart { ticket, kind: RestartKind::Restart, outcome, reason, seconds: 4.21 }
    }

    fn stats(last: Option<LastRestart>) -> Stats {
        Stats { restarts: Restarts { last, ..Restarts::default() }, ..Stats::default() }
    }

    #[test]
    fn a_restart_has_ended_when_it_or_a_later_one_has() {
        assert!(ended(&stats(None), 1).is_none());
        for (ticket, expected) in [(2, false), (3, true), (4, true)] {
            let stats = stats(Some(last(ticket, Outcome::Succeeded)));
            assert_eq!(ended(&stats, 3).is_some(), expected, "{ticket}");
        }
    }

    #[test]
    fn the_outcome_is_one_line() {
        let said = |last: &LastRestart| {
            let report = report(3, last, 4).unwrap();
            (report.text, report.status)
        };
        let good = last(3, Outcome::Succeeded);
        let text = "restart 3 succeeded in 4.2 s: generation 4 serves\n";
        assert_eq!(said(&good), (text.to_owned(), 0));
        let text = "restart 3 failed after 4.2 s: cannot load x; the old code goes on\n";
        assert_eq!(said(&last(3, Outcome::Failed)), (text.to_owned(), 1));
        let text = "restart 5 succeeded in 4.2 s: generation 4 serves (it followed restart 3)\n";
        assert_eq!(said(&last(5, Outcome::Succeeded)), (text.to_owned(), 0));
        assert_eq!(
            report(3, &good, 4).unwrap().json,
            "{\"generation\":4,\"kind\":\"restart\",\"outcome\":\"succeeded\",\"reason\":null,\
             \"seconds\":4.21,\"ticket\":3}\n"
        );
    }

    #[test]
    fn the_stage_is_told_where_there_is_one() {
        let mut stats = stats(None);
        assert_eq!(stage_of(&stats), "");
        let running = RunningRestart { stage: "booting workers".into(), ..Default::default() };
        stats.restarts.running = Some(running);
        assert_eq!(stage_of(&stats), " (booting workers)");
    }
}
