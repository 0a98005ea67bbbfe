//! File names that another user of a shared directory cannot guess.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    process,
};

/// How often a taken name is replaced by another before the error is believed.
pub(crate) const ATTEMPTS_MAX: u32 = 16;

/// `.rackrs-<16 hex digits>-<pid>`: hidden, short enough for any file system.
///
/// The digits come from the hasher's keys, which the standard library takes from the kernel's
/// random source. The pid keeps apart processes that were forked from one another and share the
/// keys; the caller must still open with `O_EXCL`.
pub(crate) fn file_name() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!(".rackrs-{random:016x}-{}", process::id())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_differ() {
        assert_ne!(file_name(), file_name());
    }
}
