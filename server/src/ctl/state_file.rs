//! The state file: a small YAML file as Puma writes it, of which two lines are read, `pid` and
//! `control_url`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    error::FAILED,
    trust::{self, TrustError, Trusted},
};

/// Longest state file.
const BYTES_MAX: u64 = 64 << 10;

/// Why a state file does not lead to a server.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateFileError {
    /// It is not to be believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It says something else.
    #[error("cannot use the state file {}: {reason}; name another file, or the pid file", path.display())]
    Content {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StateFileError {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Trust(error) => error.exit_code(),
            Self::Content { .. } => FAILED,
        }
    }
}

/// What a state file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) pid: i32,
    pub(super) control_url: String,
}

/// Reads a state file and tells whose it is; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<(State, u32)>, StateFileError> {
    let Some(Trusted { file, owner }) = trust::open(path)? else { return Ok(None) };
    let mut text = String::new();
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| TrustError::read(path, error))?;
    match parse(&text) {
        Ok(state) => Ok(Some((state, owner))),
        Err(reason) => Err(StateFileError::Content { path: path.to_owned(), reason }),
    }
}

fn parse(text: &str) -> Result<State, String> {
    let pid = scalar(text, "pid")?;
    let number = Some(pid).filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 1);
    Ok(State {
        pid: number.ok_or_else(|| format!("its pid is {pid}, which is no process"))?,
        control_url: scalar(text, "control_url")?.to_owned(),
    })
}

/// The value of the one line `key: value` at the outermost level, perhaps in quotes.
fn scalar<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
    let mut values =
        text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    let value = values.next().ok_or_else(|| format!("it has no line {key}"))?;
    if values.next().is_some() {
        return Err(format!("it has two lines {key}"));
    }
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let bare = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
    // What YAML would read in another way than it stands there.
    if bare.is_empty() || bare.contains(['"', '\'', '\\', '#', ' ', '\t', '&', '*', '|', '>']) {
        return Err(format!("its {key} is not a plain value"));
    }
    Ok(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pid: i32, control_url: &str) -> State {
        State { pid, control_url: control_url.to_owned() }
    }

    #[test]
    fn two_lines_are_read() {
        let puma = "---\npid: 4711\ncontrol_url: \"unix:///run/a.ctl\"\ncontrol_auth_token: x\n\
                    running_from: \"/srv/app\"\n";
        assert_eq!(parse(puma), Ok(state(4711, "unix:///run/a.ctl")));
        assert_eq!(parse("control_url: unix:///a\npid: 2"), Ok(state(2, "unix:///a")));
        assert_eq!(parse("pid: '2'\r\ncontrol_url: 'unix:///a'\r\n"), Ok(state(2, "unix:///a")));
    }

    #[test]
    fn everything_else_is_refused() {
        let url = "control_url: unix:///a\n";
        for (text, reason) in [
            (String::new(), "it has no line pid"),
            ("pid: 2\n".to_owned(), "it has no line control_url"),
            (format!("  pid: 2\n{url}"), "it has no line pid"),
            (format!("pid: 2\npid: 3\n{url}"), "it has two lines pid"),
            (format!("pid: 1\n{url}"), "its pid is 1, which is no process"),
            (format!("pid: -5\n{url}"), "its pid is -5, which is no process"),
            (format!("pid: 2e3\n{url}"), "its pid is 2e3, which is no process"),
            (format!("pid: 99999999999\n{url}"), "its pid is 99999999999, which is no process"),
            (format!("pid:\n{url}"), "its pid is not a plain value"),
            (format!("pid: 2 # it\n{url}"), "its pid is not a plain value"),
            (
                "pid: 2\ncontrol_url: \"unix:///a\n".to_owned(),
                "its control_url is not a plain value",
            ),
            (
                "pid: 2\ncontrol_url: \"unix:///\\x41\"\n".to_owned(),
                "its control_url is not a plain value",
            ),
        ] {
            assert_eq!(parse(&text), Err(reason.to_owned()), "{text}");
        }
    }
}
