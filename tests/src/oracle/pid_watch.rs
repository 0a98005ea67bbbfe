//! Watches over a pid file: at every look it must name a process that lives.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{record::Clock, stop::Stop};
use crate::process;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// Faults that are told one by one.
const FAULTS_TOLD_MAX: usize = 20;

/// What the pid file said, look after look.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PidFile {
    /// How often it was looked at.
    pub looks: u64,
    /// Looks at which it did not name a living process.
    pub faults: u64,
    /// The longest time from a faulty look to the next good one, in milliseconds.
    pub longest_fault_ms: f64,
    /// The longest time without a look, in milliseconds: what the watch cannot speak of.
    pub longest_blink_ms: f64,
    /// How many different processes it named, one after the other.
    pub processes: u64,
    /// The first faults, each with its time.
    pub first_faults: Vec<String>,
}

/// Looks until told to stop.
pub(super) fn watch(path: &Path, clock: Clock, stop: &Stop) -> PidFile {
    let mut seen = PidFile::default();
    let (mut named, mut fault_since) = (None, None);
    let mut last = Instant::now();
    while !stop.pause(LOOK) {
        let now = clock.now();
        seen.longest_blink_ms = seen.longest_blink_ms.max(milliseconds(last.elapsed()));
        last = Instant::now();
        seen.looks += 1;
        let looked = look(path);
        if let Some(since) = fault_since {
            let so_far = milliseconds(now.saturating_sub(since));
            seen.longest_fault_ms = seen.longest_fault_ms.max(so_far);
        }
        match looked {
            Ok(pid) => {
                if named.replace(pid) != Some(pid) {
                    seen.processes += 1;
                }
                fault_since = None;
            }
            Err(why) => {
                seen.faults += 1;
                if fault_since.is_none() && seen.first_faults.len() < FAULTS_TOLD_MAX {
                    seen.first_faults.push(format!("at {:.3} s {why}", now.as_secs_f64()));
                }
                fault_since.get_or_insert(now);
            }
        }
    }
    seen
}

/// The living process that the file names, or what is wrong.
fn look(path: &Path) -> Result<i32, String> {
    loop {
        let pid = read(path)?;
        if process::is_alive(pid) {
            return Ok(pid);
        }
        // It may have lived when the file was read, and the file may name its successor by now.
        if read(path)? == pid {
            return Err(format!("it names process {pid}, which does not live"));
        }
    }
}

fn read(path: &Path) -> Result<i32, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("it is gone".into()),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    text.trim().parse().map_err(|_| format!("it names no process: {text:?}"))
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    // Microseconds are enough.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_look_tells_a_living_process_from_all_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.pid");
        assert!(look(&path).unwrap_err().contains("gone"));
        for text in ["", "12 34", "none"] {
            fs::write(&path, text).unwrap();
            assert!(look(&path).unwrap_err().contains("names no process"));
        }
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        fs::write(&path, format!("{}\n", child.id())).unwrap();
        assert_eq!(look(&path), Ok(child.id().cast_signed()));
        // Dead, and not waited for: a zombie.
        child.kill().unwrap();
        crate::eventually("cat is dead", || look(&path).err());
        child.wait().unwrap();
        assert!(look(&path).unwrap_err().contains("does not live"));
    }
}
