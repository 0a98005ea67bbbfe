//! The release that a server finds when it boots.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The file `release` in the server's folder, which `tests/apps/release.ru` reads at boot.
///
/// A marker is a number, one more with each release.
#[derive(Clone, Debug)]
pub struct Release {
    file: PathBuf,
}

/// The marker of the release a server is started with.
pub(super) const FIRST: u32 = 1;

impl Release {
    /// The release in the folder of a server that is about to be started, at its first marker.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn first(folder: &Path) -> io::Result<Self> {
        let release = Self { file: folder.join("release") };
        release.publish(FIRST)?;
        Ok(release)
    }

    /// Puts the next release in place, whole at any time.
    pub(super) fn publish(&self, marker: u32) -> io::Result<()> {
        let next = self.file.with_extension("next");
        fs::write(&next, marker.to_string())?;
        fs::rename(next, &self.file)
    }
}
