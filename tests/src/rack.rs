//! Which Rack an application sees.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{root, tidy::files};

/// A Rack to test with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RackVersion {
    /// The machine's own: Rack 2.2 on Debian 12, Rack 3.2 on forky.
    Debian,
    /// Rack 3 in a `lib` folder, put first on Ruby's load path.
    Unpacked(PathBuf),
}

impl RackVersion {
    /// The newer Rack: in `RACKRS_RACK3`, or in `target/rack3` where `script/rack3` unpacks it.
    ///
    /// Panics when it is not there: a promise under Rack 3 that was not tested is not kept.
    #[must_use]
    pub fn newer() -> Self {
        let folder =
            env::var_os("RACKRS_RACK3").map_or_else(|| root().join("target/rack3"), PathBuf::from);
        // The library itself is the shallowest of the files with its name.
        let entry =
            files(&folder, "/rack.rb").into_iter().min_by_key(|path| path.components().count());
        match entry.as_deref().and_then(Path::parent) {
            Some(lib) => Self::Unpacked(lib.to_owned()),
            None => panic!(
                "there is no Rack 3 in {}; run script/rack3, which unpacks it",
                folder.display()
            ),
        }
    }

    /// Whether this is Rack 3 or later, as Ruby says.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        let mut ruby = Command::new("ruby");
        ruby.args(["-rrack", "-e", "print Rack.release"]).envs(self.variables());
        let output = ruby.output().expect("ruby runs");
        let release = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = release.split('.').next().and_then(|number| number.parse::<u32>().ok());
        major.unwrap_or_else(|| panic!("ruby has no Rack to tell the version of: {output:?}")) >= 3
    }

    /// The environment variables that select it.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        match self {
            Self::Debian => Vec::new(),
            Self::Unpacked(lib) => vec![("RUBYLIB", lib.clone())],
        }
    }
}
