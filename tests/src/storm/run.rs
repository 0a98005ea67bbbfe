//! Lets a storm blow over a server, and looks at what is left.

use std::{
    fs::{self, File},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    client::{Client, Demand},
    plan::{Code, Gust, Storm, What},
};
use crate::{
    Finished, PATIENCE, ServerBuilder, binary,
    patience::{pass, within_limit},
    process, release,
};

/// The longest that a server may take to come to rest: several restarts may have been asked for.
const REST_MAX: Duration = Duration::from_mins(1);

/// Looks in a row in which it must be at rest.
const RESTING_LOOKS: u32 = 3;

/// What became of a server in a storm.
#[derive(Clone, Debug, Default)]
pub struct Weathered {
    /// Answers to its client.
    pub answers: u64,
    /// Restarts begun, as far as it was asked.
    pub restarts: u64,
    /// Of those, how many left the old code serving.
    pub restarts_failed: u64,
    /// It was ended by a signal before it could hear any, or by HUP without log files.
    pub ended_early: bool,
    /// How long it took to come to rest, if it was given the time.
    pub rest: Option<Duration>,
    /// How long it took to end.
    pub end: Duration,
}

impl Storm {
    /// Starts a server and does to it what is planned. Until it is told to stop it serves, and
    /// loses nothing; given the time, it comes to rest with as many workers as are wanted and one
    /// mold; after the stop it ends within [`PATIENCE`], and leaves no process, no socket, no pid
    /// file.
    ///
    /// # Errors
    ///
    /// When something of this does not hold, with the log of the server.
    pub fn blow(&self) -> anyhow::Result<Weathered> {
        let builder = self.builder();
        let guard = builder.guard();
        let result = self.blow_over(&builder);
        drop(guard);
        result.with_context(|| format!("{self}\n--- log\n{}---", log(&builder)))
    }

    fn builder(&self) -> ServerBuilder {
        let builder = ServerBuilder::of_source(&self.source(Code::Good))
            .args(&format!("-w {} --worker-shutdown-timeout 5", self.workers));
        if !self.logs {
            return builder;
        }
        let (out, err) = (builder.path("out.log"), builder.path("err.log"));
        builder.arg("--redirect-stdout").arg(out).arg("--redirect-stderr").arg(err)
    }

    fn source(&self, code: Code) -> String {
        let boot = format!("sleep {}", self.boot.as_secs_f64());
        let more = match code {
            Code::Good => "",
            Code::Raising => "\nraise 'a storm'",
            Code::Dying => "\nRackrs.before_worker_boot { exit! 3 }",
        };
        release("storm", &format!("{boot}{more}"))
    }

    fn blow_over(&self, builder: &ServerBuilder) -> anyhow::Result<Weathered> {
        let demand = if self.kills { Demand::Connection } else { Demand::Answer };
        let mut ship = Ship::launch(builder, demand)?;
        let mut weathered = Weathered::default();
        for gust in &self.gusts {
            self.apply(gust, &mut ship)?;
        }
        if self.rests && !ship.may_have_ended {
            let begin = Instant::now();
            ship.come_to_rest(&mut weathered)?;
            weathered.rest = Some(begin.elapsed());
        }
        pass(self.before_stop);
        ship.check_afloat()?;
        ship.client.may_lose();
        ship.signal(self.stop);
        if let Some((after, signal)) = self.hurry {
            pass(after);
            ship.signal(signal);
        }
        weathered.ended_early = ship.may_have_ended;
        ship.go_down(&mut weathered)?;
        Ok(weathered)
    }

    fn apply(&self, gust: &Gust, ship: &mut Ship<'_>) -> anyhow::Result<()> {
        pass(gust.after);
        match gust.what {
            // A start with bad code, or without its mold, fails, which is no news.
            What::Deploy(_) | What::Kill(_) if !log(ship.builder).contains("Use Ctrl-C") => {}
            What::Deploy(code) => {
                let (next, file) = (ship.builder.path("next"), ship.builder.path("config.ru"));
                fs::write(&next, self.source(code)).and_then(|()| fs::rename(next, file))?;
            }
            What::Kill(number) => {
                let mut children = process::children(ship.pid());
                children.sort_unstable();
                let which = usize::try_from(number).unwrap_or(0).checked_rem(children.len());
                if let Some(which) = which {
                    process::send_if_alive(children[which], Signal::SIGKILL);
                }
            }
            What::Signal(signal) => {
                let is_stop = signal == Signal::SIGHUP && !self.logs;
                let is_deaf = !log(ship.builder).contains("rackrs starting");
                if is_deaf && matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU) {
                    // The kernel would stop a program that has not begun yet, for ever.
                    return Ok(());
                }
                if is_stop || is_deaf {
                    ship.may_have_ended = true;
                    ship.client.may_lose();
                }
                ship.signal(signal);
            }
        }
        ship.check_afloat()
    }
}

