//! Puma's state file: where the master's pid and control socket are told, for `rackrsctl -S`.

use std::{
    fs::{self, Permissions},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use crate::config::Config;

/// Readable for everybody, as Puma's is: it holds no secret.
const MODE: u32 = 0o644;

/// So much of one that may be another's is looked at.
const BYTES_MAX: u64 = 64 * 1024;

/// Why there is no state file, or why it stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateFileError {
    /// It cannot be written.
    #[error("cannot write the state file {path}; check its directory", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It cannot be removed.
    #[error("cannot remove the state file {path}", path = path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Writes it, in Puma's form and order, and puts it in its place in one step.
pub(super) fn write(path: &Path, config: &Config) -> Result<(), StateFileError> {
    replace(path, &text(std::process::id(), config))
        .map_err(|source| StateFileError::Write { path: path.to_owned(), source })
}

/// By a temporary file beside it and rename(2): no link is followed, no reader sees a half.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".rackrs-")
        .permissions(Permissions::from_mode(MODE))
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn text(pid: u32, config: &Config) -> String {
    // JSON's quotation is YAML's.
    let quoted = |path: &Path| serde_json::json!(path.to_string_lossy()).to_string();
    format!(
        "---\npid: {pid}\ncontrol_url: {}\ncontrol_auth_token: \nrunning_from: {}\n",
        url(&config.control),
        quoted(&config.directory)
    )
}

/// What `rackrsctl -C` takes, without the characters that have a meaning for YAML.
fn url(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~+,=@".contains(&byte);
    let encode = |&byte: &u8| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let path: String = path.as_os_str().as_bytes().iter().map(encode).collect();
    format!("unix://{path}")
}

/// Takes it away, if it is ours; one that is gone already is what is wanted.
pub(super) fn remove(path: &Path) -> Result<(), StateFileError> {
    if !is_ours(path) {
        return Ok(());
    }
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StateFileError::Remove { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Whether it names this process: another server may have written its own since.
fn is_ours(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let mut text = String::new();
    let read = |file: fs::File| file.take(BYTES_MAX).read_to_string(&mut text);
    is_file
        && fs::File::open(path).and_then(read).is_ok()
        && text.lines().any(|line| line == format!("pid: {}", std::process::id()))
}
