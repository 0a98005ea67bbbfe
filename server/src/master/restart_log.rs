//! How the restarts of this master went, for the statistics and for those who wait for one.

use serde::{Deserialize, Serialize};

use super::fleet::RestartEnd;

/// Counted over the life of the master, whatever programs it was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RestartLog {
    pub(super) begun: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) last: Option<RestartEnd>,
}

impl RestartLog {
    pub(super) fn begin(&mut self) {
        self.begun += 1;
    }

    pub(super) fn end(&mut self, end: RestartEnd) {
        match &end.result {
            Ok(_) => self.succeeded += 1,
            Err(_) => self.failed += 1,
        }
        self.last = Some(end);
    }
}
