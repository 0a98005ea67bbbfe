//! The `rackrsctl` binary; see `rackrs::ctl`.

use std::{env, process::ExitCode};

use rackrs::ctl;
use rackrs_sys::streams;

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

fn main() -> ExitCode {
    // With closed streams the control socket would become one of them.
    if streams::ensure_open().is_err() {
        return ExitCode::from(EX_OSERR);
    }
    ExitCode::from(ctl::run(env::args_os()))
}
