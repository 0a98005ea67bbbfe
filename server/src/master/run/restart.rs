//! Proving a new program, and becoming it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    ops::ControlFlow,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
    time::UNIX_EPOCH,
};

use rackrs_sys::exec::Exec;

use super::{Announce, Event, Master, Outcome};
use crate::{
    config::Config,
    master::{
        command::{self, Command},
        fleet::{RestartEnd, Ticket},
        handover::{
            self, ListenerRecord, MoldRecord, PidFileRecord, Record, SocketRecord, WorkerRecord,
        },
        program,
        proof::{self, Answer, Proof},
        site,
    },
    telemetry::chain,
    wire::{AsyncChannel, Failure, ToMold},
};

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

impl<A: Announce> Master<'_, A> {
    /// Has the new program show in a child that it can take over.
    pub(super) fn prove(&mut self) -> ControlFlow<Outcome> {
        match self.start_proof() {
            Ok((proof, channel)) => {
                self.proof = Some(proof);
                let ticket = self.fleet.restart().map_or(0, |restart| restart.ticket);
                let sender = self.verdict_sender.clone();
                tokio::task::spawn_local(async move {
                    let answer = proof::answer(channel).await;
                    // A master that ends does not listen.
                    let _ = sender.send((ticket, answer)).await;
                });
                ControlFlow::Continue(())
            }
            Err(reason) => self.apply(Event::NotProved(Failure { reason, status: EX_OSERR })),
        }
    }

    fn start_proof(&mut self) -> Result<(Proof, AsyncChannel), String> {
        let environment = program::fresh_environment(&self.invocation.directory);
        let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path);
        let file = self.invocation.find(path.map(OsString::as_os_str)).map_err(|error| {
            let program = self.invocation.program();
            format!("cannot restart: there is no program {}: {error}", program.display())
        })?;
        let record = self
            .record(Vec::new())
            .write()
            .map_err(|error| format!("cannot restart: no memory for the handover: {error}"))?;
        let proof = Proof::start(&file, self.invocation, environment, record.as_fd())
            .map_err(|error| chain(&error));
        self.program = Some(file);
        proof
    }

    pub(super) fn on_answer(&mut self, ticket: Ticket, answer: Answer) -> ControlFlow<Outcome> {
        // An answer that comes after the limit is of a proof that was given up.
        if self.fleet.restart().map(|restart| restart.ticket) != Some(ticket) {
            return ControlFlow::Continue(());
        }
        self.proof = None;
        match answer {
            Answer::Yes { version } => {
                self.events.restart_proved(&version);
                self.apply(Event::Proved)
            }
            Answer::No(failure) => {
                let reason = format!("the new program cannot take over: {}", failure.reason);
                self.apply(Event::NotProved(Failure { reason, ..failure }))
            }
        }
    }

    /// Becomes the new program; returns only when that fails.
    ///
    /// From the first line on, signals wait: those that have arrived are handed over, later ones
    /// the kernel keeps. What children have said is handled here; what they say meanwhile stays in
    /// their channels.
    pub(super) async fn become_new_program(&mut self) -> ControlFlow<Outcome> {
        if let Err(error) = command::hold_signals() {
            self.events.error(&error);
        }
        self.answer_clients().await?;
        // Last, because whatever else is waited for gives children the time to say something.
        loop {
            while let Ok(report) = self.reports.try_recv() {
                self.on_report(report)?;
            }
            tokio::task::yield_now().await;
            if self.reports.is_empty() {
                break;
            }
        }
        for report in self.children.first_words() {
            self.on_report(report)?;
        }
        let commands: Vec<Command> = self.commands.take_pending();
        let reason = match self.fleet.restart() {
            Some(_) => self.execute(&commands),
            None => "the restart was given up".to_owned(),
        };
        self.commands.put_back(commands);
        self.serve_clients();
        if let Err(error) = command::release_signals() {
            self.events.error(&error);
        }
        let failure = Failure { reason: format!("cannot restart: {reason}"), status: EX_OSERR };
        self.apply(Event::NotProved(failure))
    }

    /// Clients that were accepted get their answers first; the next program accepts the others.
    async fn answer_clients(&mut self) -> ControlFlow<Outcome> {
        let Some(mut control) = self.control.take() else { return ControlFlow::Continue(()) };
        control.pause();
        let mut settled = Box::pin(control.settle());
        loop {
            tokio::select! {
                Some((request, client)) = self.asked.recv() => self.on_request(&request, client)?,
                () = &mut settled => break,
            }
        }
        drop(settled);
        self.control = Some(control);
        ControlFlow::Continue(())
    }

    /// Says why it failed.
    fn execute(&self, commands: &[Command]) -> String {
        let mut environment = program::fresh_environment(&self.invocation.directory);
        let Some(file) = &self.program else { return "no program was proved".to_owned() };
        let record = match self.record(commands.to_vec()).write() {
            Ok(record) => record,
            Err(error) => return error.to_string(),
        };
        self.manager.hand_over(&mut environment);
        environment.push((handover::VARIABLE.into(), handover::variable(record.as_fd()).into()));
        let mut exec = Exec::new(file, self.invocation.arguments.clone())
            .environment(environment)
            .directory(&self.invocation.directory)
            .keep(record.as_fd())
            .keep(self.children.rows.board().as_fd());
        for listener in self.listeners.all() {
            exec = exec.keep(listener);
        }
        if let Some(control) = &self.control {
            exec = exec.keep(control.listener().as_fd());
        }
        if let Some(pid_file) = self.announce.pid_file() {
            exec = exec.keep(pid_file.as_fd());
        }
        for mold in self.children.molds.values() {
            let former = mold.former.as_ref().map(|former| former.channel.as_fd());
            let channel = mold.channel.as_ref().map(|channel| channel.as_fd());
            for channel in channel.into_iter().chain(former) {
                exec = exec.keep(channel);
            }
        }
        for worker in self.children.workers.values() {
            exec = exec.keep(worker.channel.as_fd());
        }
        chain(&exec.run())
    }

    /// Everything that the next program must know.
    fn record(&self, commands: Vec<Command>) -> Record {
        let configs: BTreeMap<_, Config> =
            self.configs.iter().map(|(number, config)| (*number, Config::clone(config))).collect();
        let listeners: Vec<ListenerRecord> = self.listeners.records();
        Record {
            version: Record::version(),
            fleet: self.fleet.clone(),
            configs,
            births: self.children.births,
            molds: self.mold_records(),
            workers: self.worker_records(),
            board: self.children.rows.board().as_fd().as_raw_fd(),
            listeners,
            pid_file: self.announce.pid_file().map(|file| PidFileRecord {
                fd: file.as_fd().as_raw_fd(),
                path: file.path().to_owned(),
            }),
            control: self.control.as_ref().map(|server| SocketRecord::of(server.listener())),
            restarts: self.restarts.clone(),
            started_at: self.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            commands,
            ending: self.ending,
        }
    }

    fn mold_records(&self) -> Vec<MoldRecord> {
        let molds = self.children.molds.iter();
        molds
            .map(|(generation, mold)| MoldRecord {
                generation: *generation,
                birth: mold.birth,
                pid: mold.pid,
                channel: mold.channel.as_ref().map(|channel| channel.as_fd().as_raw_fd()),
                started: mold.started,
                former: mold
                    .former
                    .as_ref()
                    .map(|former| (former.channel.as_fd().as_raw_fd(), former.row)),
                failure: mold.failure.clone(),
            })
            .collect()
    }

    fn worker_records(&self) -> Vec<WorkerRecord> {
        let workers = self.children.workers.iter();
        workers
            .map(|(id, worker)| WorkerRecord {
                id: *id,
                birth: worker.birth,
                slot: worker.slot,
                generation: worker.generation,
                pid: worker.pid,
                channel: worker.channel.as_fd().as_raw_fd(),
                asked: worker.asked,
                row: worker.row,
                failure: worker.failure.clone(),
            })
            .collect()
    }

    /// In the new program: brings the generation of its configuration, or says why that cannot be.
    pub(in crate::master) fn take_over(
        &mut self,
        config: Result<Rc<Config>, Failure>,
    ) -> ControlFlow<Outcome> {
        self.events.taken_over(self.children.workers.len());
        let prepared = config.and_then(|config| {
            self.listeners
                .ensure(&config)
                .map(|()| config)
                .map_err(|error| Failure { reason: chain(&error), status: error.exit_code() })
        });
        match prepared {
            Ok(config) => {
                let plan = site::plan(&config, config.workers.max(1));
                self.next_config = Some(config);
                let mut actions = Vec::new();
                self.fleet.become_done(plan, super::Moment::now(), &mut actions);
                self.carry_all_out(actions)
            }
            Err(failure) => self.apply(Event::NotProved(failure)),
        }
    }

    pub(super) fn restart_ended(&mut self, end: RestartEnd) {
        let RestartEnd { ticket, kind, took, result } = &end;
        match result {
            Ok(generation) => {
                self.events.restart_succeeded(kind.name(), *ticket, *generation, *took);
                self.tell_mold(*generation, &ToMold::Booted);
            }
            Err(failure) => {
                self.events.restart_failed(kind.name(), *ticket, &failure.reason, *took);
            }
        }
        let is_success = result.is_ok();
        self.restarts.end(end);
        self.next_config = None;
        if self.fleet.is_stopping() {
            return;
        }
        let config = Rc::clone(self.config());
        self.listeners.keep_only(&config);
        if is_success {
            self.announce.restarted(&config);
        }
        self.manager.ready(self.fleet.slots_wanted());
    }
}