/// Everything that the server has written.
fn log(builder: &ServerBuilder) -> String {
    let texts = ["log", "out.log", "err.log"].map(|name| fs::read(builder.path(name)));
    texts.into_iter().flatten().map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
}

/// The server in the storm.
struct Ship<'a> {
    builder: &'a ServerBuilder,
    child: Child,
    client: Client,
    may_have_ended: bool,
}

impl<'a> Ship<'a> {
    fn launch(builder: &'a ServerBuilder, demand: Demand) -> anyhow::Result<Self> {
        let log = File::create(builder.path("log"))?;
        let mut command = builder.command();
        command.stdin(Stdio::null()).stderr(log.try_clone()?).stdout(log);
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let client = Client::start(builder.socket(), demand);
        Ok(Self { builder, child, client, may_have_ended: false })
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// It is our child and was not waited for, so the pid is its own.
    fn signal(&mut self, signal: Signal) {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::send_if_alive(self.pid(), signal);
        }
    }

    fn check_afloat(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) if !self.may_have_ended => bail!("the server ended with {status}"),
            Some(_) | None => Ok(()),
        }
    }

    fn come_to_rest(&mut self, weathered: &mut Weathered) -> anyhow::Result<()> {
        let (mut last, mut looks) = (Value::Null, 0);
        let rested = within_limit(REST_MAX, || {
            if let Err(error) = self.check_afloat() {
                return Some(Err(error));
            }
            last = self.stats()?;
            // A signal may be on its way to a server that rests still.
            looks = if self.is_at_rest(&last) { looks + 1 } else { 0 };
            (looks == RESTING_LOOKS).then_some(Ok(()))
        });
        let children = process::children(self.pid());
        let Some(rested) = rested else { bail!("no rest with the children {children:?}: {last}") };
        rested?;
        let count = |name: &str| last["restarts"][name].as_u64().unwrap_or(0);
        weathered.restarts = count("begun");
        weathered.restarts_failed = count("failed");
        let pid = fs::read_to_string(self.builder.pid_file()).context("no pid file at rest")?;
        if pid.trim() != self.pid().to_string() {
            bail!("the pid file names {pid:?} at rest");
        }
        Ok(())
    }

    /// As it says itself, and with no process too many.
    fn is_at_rest(&self, stats: &Value) -> bool {
        let workers =
            stats["workers_wanted"].as_u64().and_then(|count| usize::try_from(count).ok());
        says_that_it_rests(stats)
            && process::zombies(self.pid()).is_empty()
            && workers.is_some_and(|workers| process::children(self.pid()).len() == workers + 1)
    }

    /// What `rackrsctl stats` says; nothing before there is a control socket.
    fn stats(&self) -> Option<Value> {
        let mut command = std::process::Command::new(binary().with_file_name("rackrsctl"));
        command.arg("--pidfile").arg(self.builder.pid_file()).arg("stats");
        let told = Finished::of(&mut command, self.builder.folder());
        serde_json::from_str(&told.out).ok()
    }

    fn go_down(mut self, weathered: &mut Weathered) -> anyhow::Result<()> {
        let begin = Instant::now();
        let ended = within_limit(PATIENCE, || self.child.try_wait().ok().flatten());
        weathered.end = begin.elapsed();
        ended.context("the server did not end")?;
        weathered.answers = self.client.finish()?;
        let folder = self.builder.folder();
        if within_limit(PATIENCE, || process::living_in(folder).is_empty().then_some(())).is_none()
        {
            let left = process::living_in(folder);
            let titles: Vec<_> = left.iter().map(|&pid| (pid, process::title(pid))).collect();
            bail!("processes were left: {titles:?}");
        }
        // Log and source are ours.
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("web.") {
                bail!("{name} was left");
            }
        }
        Ok(())
    }
}

fn says_that_it_rests(stats: &Value) -> bool {
    let count = |list: &str, state: &str| {
        let all = stats[list].as_array().map_or(&[][..], Vec::as_slice);
        let fitting = all.iter().filter(|one| one["state"] == state).count();
        (fitting, all.len())
    };
    let wanted = stats["workers_wanted"].as_u64().and_then(|count| usize::try_from(count).ok());
    stats["state"] == "serving"
        && stats["queued_restart"] == false
        && wanted.is_some_and(|wanted| count("workers", "ready") == (wanted, wanted))
        && count("molds", "ready") == (1, 1)
}
