//! What came of a command: for people, for programs, and as an exit status.

use serde::Serialize;
use serde_json::json;

use super::{
    error::{CtlError, UNKNOWN},
    status,
    words::printable,
};
use crate::{
    control::{Reply, ServerState, Stats},
    telemetry::chain,
};

/// What came of a command. Both texts end with a line break.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) text: String,
    /// One line.
    pub(super) json: String,
    pub(super) status: u8,
}

impl Report {
    /// One line for people, and its facts for programs.
    pub(super) fn line(text: &str, facts: &impl Serialize) -> Result<Self, CtlError> {
        Ok(Self { text: format!("{}\n", printable(text)), json: line(facts)?, status: 0 })
    }

    /// An answer of a command that is done with it.
    pub(super) fn of_reply(reply: &Reply) -> Result<Self, CtlError> {
        match reply {
            Reply::Done { message } => Self::line(message, reply),
            Reply::Restarting { ticket, queued: false } => {
                let text =
                    format!("restart {ticket} has begun; rackrsctl status shows how it goes");
                Self::line(&text, reply)
            }
            Reply::Restarting { ticket, queued: true } => {
                let text = format!("restart {ticket} is queued: another one runs");
                Self::line(&text, reply)
            }
            Reply::Backtraces { workers } => {
                let text = status::backtraces(workers);
                Ok(Self { text, json: line(reply)?, status: 0 })
            }
            Reply::Stats(_) | Reply::Refused { .. } | Reply::NotPermitted { .. } => {
                Err(CtlError::of_reply(reply))
            }
        }
    }

    /// `rackrsctl status`.
    pub(super) fn status(stats: &Stats) -> Result<Self, CtlError> {
        let text = status::render(stats);
        Ok(Self { text, json: line(stats)?, status: exit_status(stats.state) })
    }

    /// `rackrsctl stats`.
    pub(super) fn stats(stats: &Stats) -> Result<Self, CtlError> {
        let text = serde_json::to_string_pretty(stats)? + "\n";
        Ok(Self { text, json: line(stats)?, status: 0 })
    }

    /// An error for programs.
    pub(super) fn of_error(error: &CtlError, status: u8) -> String {
        format!("{}\n", json!({ "error": chain(error), "exit_status": status }))
    }
}

/// As init scripts have it: does it serve?
fn exit_status(state: ServerState) -> u8 {
    match state {
        ServerState::Serving | ServerState::Restarting => 0,
        ServerState::Starting | ServerState::Stopping | ServerState::Unknown => UNKNOWN,
    }
}

fn line(facts: &impl Serialize) -> Result<String, CtlError> {
    Ok(serde_json::to_string(facts)? + "\n")
}
