//! How much memory a process uses.

use std::{
    fs::File,
    io::{self, Read},
};

use nix::unistd::{Pid, SysconfVar, sysconf};

/// Longer than `/proc/PID/statm`: seven numbers of at most 20 digits.
const STATM_BYTES_MAX: usize = 256;

/// Longer than `/proc/PID/smaps_rollup`: some 25 lines of at most 32 bytes, and room for more.
const ROLLUP_BYTES_MAX: usize = 4096;

/// The memory that the process has in RAM: the second field of `/proc/PID/statm`, proc(5). Memory
/// that processes share counts in each of them. 0 for a zombie.
///
/// Cheap: the kernel has the number ready. It may be behind by a few pages.
///
/// # Errors
///
/// `NotFound` when there is no such process.
pub fn resident_bytes(pid: Pid) -> io::Result<u64> {
    let mut buffer = [0; STATM_BYTES_MAX];
    let text = read(pid, "statm", &mut buffer)?;
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|bytes| u64::try_from(bytes).ok());
    let bytes = pages.zip(page_bytes).and_then(|(pages, bytes)| pages.checked_mul(bytes));
    bytes.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The process's fair part of the memory in RAM: a page that N processes share counts as 1/N of
/// a page (`Pss` of `/proc/PID/smaps_rollup`, proc(5)). This is what forks of one mold cost.
///
/// Not free: the kernel walks the page tables, some milliseconds for each GiB, and meanwhile the
/// process waits where it maps memory. Ask now and then, not at each request.
///
/// # Errors
///
/// `NotFound` when there is no such process, `ESRCH` when it is a zombie, `PermissionDenied` when
/// it is another user's.
pub fn proportional_bytes(pid: Pid) -> io::Result<u64> {
    let mut buffer = [0; ROLLUP_BYTES_MAX];
    let text = read(pid, "smaps_rollup", &mut buffer)?;
    let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = pss.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib = kib.and_then(|kib| kib.trim().parse::<u64>().ok());
    let bytes = kib.and_then(|kib| kib.checked_mul(1024));
    bytes.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The start of a file of `/proc/PID`, as much as fits.
fn read<'a>(pid: Pid, name: &str, buffer: &'a mut [u8]) -> io::Result<&'a str> {
    let mut file = File::open(format!("/proc/{pid}/{name}"))?;
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    std::str::from_utf8(&buffer[..filled]).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, io, process::Command};

    use nix::{
        sys::wait::{Id, WaitPidFlag, WaitStatus, waitid},
        unistd::{Pid, getppid},
    };

    use super::{proportional_bytes, resident_bytes};
    use crate::{
        fork::fork_child,
        forked::{in_child, wait},
    };

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn memory_that_is_used_shows() {
        in_child(|_| {
            let this = Pid::this();
            let before = (resident_bytes(this).unwrap(), proportional_bytes(this).unwrap());
            let block = black_box(vec![7_u8; 64 << 20]);
            let after = (resident_bytes(this).unwrap(), proportional_bytes(this).unwrap());
            for (before, after) in [(before.0, after.0), (before.1, after.1)] {
                let grown = after - before;
                assert!((60 * MIB..70 * MIB).contains(&grown), "{before} to {after}");
            }
            drop(block);
        });
    }

    #[test]
    fn shared_memory_counts_in_parts() {
        in_child(|proof| {
            let block = black_box(vec![7_u8; 64 << 20]);
            let child = fork_child(proof, || {
                let part = proportional_bytes(Pid::this()).unwrap();
                let whole = resident_bytes(getppid()).unwrap();
                // The harness may share it too: half of it at most.
                u8::from(whole < 64 * MIB || part > 40 * MIB)
            });
            let child = child.unwrap();
            assert_eq!(wait(child), WaitStatus::Exited(child, 0));
            drop(block);
        });
    }

    #[test]
    fn the_dead_use_none() {
        let mut child = Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert_eq!(resident_bytes(pid).unwrap(), 0);
        let error = proportional_bytes(pid).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ESRCH));
        child.wait().unwrap();
        assert_eq!(resident_bytes(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(proportional_bytes(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
