//! `storms`: lets storms of signals blow over rackrs, and tells what they did to it.

use std::{
    io::{Write, stdout},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Arg, Command, value_parser};
use rackrs_tests::storm::{Storm, Weathered, flood};

/// A stop or a rest that takes longer is told.
const SLOW: Duration = Duration::from_secs(2);

fn command() -> Command {
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").help(help).value_parser(value_parser!(u64))
    };
    Command::new("storms")
        .about("Sends signals at random moments to rackrs and looks at what is left")
        .arg(number("runs", "How many storms").default_value("100"))
        .arg(number("seed", "The number of the first one; without it, one by chance"))
        .arg(number("floods", "How many times 50 restarts in two seconds").default_value("2"))
}

/// What all storms were like together.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    faults: u64,
    answers: u64,
    restarts: u64,
    restarts_failed: u64,
    rested: u64,
    ended_early: u64,
    longest_rest: Duration,
    longest_end: Duration,
}

impl Sum {
    fn add(&mut self, one: &Weathered) {
        self.answers += one.answers;
        self.restarts += one.restarts;
        self.restarts_failed += one.restarts_failed;
        self.rested += u64::from(one.rest.is_some());
        self.ended_early += u64::from(one.ended_early);
        self.longest_rest = self.longest_rest.max(one.rest.unwrap_or_default());
        self.longest_end = self.longest_end.max(one.end);
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runs, faults, answers, restarts, restarts_failed, rested, ended_early, .. } =
            self;
        write!(
            to,
            "{runs} storms, {faults} faults; {answers} answers, none missing elsewhere; {rested} \
             came to rest (longest {:.2} s) after {restarts} restarts, {restarts_failed} of bad \
             code; {ended_early} could end before the stop; longest stop {:.2} s",
            self.longest_rest.as_secs_f64(),
            self.longest_end.as_secs_f64(),
        )
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = command().get_matches();
    let number = |name: &str| arguments.get_one::<u64>(name).copied();
    let by_chance = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos())
    };
    let seed = number("seed").unwrap_or_else(by_chance);
    let runs = number("runs").expect("clap gives a default");
    writeln!(stdout(), "seeds from {seed}")?;
    let mut sum = Sum::default();
    for seed in (seed..).take(usize::try_from(runs)?) {
        match Storm::of_seed(seed).blow() {
            Ok(weathered) => {
                sum.add(&weathered);
                if weathered.end > SLOW || weathered.rest.is_some_and(|rest| rest > SLOW) {
                    writeln!(stdout(), "slow: {}\n  {weathered:?}", Storm::of_seed(seed))?;
                }
            }
            Err(error) => {
                sum.faults += 1;
                writeln!(stdout(), "FAULT {error:?}")?;
            }
        }
        sum.runs += 1;
        if sum.runs.is_multiple_of(50) {
            writeln!(stdout(), "{sum}")?;
        }
    }
    writeln!(stdout(), "{sum}")?;
    for flags in ["", "-w 2"].iter().cycle().take(usize::try_from(number("floods").unwrap_or(0))?) {
        writeln!(stdout(), "flood {flags}: {:?}", flood(flags))?;
    }
    Ok(ExitCode::from(u8::from(sum.faults > 0)))
}
