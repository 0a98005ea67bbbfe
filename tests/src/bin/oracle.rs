//! `oracle`: restarts a server under load, and tells what its clients lost.

use std::{
    env, fs,
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use rackrs_tests::oracle::{
    Plan, Report,
    servers::{Kind, Running, Setup},
    watch,
};
use serde::Serialize;

/// What a restart takes beside the boot, for a base line of about the same length.
const RESTART_OVERHEAD: Duration = Duration::from_millis(600);

fn command() -> Command {
    let value = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").default_value(default).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("oracle")
        .about("Restarts a server under load and tells what its clients lost")
        .arg(
            Arg::new("server")
                .long("server")
                .value_name("NAME")
                .default_value("rackrs")
                .value_parser(Kind::ALL.map(Kind::name))
                .help("The server and its way to restart"),
        )
        .arg(value("restarts", "4", "How often").value_parser(value_parser!(u32)))
        .arg(
            value("boot-seconds", "1", "What the application's boot takes")
                .value_parser(value_parser!(f64)),
        )
        .arg(
            value("seconds-between", "0.5", "Load before each restart and after the last")
                .value_parser(value_parser!(f64)),
        )
        .arg(
            Arg::new("base-line-seconds")
                .long("base-line-seconds")
                .value_name("N")
                .value_parser(value_parser!(f64))
                .help("Load without a restart; without it, about as long as with restarts"),
        )
        .arg(
            value("workers", "2", "Worker processes; Unicorn has ten at least")
                .value_parser(value_parser!(u16)),
        )
        .arg(value("threads", "8", "Threads of each").value_parser(value_parser!(u16).range(1..)))
        .arg(flag("monotonic", "A client's answers must never step back to an older release"))
        .arg(flag("check", "End with 1 when there is a fault"))
        .arg(flag("row", "Print one row of a Markdown table; the report goes to standard error"))
        .arg(flag("header", "Print that table's head, and do nothing else"))
        .arg(path("json", "Also write the report there"))
        .arg(path("rackrs", "The rackrs program; without it, $RACKRS_BIN or the one beside this"))
}

fn get<T: Clone + Send + Sync + 'static>(arguments: &ArgMatches, name: &str) -> T {
    arguments.get_one::<T>(name).cloned().expect("clap gives a default")
}

fn time(arguments: &ArgMatches, name: &str) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(get(arguments, name)).with_context(|| format!("--{name}"))
}

fn setup(arguments: &ArgMatches) -> anyhow::Result<Setup> {
    let given = arguments.get_one::<PathBuf>("rackrs").cloned();
    let rackrs = match given.or_else(|| env::var_os("RACKRS_BIN").map(PathBuf::from)) {
        Some(path) => path,
        None => env::current_exe()?.with_file_name("rackrs"),
    };
    Ok(Setup {
        boot_time: time(arguments, "boot-seconds")?,
        workers: get(arguments, "workers"),
        threads: get(arguments, "threads"),
        rackrs,
    })
}

fn plan(arguments: &ArgMatches, setup: &Setup) -> anyhow::Result<Plan> {
    let (restarts, between) =
        (get::<u32>(arguments, "restarts"), time(arguments, "seconds-between")?);
    let base_line = if arguments.contains_id("base-line-seconds") {
        time(arguments, "base-line-seconds")?
    } else {
        between + (between + setup.boot_time + RESTART_OVERHEAD) * restarts
    };
    let monotonic = arguments.get_flag("monotonic");
    Ok(Plan { base_line, restarts, between, limit: setup.limit(), monotonic })
}

/// The report as JSON, with what it is about.
#[derive(Serialize)]
struct Told<'a> {
    server: &'a str,
    boot_seconds: f64,
    restarts_planned: u32,
    #[serde(flatten)]
    report: &'a Report,
    faults: Vec<String>,
}

const COLUMNS: [&str; 9] = [
    "server",
    "restarts",
    "requests",
    "lost",
    "refused",
    "longest gap",
    "base-line gap",
    "pid file always valid",
    "releases in order",
];

fn row(kind: Kind, report: &Report) -> String {
    let phase = &report.restarted;
    let yes = |good: bool, faults: String| if good { "yes".to_owned() } else { faults };
    let pid_file = &phase.pid_file;
    let cells = [
        kind.about().to_owned(),
        report.restarts.len().to_string(),
        phase.requests.to_string(),
        phase.lost.to_string(),
        phase.refused.to_string(),
        format!("{:.0} ms", phase.fast.gap_ms),
        format!("{:.0} ms", report.base_line.fast.gap_ms),
        yes(pid_file.faults == 0, format!("no: {:.0} ms", pid_file.longest_fault_ms)),
        yes(report.markers.faults() == 0, format!("no: {}", report.markers.faults())),
    ];
    format!("| {} |", cells.join(" | "))
}

fn header() -> String {
    let rules = ["---", "---:", "---:", "---:", "---:", "---:", "---:", "---", "---"];
    format!("| {} |\n| {} |", COLUMNS.join(" | "), rules.join(" | "))
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = command().get_matches();
    if arguments.get_flag("header") {
        writeln!(stdout(), "{}", header())?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = get::<String>(&arguments, "server");
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).expect("clap knows them");
    let setup = setup(&arguments)?;
    let plan = plan(&arguments, &setup)?;
    let server = Running::start(kind, &setup).with_context(|| format!("cannot start {name}"))?;
    let report = watch(server.subject(), &plan, &mut |round| server.restart(round));
    if report.failure.is_some() {
        writeln!(stderr(), "--- log of the server\n{}--- end of the log", server.log())?;
    }
    drop(server);

    if let Some(path) = arguments.get_one::<PathBuf>("json") {
        let told = Told {
            server: &name,
            boot_seconds: setup.boot_time.as_secs_f64(),
            restarts_planned: plan.restarts,
            report: &report,
            faults: report.faults(),
        };
        let text = serde_json::to_string_pretty(&told)?;
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.get_flag("row") {
        writeln!(stderr(), "{}\n{report}\n", kind.about())?;
        writeln!(stdout(), "{}", row(kind, &report))?;
    } else {
        writeln!(stdout(), "{}\n{report}", kind.about())?;
    }
    let failed = arguments.get_flag("check") && !report.faults().is_empty();
    Ok(ExitCode::from(u8::from(failed)))
}
