//! Looking at the workers once a second: who is stuck, who is used up, who may become the mold.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    ops::ControlFlow,
    rc::Rc,
};

use nix::unistd::Pid;
use rackrs_sys::process;

use super::{Announce, Event, Master, Outcome};
use crate::{
    config::Upkeep,
    master::{
        fleet::{Kind, WorkerId, WorkerView},
        moment::Moment,
        watch::{self, Bounds, Seen, Verdict, Worn},
        worker_state::{self, State},
    },
    scoreboard::Row,
};

impl<A: Announce> Master<'_, A> {
    /// Looks at every worker; what was before `gap` is not held against any.
    pub(super) fn look_at_workers(&mut self, gap: Moment, now: Moment) -> ControlFlow<Outcome> {
        let workers: Vec<(WorkerId, WorkerView)> = self.fleet.workers().collect();
        let mut requests_max = 0;
        for (id, view) in workers {
            let Some((pid, since)) = watched(view.state) else { continue };
            let Some(config) = self.configs.get(&view.generation).map(Rc::clone) else { continue };
            let row = self.children.workers.get(&id).map(|worker| worker.row);
            let Some(row) = row.and_then(|row| self.children.rows.get(row)) else { continue };
            let seen = see(&row, pid, since.max(gap), &config.upkeep);
            if view.generation == self.fleet.serving() {
                requests_max = seen.requests.max(requests_max);
            }
            match watch::judge(&seen, &bounds(&config.upkeep, id, pid), now) {
                Verdict::Fine => {}
                Verdict::Stuck(why) => {
                    self.apply(Event::Worker(id, worker_state::Event::Stuck(why)))?;
                }
                Verdict::Worn(why) => self.recycle(id, view, pid, why)?,
            }
        }
        self.refork_when_warm(requests_max)
    }

    /// Puts another worker in the place of one that is used up; one at a time.
    fn recycle(
        &mut self,
        id: WorkerId,
        view: WorkerView,
        pid: i32,
        why: Worn,
    ) -> ControlFlow<Outcome> {
        let before = self.fleet.workers().count();
        self.apply(Event::Recycle(id))?;
        if self.fleet.workers().count() > before {
            self.events.worker_worn(view.slot, pid, &Reason(why));
        }
        ControlFlow::Continue(())
    }

    /// Puma's `fork_worker`: once in the life of a program's first generation.
    fn refork_when_warm(&mut self, requests: u64) -> ControlFlow<Outcome> {
        let is_due = self.config().upkeep.refork_after.is_some_and(|after| requests >= after);
        let is_first = self.restarts.last.as_ref().is_none_or(|end| end.kind != Kind::Refork);
        let is_free = self.fleet.restart().is_none() && self.fleet.has_served();
        if is_due && is_first && is_free && !self.fleet.is_stopping() {
            return self.ask_for_restart(Kind::Refork).1;
        }
        ControlFlow::Continue(())
    }
}

/// Workers of which signs of life are expected: the pid, and since when.
fn watched(state: State) -> Option<(i32, Moment)> {
    match state {
        State::Ready { pid, since, .. } => Some((pid, since)),
        State::Waiting { .. } | State::Forking { .. } | State::Booting { .. } => None,
        State::Draining { .. } | State::Confessing { .. } | State::Killing { .. } => None,
        State::Unwanted { .. } | State::Gone => None,
    }
}

fn see(row: &Row, pid: i32, watched: Moment, upkeep: &Upkeep) -> Seen {
    let pid = Pid::from_raw(pid);
    // A process that has ended meanwhile has no memory that could be too much.
    let wants_memory =
        upkeep.resident_bytes_max.is_some() || upkeep.proportional_bytes_max.is_some();
    let resident = wants_memory.then(|| process::resident_bytes(pid).ok()).flatten();
    // The share costs the kernel a walk over all pages, and is never more than the whole.
    let may_be_over = |limit: u64| resident.is_some_and(|bytes| bytes > limit);
    let proportional = upkeep
        .proportional_bytes_max
        .filter(|limit| may_be_over(*limit))
        .and_then(|_| process::proportional_bytes(pid).ok());
    Seen {
        watched,
        io_beat: Moment::from_ms(row.io_beat_ms()),
        ruby_beat: Moment::from_ms(row.ruby_beat_ms()),
        oldest: row.oldest_ms().map(Moment::from_ms),
        requests: row.load().requests,
        resident_bytes: resident,
        proportional_bytes: proportional,
    }
}

fn bounds(upkeep: &Upkeep, worker: WorkerId, pid: i32) -> Bounds {
    let jitter = match upkeep.requests_jitter {
        0 => 0,
        most => by_chance(worker, pid) % most.saturating_add(1),
    };
    Bounds {
        silence: upkeep.worker_timeout,
        request: upkeep.request_timeout,
        requests: upkeep.requests_max.map(|most| most.saturating_add(jitter)),
        resident_bytes: upkeep.resident_bytes_max,
        proportional_bytes: upkeep.proportional_bytes_max,
    }
}

/// A number that differs from process to process and stays the same for one, also over a restart
/// of the master.
fn by_chance(worker: WorkerId, pid: i32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (worker, pid).hash(&mut hasher);
    hasher.finish()
}

/// Why a worker is replaced, for the log.
struct Reason(Worn);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        match self.0 {
            Worn::Requests(count) => write!(f, "has served {count} requests (--max-requests)"),
            Worn::Resident(bytes) => {
                write!(f, "has {} MiB of resident memory (--worker-max-rss)", mib(bytes))
            }
            Worn::Proportional(bytes) => {
                write!(f, "has a share of {} MiB of memory (--worker-max-pss)", mib(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_differs_and_stays_within_its_bound() {
        let upkeep = Upkeep { requests_max: Some(100), requests_jitter: 10, ..Upkeep::default() };
        let limits: Vec<u64> = (1..50).filter_map(|pid| bounds(&upkeep, 1, pid).requests).collect();
        assert!(limits.iter().all(|limit| (100..=110).contains(limit)), "{limits:?}");
        assert!(limits.iter().any(|limit| *limit != limits[0]), "{limits:?}");
        assert_eq!(bounds(&upkeep, 1, 1), bounds(&upkeep, 1, 1));
    }
}
