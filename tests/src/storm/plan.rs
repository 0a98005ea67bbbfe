//! What a storm does, made from its seed.

use std::{fmt, time::Duration};

use nix::sys::signal::Signal;

use super::dice::Dice;

/// Most gusts of one storm.
const GUSTS_MAX: u64 = 14;
/// The longest usual time before a gust, in milliseconds.
const PAUSE_MS_MAX: u64 = 150;
/// The longest time at all: a restart may be over by then.
const LONG_PAUSE_MS_MAX: u64 = 700;
/// The longest time that the application takes to load, in milliseconds.
const BOOT_MS_MAX: u64 = 200;
/// The longest time between the two signals of a stop in a hurry, in milliseconds.
const HURRY_MS_MAX: u64 = 60;

/// Signals at random moments.
#[derive(Clone, Debug)]
pub struct Storm {
    /// What it was made from.
    pub seed: u64,
    pub(super) workers: u64,
    /// Whether the server has log files, without which HUP stops it.
    pub(super) logs: bool,
    /// Whether processes are killed too, and requests may be lost with them.
    pub(super) kills: bool,
    /// How long its application takes to load.
    pub(super) boot: Duration,
    pub(super) gusts: Vec<Gust>,
    /// Whether the server is given the time to come to rest before it is stopped.
    pub(super) rests: bool,
    /// Before the first stop.
    pub(super) before_stop: Duration,
    pub(super) stop: Signal,
    /// A second signal, so long after the first.
    pub(super) hurry: Option<(Duration, Signal)>,
}

/// One thing done to the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gust {
    pub(super) after: Duration,
    pub(super) what: What,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Signal(Signal),
    /// The next code is put in place.
    Deploy(Code),
    /// One of the master's children gets KILL; which one, this number tells.
    Kill(u64),
}

/// How good the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Good,
    /// It raises as it loads.
    Raising,
    /// Its workers die as they boot.
    Dying,
}

const GUSTS: &[(u64, What)] = &[
    (34, What::Signal(Signal::SIGUSR2)),
    (14, What::Signal(Signal::SIGUSR1)),
    (14, What::Signal(Signal::SIGURG)),
    (8, What::Signal(Signal::SIGTTIN)),
    (8, What::Signal(Signal::SIGTTOU)),
    (5, What::Signal(Signal::SIGHUP)),
    (7, What::Signal(Signal::SIGPWR)),
    (4, What::Deploy(Code::Good)),
    (4, What::Deploy(Code::Raising)),
    (2, What::Deploy(Code::Dying)),
];

const STOPS: &[(u64, Signal)] = &[(2, Signal::SIGTERM), (1, Signal::SIGINT), (1, Signal::SIGQUIT)];

impl Storm {
    /// The storm of this number.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = 1 + dice.below(GUSTS_MAX);
        let kills = dice.once_in(4);
        Self {
            seed,
            workers: dice.below(4),
            logs: !dice.once_in(3),
            kills,
            boot: dice.time(BOOT_MS_MAX),
            gusts: (0..count).map(|_| gust(kills, &mut dice)).collect(),
            rests: dice.once_in(2),
            before_stop: pause(&mut dice),
            stop: dice.one_of(STOPS),
            hurry: dice.once_in(3).then(|| (dice.time(HURRY_MS_MAX), dice.one_of(STOPS))),
        }
    }
}

fn gust(kills: bool, dice: &mut Dice) -> Gust {
    let what = match dice.one_of(GUSTS) {
        // Who was killed could not be replaced where the code is bad.
        What::Deploy(_) if kills => What::Kill(dice.below(1000)),
        what @ (What::Signal(_) | What::Deploy(_) | What::Kill(_)) => what,
    };
    Gust { after: pause(dice), what }
}

fn pause(dice: &mut Dice) -> Duration {
    match dice.below(6) {
        // Together with the one before.
        0 => Duration::ZERO,
        1 => dice.time(LONG_PAUSE_MS_MAX),
        _ => dice.time(PAUSE_MS_MAX),
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, workers, logs, boot, gusts, rests, before_stop, stop, hurry, .. } = self;
        write!(to, "storm {seed}: -w {workers}, log files: {logs}, boot {boot:?};")?;
        for Gust { after, what } in gusts {
            match what {
                What::Signal(signal) => write!(to, " {after:?} {signal},")?,
                What::Kill(_) => write!(to, " {after:?} KILL to a child,")?,
                What::Deploy(code) => write!(to, " {after:?} {code:?} code,")?,
            }
        }
        write!(to, " rest: {rests}, {before_stop:?} {stop}")?;
        match hurry {
            Some((after, signal)) => write!(to, ", {after:?} {signal}"),
            None => Ok(()),
        }
    }
}
