//! Where this process's standard streams go: to log files, or away from the terminal.

use rackrs_sys::streams::{self, Existing, Stream, StreamError};

use crate::config::Config;

/// Sends the streams to the log files that the configuration names.
pub(super) fn redirect(config: &Config, existing: Existing) -> Result<(), StreamError> {
    if let Some(path) = &config.redirect.stdout {
        streams::redirect(Stream::Output, path, existing)?;
    }
    if let Some(path) = &config.redirect.stderr {
        streams::redirect(Stream::Error, path, existing)?;
    }
    Ok(())
}

/// Opens this process's log files anew, after something has renamed or removed them.
pub(crate) fn reopen_logs(config: &Config) -> Result<(), StreamError> {
    redirect(config, Existing::Append)
}

/// Lets go of the terminal's streams that were not redirected. The mold does the same.
pub(crate) fn leave_terminal(config: &Config) {
    let mut unneeded = vec![Stream::Input];
    if config.redirect.stdout.is_none() {
        unneeded.push(Stream::Output);
    }
    if config.redirect.stderr.is_none() {
        unneeded.push(Stream::Error);
    }
    for stream in unneeded {
        // Without /dev/null the terminal's stream stays open: nothing is lost.
        let _ = streams::to_null(stream);
    }
}
