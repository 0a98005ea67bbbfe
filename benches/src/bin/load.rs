//! `rackrs-load`: loads one HTTP/1.1 server over TCP or a Unix socket; prints the result as JSON.

use std::{
    io::{Write, stdout},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rackrs_benches::load::{Exchange, Plan, Reuse, Stop, Target, run};
use tokio::task::LocalSet;

fn command() -> Command {
    let number = |name: &'static str| Arg::new(name).long(name).value_name("N");
    Command::new("rackrs-load")
        .about("Loads one HTTP/1.1 server and checks every response; prints JSON")
        .arg(Arg::new("target").required(true).help("unix:PATH or HOST:PORT"))
        .arg(
            number("connections")
                .short('c')
                .default_value("16")
                .value_parser(value_parser!(u16).range(1..))
                .help("Connections at the same time, one request at a time on each"),
        )
        .arg(
            number("seconds")
                .short('s')
                .default_value("3")
                .value_parser(value_parser!(u64).range(1..=3600))
                .help("Length of the run"),
        )
        .arg(
            number("count")
                .short('n')
                .conflicts_with("seconds")
                .value_parser(value_parser!(u64).range(1..))
                .help("Requests, instead of a length of time"),
        )
        .arg(Arg::new("path").long("path").default_value("/").help("Request target"))
        .arg(Arg::new("method").long("method").default_value("GET").help("Request method"))
        .arg(
            number("body-bytes")
                .default_value("0")
                .value_parser(value_parser!(u32))
                .help("Length of the request body"),
        )
        .arg(
            number("status")
                .default_value("200")
                .value_parser(value_parser!(u16))
                .help("Status that counts as success"),
        )
        .arg(
            number("response-bytes")
                .value_parser(value_parser!(u64))
                .help("Body length that counts as success (default: any)"),
        )
        .arg(
            Arg::new("close")
                .long("close")
                .action(ArgAction::SetTrue)
                .help("A new connection for each request"),
        )
}

fn plan_from(matches: &ArgMatches) -> anyhow::Result<Plan> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let body_bytes = matches.get_one::<u32>("body-bytes").copied().unwrap_or_default();
    let stop = match matches.get_one::<u64>("count") {
        Some(count) => Stop::Count(*count),
        None => Stop::After(Duration::from_secs(*matches.get_one("seconds").context("seconds")?)),
    };
    Ok(Plan {
        target: Target::parse(&text("target")),
        connections: *matches.get_one("connections").context("connections")?,
        stop,
        reuse: if matches.get_flag("close") { Reuse::OneRequest } else { Reuse::KeepAlive },
        exchange: Exchange {
            method: text("method"),
            path: text("path"),
            request_body_bytes: usize::try_from(body_bytes)?,
            status: *matches.get_one("status").context("status")?,
            response_body_bytes: matches.get_one("response-bytes").copied(),
        },
    })
}

fn main() -> anyhow::Result<ExitCode> {
    let plan = plan_from(&command().get_matches())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = LocalSet::new().block_on(&runtime, run(plan)).summary();
    writeln!(stdout(), "{}", serde_json::to_string(&summary)?)?;
    Ok(if summary.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
