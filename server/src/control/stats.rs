//! The state of a server, as `rackrsctl stats` shows it.
//!
//! Programs read this: a field keeps its name and meaning, and new ones are added at the end.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The state of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// The version of rackrs.
    pub version: String,
    /// The master's process.
    pub pid: i32,
    /// When the server was started first, ISO 8601 in UTC.
    pub started_at: String,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// What it is doing.
    pub state: ServerState,
    /// The generation that serves.
    pub generation: u32,
    /// How many workers there should be.
    pub workers_wanted: u16,
    /// Another restart follows the one that runs.
    pub queued_restart: bool,
    /// The restarts so far.
    pub restarts: Restarts,
    /// Where it listens, as the log shows it.
    pub listeners: Vec<String>,
    /// Its pid file.
    pub pid_file: PathBuf,
    /// The molds, oldest generation first.
    pub molds: Vec<MoldStats>,
    /// The workers, by slot; two of one slot while the newer takes over.
    pub workers: Vec<WorkerStats>,
}

/// What a server is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// No worker has served yet.
    Starting,
    /// It serves.
    Serving,
    /// It serves, and a restart runs.
    Restarting,
    /// It finishes the requests in hand.
    Stopping,
    /// A state that this version has no word for.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The restarts of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restarts {
    /// So many were begun.
    pub begun: u64,
    /// So many brought the new code to serve.
    pub succeeded: u64,
    /// So many left the old code serving.
    pub failed: u64,
    /// The one that runs.
    pub running: Option<RunningRestart>,
    /// The one that ended last.
    pub last: Option<LastRestart>,
}

/// Which way to new workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartKind {
    /// New master, mold and workers.
    Restart,
    /// New mold and workers.
    PhasedRestart,
    /// New workers.
    Refork,
    /// A way that this version has no word for.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A restart that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunningRestart {
    /// Its number.
    pub ticket: u64,
    /// Which way.
    pub kind: RestartKind,
    /// How far it is, one word or a few.
    pub stage: String,
    /// Seconds since it began.
    pub seconds: f64,
}

/// A restart that has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastRestart {
    /// Its number.
    pub ticket: u64,
    /// Which way.
    pub kind: RestartKind,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, one line.
    pub reason: Option<String>,
    /// Seconds from its beginning to its end.
    pub seconds: f64,
}

/// How a restart ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The new workers serve.
    Succeeded,
    /// The old ones went on.
    #[default]
    #[serde(other)]
    Failed,
}

/// One mold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoldStats {
    /// Its generation.
    pub generation: u32,
    /// Its process, while there is one.
    pub pid: Option<i32>,
    /// What it is doing, one word.
    pub state: String,
    /// Seconds since it was started.
    pub seconds: f64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStats {
    /// Its slot.
    pub slot: u16,
    /// Its generation.
    pub generation: u32,
    /// Its process, while there is one.
    pub pid: Option<i32>,
    /// What it is doing: waiting, forking, booting, ready, draining, stuck (asked where its
    /// threads are, then killed), killing.
    pub state: String,
    /// Seconds since its fork.
    pub uptime_seconds: f64,
    /// Open connections.
    pub connections: u64,
    /// Requests taken so far.
    pub requests: u64,
    /// Ruby threads.
    pub threads: u64,
    /// Those of them that run a request.
    pub busy_threads: u64,
    /// Requests that wait for a thread.
    pub queue: u64,
    /// The request that has run longest.
    pub oldest_request: Option<OldestRequest>,
    /// Seconds that its threads have waited for Ruby's lock, all together.
    pub gvl_wait_seconds: f64,
    /// Seconds since its I/O thread gave a sign of life.
    pub io_beat_age_seconds: Option<f64>,
    /// Seconds since Ruby gave a sign of life.
    pub ruby_beat_age_seconds: Option<f64>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
}

/// A request that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OldestRequest {
    /// Method and target, perhaps shortened.
    pub line: String,
    /// Seconds since its thread took it.
    pub seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_says_is_understood_as_far_as_it_goes() {
        let stats: Stats = serde_json::from_str(
            r#"{"pid": 5, "state": "hibernating", "moon": "full",
                "restarts": {"last": {"ticket": 1, "kind": "teleport", "outcome": "succeeded"}},
                "workers": [{"slot": 1, "state": "ready", "colour": "red"}]}"#,
        )
        .unwrap();
        assert_eq!((stats.pid, stats.state), (5, ServerState::Unknown));
        let last = stats.restarts.last.unwrap();
        assert_eq!((last.kind, last.outcome), (RestartKind::Unknown, Outcome::Succeeded));
        assert_eq!(stats.workers[0].state, "ready");
        assert_eq!(stats.workers[0].oldest_request, None);
    }

    #[test]
    fn words_of_states_are_stable() {
        for (state, word) in [
            (ServerState::Starting, "\"starting\""),
            (ServerState::Serving, "\"serving\""),
            (ServerState::Restarting, "\"restarting\""),
            (ServerState::Stopping, "\"stopping\""),
        ] {
            assert_eq!(serde_json::to_string(&state).unwrap(), word);
            assert_eq!(serde_json::from_str::<ServerState>(word).unwrap(), state);
        }
        assert_eq!(
            serde_json::to_string(&RestartKind::PhasedRestart).unwrap(),
            "\"phased_restart\""
        );
    }
}
