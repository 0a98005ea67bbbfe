//! What `status` and `backtraces` print for people.

use std::fmt::Write as _;

use super::{
    table::{
        Align::{Left, Right},
        columns,
    },
    words::{printable, printable_lines, shortened, size, time},
};
use crate::control::{
    LastRestart, MoldStats, Outcome, RestartKind, Restarts, ServerState, Stats, WorkerBacktraces,
    WorkerStats,
};

/// Longest request line in the table.
const LINE_CHARS_MAX: usize = 60;
/// Stands where there is nothing.
const NOTHING: &str = "-";

/// The state of a server.
pub(super) fn render(stats: &Stats) -> String {
    let mut text =
        format!("rackrs {} {}, pid {}\n", printable(&stats.version), state(stats.state), stats.pid);
    text.push_str(&columns([Left, Left], &facts(stats)));
    if !stats.workers.is_empty() {
        let heads = [
            "slot",
            "gen",
            "pid",
            "state",
            "up",
            "requests",
            "busy",
            "queue",
            "memory",
            "oldest request",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(stats.workers.iter().map(worker));
        text.push('\n');
        text.push_str(&columns(
            [Right, Right, Right, Left, Right, Right, Right, Right, Right, Left],
            &rows,
        ));
    }
    text
}

fn facts(stats: &Stats) -> Vec<[String; 2]> {
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            facts.push([format!("  {name}"), value]);
        }
    };
    fact("up", format!("{}, since {}", time(stats.uptime_seconds), stats.started_at));
    fact("generation", stats.generation.to_string());
    for listener in &stats.listeners {
        fact("listening", listener.clone());
    }
    fact("pid file", stats.pid_file.display().to_string());
    let ready = stats.workers.iter().filter(|worker| worker.state == "ready").count();
    fact("workers", format!("{ready} ready, {} wanted", stats.workers_wanted));
    for one in &stats.molds {
        fact("mold", mold(one));
    }
    fact("restarts", restarts(&stats.restarts));
    fact("running", running(stats));
    fact("last", stats.restarts.last.as_ref().map(last).unwrap_or_default());
    facts
}

fn state(state: ServerState) -> &'static str {
    match state {
        ServerState::Starting => "is starting",
        ServerState::Serving => "is serving",
        ServerState::Restarting => "is serving and restarting",
        ServerState::Stopping => "is stopping",
        ServerState::Unknown => "is in a state that this rackrsctl does not know",
    }
}

fn kind(kind: RestartKind) -> &'static str {
    match kind {
        RestartKind::Restart => "restart",
        RestartKind::PhasedRestart => "phased restart",
        RestartKind::Refork => "refork",
        RestartKind::Unknown => "unknown kind",
    }
}

fn mold(mold: &MoldStats) -> String {
    let pid = mold.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    format!("generation {}: {}, up {}{pid}", mold.generation, mold.state, time(mold.seconds))
}

fn restarts(restarts: &Restarts) -> String {
    let Restarts { begun, succeeded, failed, .. } = restarts;
    if *begun == 0 {
        return String::new();
    }
    format!("{begun} begun, {succeeded} succeeded, {failed} failed")
}

fn running(stats: &Stats) -> String {
    let Some(running) = &stats.restarts.running else { return String::new() };
    let queued = if stats.queued_restart { "; another one is queued" } else { "" };
    format!(
        "restart {} ({}) for {}: {}{queued}",
        running.ticket,
        kind(running.kind),
        time(running.seconds),
        running.stage
    )
}

fn last(last: &LastRestart) -> String {
    let LastRestart { ticket, seconds, reason, .. } = last;
    let head = format!("restart {ticket} ({})", kind(last.kind));
    match (last.outcome, reason) {
        (Outcome::Succeeded, _) => format!("{head} succeeded in {}", time(*seconds)),
        (Outcome::Failed, None) => format!("{head} failed after {}", time(*seconds)),
        (Outcome::Failed, Some(reason)) => {
            format!("{head} failed after {}: {reason}", time(*seconds))
        }
    }
}

fn worker(worker: &WorkerStats) -> [String; 10] {
    let oldest = worker.oldest_request.as_ref().map(|oldest| {
        format!("{}  {}", time(oldest.seconds), shortened(&oldest.line, LINE_CHARS_MAX))
    });
    let or_nothing = |word: Option<String>| word.unwrap_or_else(|| NOTHING.to_owned());
    [
        worker.slot.to_string(),
        worker.generation.to_string(),
        or_nothing(worker.pid.map(|pid| pid.to_string())),
        worker.state.clone(),
        time(worker.uptime_seconds),
        worker.requests.to_string(),
        format!("{}/{}", worker.busy_threads, worker.threads),
        worker.queue.to_string(),
        or_nothing(worker.rss_bytes.map(size)),
        or_nothing(oldest),
    ]
}

/// The Ruby threads of workers.
pub(super) fn backtraces(workers: &[WorkerBacktraces]) -> String {
    let mut text = String::new();
    for worker in workers {
        let lines = printable_lines(worker.text.trim_end());
        // Writing to a string does not fail.
        let _ = writeln!(text, "Worker {} (PID: {})\n{lines}\n", worker.slot, worker.pid);
    }
    text
}

#[cfg(test)]
mod tests;
