//! What can be asked of a running master, and what it answers: one line of JSON each.
//!
//! A `rackrsctl` may speak to a server of another version, so unknown fields are ignored and missing
//! ones have a default. A command that the server does not know is refused by name.

use serde::{Deserialize, Serialize};

use super::Stats;

/// What a client asks. `{"command": "restart"}`, `{"command": "workers", "add": 1}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Request {
    /// What it does, for people. Answered by [`Reply::Stats`].
    Status,
    /// What it does, in every detail. Answered by [`Reply::Stats`].
    Stats,
    /// The same program again, in place, with a new mold and new workers.
    Restart,
    /// New workers of a new mold, slot by slot.
    PhasedRestart,
    /// New workers of the mold that there is.
    Refork,
    /// Finish the requests in hand, then end.
    Stop,
    /// End now.
    Halt,
    /// Open the log files anew.
    ReloadLogs,
    /// Another number of workers.
    Workers(WorkerChange),
    /// Where every Ruby thread is.
    Backtraces {
        /// The slot of one worker; all of them without it.
        #[serde(default)]
        worker: Option<u16>,
    },
}

/// How the number of workers should change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerChange {
    /// So many more.
    Add(u16),
    /// So many less.
    Remove(u16),
    /// So many.
    Set(u16),
}

/// What the server answers. `{"reply": "done", "message": "..."}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Carried out, or begun.
    Done {
        /// What was done, one line without a full stop.
        #[serde(default)]
        message: String,
    },
    /// A restart was begun, queued or joined; [`Stats::restarts`] tells how the one with this
    /// number ended.
    Restarting {
        /// Counts the restarts of a server, across its own.
        ticket: u64,
        /// It waits for the end of another.
        #[serde(default)]
        queued: bool,
    },
    /// The state of the server.
    Stats(Box<Stats>),
    /// Where the Ruby threads are.
    Backtraces {
        /// By slot.
        #[serde(default)]
        workers: Vec<WorkerBacktraces>,
    },
    /// It cannot be done.
    Refused {
        /// Why, and what to do; one line.
        #[serde(default)]
        reason: String,
    },
    /// Whoever asked may not. The socket says so itself, the master has no part in it.
    NotPermitted {
        /// Who may; one line.
        #[serde(default)]
        reason: String,
    },
}

/// Where the Ruby threads of one worker are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerBacktraces {
    /// Its slot.
    pub slot: u16,
    /// Its process.
    pub pid: i32,
    /// As Ruby writes backtraces, many lines.
    pub text: String,
}

/// A message as it is sent: one line.
pub(crate) fn encode(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> Request {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn requests_are_pleasant_to_write_by_hand() {
        for (json, meant) in [
            (r#"{"command":"status"}"#, Request::Status),
            (r#"{"command":"stats"}"#, Request::Stats),
            (r#"{"command":"restart"}"#, Request::Restart),
            (r#"{"command":"phased_restart"}"#, Request::PhasedRestart),
            (r#"{"command":"refork"}"#, Request::Refork),
            (r#"{"command":"stop"}"#, Request::Stop),
            (r#"{"command":"halt"}"#, Request::Halt),
            (r#"{"command":"reload_logs"}"#, Request::ReloadLogs),
            (r#"{"command":"workers","add":1}"#, Request::Workers(WorkerChange::Add(1))),
            (r#"{"command":"workers","remove":2}"#, Request::Workers(WorkerChange::Remove(2))),
            (r#"{"command":"workers","set":3}"#, Request::Workers(WorkerChange::Set(3))),
            (r#"{"command":"backtraces","worker":1}"#, Request::Backtraces { worker: Some(1) }),
            (r#"{"command":"backtraces","worker":null}"#, Request::Backtraces { worker: None }),
        ] {
            assert_eq!(request(json), meant);
            assert_eq!(encode(&meant).unwrap(), format!("{json}\n").into_bytes());
        }
        assert_eq!(request(r#"{"command":"backtraces"}"#), Request::Backtraces { worker: None });
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_commands_are_not() {
        assert_eq!(request(r#"{"command":"stop","gently":true}"#), Request::Stop);
        for wrong in [r#"{"command":"explode"}"#, "{}", "[]", r#""stop""#, "", "{"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn replies_survive_the_way_and_lack_of_fields() {
        let workers = vec![WorkerBacktraces { slot: 1, pid: 2, text: "a\nb".into() }];
        for (reply, json) in [
            (Reply::Done { message: "x".into() }, r#"{"reply":"done","message":"x"}"#),
            (
                Reply::Restarting { ticket: 3, queued: true },
                r#"{"reply":"restarting","ticket":3,"queued":true}"#,
            ),
            (
                Reply::Backtraces { workers },
                r#"{"reply":"backtraces","workers":[{"slot":1,"pid":2,"text":"a\nb"}]}"#,
            ),
            (Reply::Refused { reason: "x".into() }, r#"{"reply":"refused","reason":"x"}"#),
        ] {
            assert_eq!(encode(&reply).unwrap(), format!("{json}\n").into_bytes());
            assert_eq!(serde_json::from_str::<Reply>(json).unwrap(), reply);
        }
        let reply: Reply = serde_json::from_str(r#"{"reply":"restarting","ticket":1}"#).unwrap();
        assert_eq!(reply, Reply::Restarting { ticket: 1, queued: false });
    }
}
