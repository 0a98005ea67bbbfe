//! Where the threads of a worker stand: asked of Ruby, or taken from it.

use std::{sync::Arc, time::Duration};

use rackrs_ruby::{backtraces::last_resort, pool::Pool};
use rackrs_sys::process;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{scoreboard::Row, telemetry::events};

/// How long Ruby may take to answer before it counts as stuck itself. The master allows a second
/// for all of it.
const GENTLE_MAX: Duration = Duration::from_millis(400);

/// How long threads have to write their frames after the signal; it takes them microseconds.
const LAST_RESORT_MAX: Duration = Duration::from_millis(200);

/// How long a client of the master may wait for backtraces.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// What is needed to ask.
pub(super) struct Confession {
    pub(super) pool: Arc<Pool>,
    pub(super) row: Row,
    /// Where Ruby's answers come.
    pub(super) answers: mpsc::UnboundedReceiver<String>,
}

impl Confession {
    /// Where every Ruby thread stands; `None` when the Ruby lock cannot be had.
    pub(super) async fn ask(&mut self) -> Option<String> {
        self.ask_within(ANSWER_MAX).await
    }

    /// Logs where every thread stands, whatever it takes; the process is killed afterwards.
    pub(super) async fn force(&mut self) {
        if let Some(text) = self.ask_within(GENTLE_MAX).await {
            events::complain_verbatim(&text);
            return;
        }
        events::complain(&format!(
            "the Ruby lock of worker process {} cannot be had; its threads stand here:",
            std::process::id()
        ));
        let main = nix::unistd::getpid().as_raw();
        for tid in self.row.threads().into_iter().chain([main]) {
            // A thread that has ended meanwhile stands nowhere.
            let _ = process::signal_thread(tid, last_resort::signal());
        }
        sleep(LAST_RESORT_MAX).await;
    }

    async fn ask_within(&mut self, limit: Duration) -> Option<String> {
        // An answer to an earlier question, which came too late.
        while self.answers.try_recv().is_ok() {}
        self.pool.ask_for_backtraces();
        timeout(limit, self.answers.recv()).await.ok().flatten()
    }
}
