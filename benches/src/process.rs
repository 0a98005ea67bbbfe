//! What a tree of processes costs: CPU time and memory, from `/proc`.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use procfs::process::{Process, Stat};

/// CPU time of the process `root` and all below it, of the living and of those they waited for.
///
/// The kernel tells it in ticks of 10 ms.
///
/// # Errors
///
/// When `/proc` cannot be read or `root` is gone.
pub fn cpu_time(root: i32) -> anyhow::Result<Duration> {
    let ticks: i64 = tree(root)?
        .iter()
        .map(|stat| {
            let own = i64::try_from(stat.utime + stat.stime).unwrap_or(i64::MAX);
            own.saturating_add(stat.cutime).saturating_add(stat.cstime)
        })
        .sum();
    let ticks = u64::try_from(ticks).context("negative CPU time")?;
    Ok(Duration::from_millis(ticks * 1000 / procfs::ticks_per_second()))
}

/// Memory of the tree in bytes: proportional set size, which counts a shared page once in all.
///
/// # Errors
///
/// When `/proc` cannot be read or `root` is gone.
pub fn pss_bytes(root: i32) -> anyhow::Result<u64> {
    let mut total = 0;
    for stat in tree(root)? {
        // A process may end between the listing and here; then it costs nothing any more.
        let Ok(rollup) = Process::new(stat.pid).and_then(|process| process.smaps_rollup()) else {
            continue;
        };
        total += rollup
            .memory_map_rollup
            .iter()
            .filter_map(|map| map.extension.map.get("Pss"))
            .sum::<u64>();
    }
    Ok(total)
}

/// The pids of `root` and all below it, `root` first.
///
/// # Errors
///
/// When `/proc` cannot be read or `root` is gone.
pub fn pids(root: i32) -> anyhow::Result<Vec<i32>> {
    Ok(tree(root)?.iter().map(|stat| stat.pid).collect())
}

fn tree(root: i32) -> anyhow::Result<Vec<Stat>> {
    let mut found =
        vec![Process::new(root)?.stat().with_context(|| format!("process {root} is gone"))?];
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for process in procfs::process::all_processes().context("cannot list /proc")? {
        // One that ended meanwhile is nobody's child.
        if let Ok(stat) = process.and_then(|process| process.stat()) {
            children.entry(stat.ppid).or_default().push(stat);
        }
    }
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next].pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_and_its_memory_counted() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let below = pids(own).unwrap();
        assert_eq!(below[0], own);
        assert!(below.contains(&pid));
        assert!(pss_bytes(own).unwrap() > 0);
        assert!(cpu_time(own).is_ok());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert!(pids(pid).is_err());
    }
}
