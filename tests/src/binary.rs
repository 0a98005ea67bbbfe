//! Where the real binary, the workspace and the Ruby applications are; the smallest application.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The `rackrs` binary under test: `RACKRS_BIN`, or the one beside the folder of test executables.
///
/// Panics when there is none: cargo does not build another package's binary for a test.
#[must_use]
pub fn binary() -> PathBuf {
    let path = env::var_os("RACKRS_BIN").map_or_else(beside_the_tests, PathBuf::from);
    assert!(
        path.is_file(),
        "there is no rackrs at {}; run `cargo build -p rackrs` (script/test does), or set RACKRS_BIN",
        path.display()
    );
    path
}

fn beside_the_tests() -> PathBuf {
    // target/PROFILE/deps/TEST -> target/PROFILE/rackrs
    let test = env::current_exe().expect("a running program has a path");
    test.ancestors().nth(2).expect("cargo puts tests two folders deep").join("rackrs")
}

/// The root of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is inside the workspace")
}

/// A Ruby application of `tests/apps`.
#[must_use]
pub fn app(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps").join(name);
    assert!(path.exists(), "there is no application {}", path.display());
    path
}

/// The source of an application that answers with `name` and its pid; `first` is run as it loads.
#[must_use]
pub fn release(name: &str, first: &str) -> String {
    format!(
        "{first}\nrun(lambda do |_|\n  \
         [200, {{ 'content-type' => 'text/plain' }}, [\"{name} #{{Process.pid}}\"]]\nend)\n"
    )
}
