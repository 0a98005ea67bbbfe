//! What `rackrsctl` is told, and backtraces for it or for the log.

use std::{collections::HashMap, ops::ControlFlow, time::Duration};

use nix::unistd::Pid;
use rackrs_sys::process;
use tokio::sync::oneshot;

use super::{Announce, Command, Listening, Master, Outcome, StopEnding};
use crate::{
    control::{
        LastRestart, MoldStats, OldestRequest, Outcome as RestartOutcome, Reply, Request,
        RestartKind, Restarts, RunningRestart, ServerState, Stats, WorkerBacktraces, WorkerChange,
        WorkerStats,
    },
    master::{
        fleet::{Kind, RestartEnd, WorkerId, WorkerView, WorkersChange},
        mold_state,
        moment::Moment,
        worker_state::State,
    },
    telemetry::iso8601,
    wire::ToWorker,
};

/// How long workers may take to tell where their threads stand.
const BACKTRACES_MAX: Duration = Duration::from_secs(5);

impl<A: Announce> Master<'_, A> {
    pub(super) fn on_request(
        &mut self,
        request: &Request,
        client: oneshot::Sender<Reply>,
    ) -> ControlFlow<Outcome> {
        let done = |message: &str| Reply::Done { message: message.to_owned() };
        let (reply, command) = match request {
            Request::Status | Request::Stats => (Reply::Stats(Box::new(self.stats())), None),
            Request::Restart => return self.begin_restart(Kind::Full, client),
            Request::PhasedRestart => return self.begin_restart(Kind::Phased, client),
            Request::Refork => return self.begin_restart(Kind::Refork, client),
            Request::Stop => {
                (done("stopping"), Some(Command::Stop { ending: StopEnding::Success }))
            }
            Request::Halt => (done("halting"), Some(Command::Halt)),
            Request::ReloadLogs => (done("log files are open anew"), Some(Command::ReopenLogs)),
            Request::Workers(change) => return self.change_workers(*change, client),
            Request::Backtraces { worker } => {
                self.ask_for_backtraces(*worker, Some(client));
                return ControlFlow::Continue(());
            }
        };
        // A client that did not wait for its answer needs none.
        let _ = client.send(reply);
        command.map_or(ControlFlow::Continue(()), |command| self.on_command(command))
    }

    fn begin_restart(
        &mut self,
        kind: Kind,
        client: oneshot::Sender<Reply>,
    ) -> ControlFlow<Outcome> {
        let (begun, next) = self.ask_for_restart(kind);
        let reply = match begun {
            Some((ticket, queued)) => Reply::Restarting { ticket, queued },
            None => Reply::Refused { reason: "the server is stopping".to_owned() },
        };
        // A client that did not wait for its answer needs none.
        let _ = client.send(reply);
        next
    }

    fn change_workers(
        &mut self,
        change: WorkerChange,
        client: oneshot::Sender<Reply>,
    ) -> ControlFlow<Outcome> {
        let most = crate::config::WORKERS_MAX;
        let count = self.fleet.slots_wanted();
        let (wanted, change) = match change {
            WorkerChange::Add(by) => (count.saturating_add(by), WorkersChange::More(by)),
            WorkerChange::Remove(by) => {
                let least = 1;
                (count.saturating_sub(by).max(least), WorkersChange::Fewer { by, least })
            }
            WorkerChange::Set(wanted) => (wanted, WorkersChange::Exactly(wanted)),
        };
        let refusal = if self.fleet.is_stopping() {
            Some("the server is stopping".to_owned())
        } else if wanted == 0 || wanted > most {
            Some(format!("the number of workers must be from 1 to {most}"))
        } else {
            None
        };
        let next = match refusal {
            Some(_) => ControlFlow::Continue(()),
            None => self.on_command(Command::Workers(change)),
        };
        let reply = match refusal {
            Some(reason) => Reply::Refused { reason },
            None => Reply::Done { message: format!("workers: {}", self.fleet.slots_wanted()) },
        };
        // A client that did not wait for its answer needs none.
        let _ = client.send(reply);
        next
    }

    /// Asks the workers that serve, or the one of `slot`, where their threads stand; without a
    /// client the answers go to the log.
    pub(super) fn ask_for_backtraces(
        &mut self,
        slot: Option<u16>,
        client: Option<oneshot::Sender<Reply>>,
    ) {
        let asked: HashMap<WorkerId, (u16, i32)> = self
            .fleet
            .workers()
            .filter(|(_, view)| slot.is_none_or(|slot| slot == view.slot))
            .filter_map(|(id, view)| match view.state {
                State::Ready { pid, .. } | State::Draining { pid, .. } => {
                    Some((id, (view.slot, pid)))
                }
                State::Waiting { .. } | State::Forking { .. } | State::Booting { .. } => None,
                State::Confessing { .. } | State::Killing { .. } => None,
                State::Unwanted { .. } | State::Gone => None,
            })
            .collect();
        if let (true, Some(slot)) = (asked.is_empty(), slot) {
            if let Some(client) = client {
                let reason = format!("no worker serves in slot {slot}");
                // A client that did not wait for its answer needs none.
                let _ = client.send(Reply::Refused { reason });
            }
            return;
        }
        for worker in asked.keys() {
            self.tell_worker(*worker, &ToWorker::Backtraces);
        }
        let deadline = Moment::now() + BACKTRACES_MAX;
        self.listening.push(Listening { missing: asked, texts: Vec::new(), client, deadline });
        self.finish_listening();
    }

    pub(super) fn heard_backtraces(&mut self, worker: WorkerId, text: String) {
        let waiting =
            self.listening.iter_mut().find(|listening| listening.missing.contains_key(&worker));
        if let Some(listening) = waiting
            && let Some((slot, pid)) = listening.missing.remove(&worker)
        {
            if listening.client.is_none() {
                self.events.backtraces(slot, pid, &text);
            }
            listening.texts.push(WorkerBacktraces { slot, pid, text });
        }
        self.finish_listening();
    }

    pub(super) fn forget_listening_to(&mut self, worker: WorkerId) {
        for listening in &mut self.listening {
            listening.missing.remove(&worker);
        }
        self.finish_listening();
    }

    /// Workers that have not answered by now do not answer.
    pub(super) fn give_up_listening(&mut self, now: Moment) {
        for listening in &mut self.listening {
            if listening.deadline <= now {
                for (_, (slot, pid)) in listening.missing.drain() {
                    let text = "(it did not answer: its Ruby lock could not be had)".to_owned();
                    if listening.client.is_none() {
                        self.events.backtraces(slot, pid, &text);
                    }
                    listening.texts.push(WorkerBacktraces { slot, pid, text });
                }
            }
        }
        self.finish_listening();
    }

    fn finish_listening(&mut self) {
        for mut listening in self.listening.extract_if(.., |listening| listening.missing.is_empty())
        {
            listening.texts.sort_by_key(|worker| worker.slot);
            if let Some(client) = listening.client {
                // A client that did not wait for its answer needs none.
                let _ = client.send(Reply::Backtraces { workers: listening.texts });
            }
        }
    }

    fn stats(&self) -> Stats {
        let fleet = &self.fleet;
        let state = if fleet.is_stopping() {
            ServerState::Stopping
        } else if !fleet.has_served() {
            ServerState::Starting
        } else if fleet.restart().is_some() {
            ServerState::Restarting
        } else {
            ServerState::Serving
        };
        let now = Moment::now();
        let mut workers: Vec<WorkerStats> =
            fleet.workers().map(|(id, view)| self.worker_stats(id, view, now)).collect();
        workers.sort_by_key(|worker| worker.slot);
        Stats {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id().cast_signed(),
            started_at: iso8601(self.started),
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs_f64(),
            state,
            generation: fleet.serving(),
            workers_wanted: fleet.slots_wanted(),
            queued_restart: fleet.queued_restart().is_some(),
            restarts: self.restart_stats(now),
            listeners: self.listeners.addresses().map(|(address, _)| address.to_string()).collect(),
            pid_file: self.config().pid_file.clone(),
            molds: self.mold_stats(now),
            workers,
        }
    }

    fn restart_stats(&self, now: Moment) -> Restarts {
        let running = self.fleet.restart().map(|restart| RunningRestart {
            ticket: restart.ticket,
            kind: kind_word(restart.kind),
            stage: restart.stage_name().to_owned(),
            seconds: now.since(restart.began).as_secs_f64(),
        });
        let last = self.restarts.last.as_ref().map(|RestartEnd { ticket, kind, took, result }| {
            LastRestart {
                ticket: *ticket,
                kind: kind_word(*kind),
                outcome: match result {
                    Ok(_) => RestartOutcome::Succeeded,
                    Err(_) => RestartOutcome::Failed,
                },
                reason: result.as_ref().err().map(|failure| failure.reason.clone()),
                seconds: took.as_secs_f64(),
            }
        });
        Restarts {
            begun: self.restarts.begun,
            succeeded: self.restarts.succeeded,
            failed: self.restarts.failed,
            running,
            last,
        }
    }

    fn mold_stats(&self, now: Moment) -> Vec<MoldStats> {
        let stats = |(generation, state)| {
            let mold = self.children.molds.get(&generation);
            MoldStats {
                generation,
                pid: mold.map(|mold| mold.pid),
                state: mold_word(state).to_owned(),
                seconds: mold.map_or(0.0, |mold| now.since(mold.started).as_secs_f64()),
            }
        };
        self.fleet.molds().map(stats).collect()
    }

    fn worker_stats(&self, id: WorkerId, view: WorkerView, now: Moment) -> WorkerStats {
        let mut stats = WorkerStats {
            slot: view.slot,
            generation: view.generation,
            state: worker_word(view.state).to_owned(),
            ..WorkerStats::default()
        };
        let Some(worker) = self.children.workers.get(&id) else { return stats };
        stats.pid = worker.pid;
        stats.uptime_seconds = now.since(worker.asked).as_secs_f64();
        let memory = |pid| process::resident_bytes(Pid::from_raw(pid)).ok();
        stats.rss_bytes = worker.pid.and_then(memory);
        let Some(row) = self.children.rows.get(worker.row) else { return stats };
        let load = row.load();
        stats.connections = load.connections;
        stats.requests = load.requests;
        stats.threads = load.threads;
        stats.busy_threads = load.busy;
        stats.queue = load.queue;
        let age = |ms: u64| (ms > 0).then(|| now.since(Moment::from_ms(ms)).as_secs_f64());
        stats.oldest_request = row.in_hand().into_iter().next().map(|request| OldestRequest {
            seconds: age(request.began_ms).unwrap_or_default(),
            line: request.line,
        });
        stats.gvl_wait_seconds = row.gvl_wait().as_secs_f64();
        stats.io_beat_age_seconds = age(row.io_beat_ms());
        stats.ruby_beat_age_seconds = age(row.ruby_beat_ms());
        stats
    }
}

fn kind_word(kind: Kind) -> RestartKind {
    match kind {
        Kind::Full => RestartKind::Restart,
        Kind::Phased => RestartKind::PhasedRestart,
        Kind::Refork => RestartKind::Refork,
    }
}

fn mold_word(state: mold_state::State) -> &'static str {
    match state {
        mold_state::State::Absent { .. } => "absent",
        mold_state::State::Loading { .. } => "loading",
        mold_state::State::Promoting { .. } => "promoting",
        mold_state::State::Ready { .. } => "ready",
        mold_state::State::Killing { .. } => "killing",
        mold_state::State::Leaving { .. } => "leaving",
        mold_state::State::Gone => "gone",
    }
}

fn worker_word(state: State) -> &'static str {
    match state {
        State::Waiting { .. } => "waiting",
        State::Forking { .. } | State::Unwanted { .. } => "forking",
        State::Booting { .. } => "booting",
        State::Ready { .. } => "ready",
        State::Draining { .. } => "draining",
        State::Confessing { .. } => "stuck",
        State::Killing { .. } => "killing",
        State::Gone => "gone",
    }
}
