//! `stop` and `halt`: ask for the end, and wait until the process is gone.

use std::time::Duration;

use serde_json::json;

use super::{
    connection::AskError, deadline::Deadline, error::CtlError, process::Process, report::Report,
    target::Target,
};
use crate::control::{Reply, Request};

/// Asks for the end of the server, and waits for it.
pub(super) fn ask(target: &Target, request: &Request, limit: Duration) -> Result<Report, CtlError> {
    let deadline = Deadline::after(limit);
    let connection = target.connect()?;
    // Before anything is asked, so that it is the right process.
    let process = Process::hold(connection.server);
    match connection.ask(request) {
        Ok(Reply::Done { .. }) => {}
        // It may end before its answer is out.
        Err(AskError::NoAnswer) if process.is_some() => {}
        Ok(other) => return Err(CtlError::of_reply(&other)),
        Err(error) => return Err(error.into()),
    }
    let Some(process) = process else {
        let text = "rackrs ends; its process cannot be seen from here, so its end is not awaited";
        return Report::line(text, &json!({ "pid": null }));
    };
    let pid = process.pid.as_raw();
    if !process.ends_before(&deadline) {
        return Err(CtlError::StopLimit { pid, limit });
    }
    let seconds = deadline.elapsed().as_secs_f64();
    let text = format!("rackrs (process {pid}) has ended after {seconds:.1} s");
    Report::line(&text, &json!({ "pid": pid, "seconds": seconds }))
}
