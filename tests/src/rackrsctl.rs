//! The server of a test, asked and told through `rackrsctl`.

use std::process::Command;

use serde_json::Value;

use crate::{Finished, Server, binary};

impl Server {
    /// Runs `rackrsctl` for this server with these words, separated by blanks.
    #[must_use]
    pub fn rackrsctl(&self, words: &str) -> Finished {
        let mut command = Command::new(binary().with_file_name("rackrsctl"));
        command.arg("--pidfile").arg(self.pid_file()).args(words.split_whitespace());
        Finished::of(&mut command, &self.path(""))
    }

    /// What `rackrsctl stats` tells.
    #[must_use]
    pub fn stats(&self) -> Value {
        let told = self.rackrsctl("stats");
        told.assert_success();
        serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("{error} in {told}"))
    }

    /// The pids of the workers that serve, as the statistics tell, in order of their slots.
    #[must_use]
    pub fn workers(&self) -> Vec<i32> {
        let stats = self.stats();
        let workers = stats["workers"].as_array().expect("a list of workers");
        let ready = workers.iter().filter(|worker| worker["state"] == "ready");
        let pid = |worker: &Value| worker["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        ready.map(|worker| pid(worker).expect("a worker that serves has a pid")).collect()
    }
}
