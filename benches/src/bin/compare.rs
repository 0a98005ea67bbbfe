//! `rackrs-compare`: the same applications under rackrs, Puma, Unicorn and Thin, in alternation.

use std::{
    env,
    io::{Write, stderr, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use rackrs_benches::{
    case::{CASES, Case},
    load::{Outcome, Plan, Reuse, Stop, run},
    process,
    server::{Kind, Server, Setup, Transport},
    table::{Row, render},
};
use tokio::task::LocalSet;

/// Unmeasured load on each server before its first round, so that lazy work is done.
const WARM_UP: Duration = Duration::from_millis(300);

fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("N").default_value(default).help(help)
    };
    let list = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("NAME,...").value_delimiter(',').help(help)
    };
    Command::new("rackrs-compare")
        .about("Compares Rack servers: req/s, latency, CPU and memory")
        .arg(
            Arg::new("rackrs")
                .long("rackrs")
                .value_name("PROGRAM")
                .required(true)
                .help("The rackrs program"),
        )
        .arg(
            Arg::new("apps")
                .long("apps")
                .value_name("FOLDER")
                .required(true)
                .help("The folder with the applications"),
        )
        .arg(
            number("seconds", "1", "Length of one load")
                .value_parser(value_parser!(u64).range(1..=60)),
        )
        .arg(
            number("rounds", "2", "Times that each server has its turn")
                .value_parser(value_parser!(u64).range(1..=100)),
        )
        .arg(
            number("connections", "16", "Connections at the same time")
                .value_parser(value_parser!(u16).range(1..=1024)),
        )
        .arg(
            number("workers", "0", "Worker processes; 0 is each server's single mode")
                .value_parser(value_parser!(u16)),
        )
        .arg(
            number("threads", "5", "Threads of each process, where the server has threads")
                .value_parser(value_parser!(u16).range(1..)),
        )
        .arg(list("cases", "Only these applications").value_parser(CASES.map(|case| case.name)))
        .arg(list("servers", "Only these servers").value_parser(Kind::ALL.map(Kind::name)))
        .arg(
            list("transports", "Only over these").value_parser(Transport::ALL.map(Transport::name)),
        )
        .arg(Arg::new("json").long("json").value_name("FILE").help("Also write the rows there"))
}

/// What to run, from the command line.
struct Comparison {
    programs: Vec<(Kind, PathBuf)>,
    cases: Vec<Case>,
    transports: Vec<Transport>,
    apps: PathBuf,
    seconds: Duration,
    rounds: u64,
    connections: u16,
    workers: u16,
    threads: u16,
}

fn comparison_from(matches: &ArgMatches) -> anyhow::Result<Comparison> {
    let wanted = |list: &str, name: &str| {
        matches.get_many::<String>(list).is_none_or(|mut names| names.any(|given| given == name))
    };
    let path = |name: &str| -> anyhow::Result<PathBuf> {
        let given = matches.get_one::<String>(name).context("a required argument")?;
        Path::new(given).canonicalize().with_context(|| format!("cannot find {given}"))
    };
    let count = |name: &str| matches.get_one::<u64>(name).copied().unwrap_or(1);
    let small = |name: &str| matches.get_one::<u16>(name).copied().unwrap_or(1);
    let rackrs = path("rackrs")?;
    let mut programs = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| wanted("servers", kind.name())) {
        let found = if kind == Kind::Rackrs { Some(rackrs.clone()) } else { in_path(kind.name()) };
        match found {
            Some(program) => programs.push((kind, program)),
            None => writeln!(stderr(), "left out: {} is not installed", kind.name())?,
        }
    }
    Ok(Comparison {
        programs,
        cases: CASES.into_iter().filter(|case| wanted("cases", case.name)).collect(),
        transports: Transport::ALL
            .into_iter()
            .filter(|transport| wanted("transports", transport.name()))
            .collect(),
        apps: path("apps")?,
        seconds: Duration::from_secs(count("seconds")),
        rounds: count("rounds"),
        connections: small("connections"),
        workers: small("workers"),
        threads: small("threads"),
    })
}

fn in_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A server with what has been measured of it.
struct Contender {
    server: Server,
    outcome: Outcome,
    cpu: Duration,
}

impl Comparison {
    async fn run(&self) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for case in &self.cases {
            for transport in &self.transports {
                let note = format!("{} over {}: {}", case.name, transport.name(), case.about);
                writeln!(stderr(), "{note}")?;
                rows.extend(self.run_case(case, *transport).await.context(note)?);
            }
        }
        Ok(rows)
    }

    async fn run_case(&self, case: &Case, transport: Transport) -> anyhow::Result<Vec<Row>> {
        let folder = tempfile::tempdir()?;
        let setup = Setup {
            workers: self.workers,
            threads: self.threads,
            rackup: self.apps.join(format!("{}.ru", case.name)),
            folder: folder.path().to_owned(),
        };
        let mut contenders = Vec::new();
        for (kind, program) in &self.programs {
            let server = Server::start(*kind, program, transport, &setup)?;
            contenders.push(Contender { server, outcome: Outcome::default(), cpu: Duration::ZERO });
        }
        for contender in &mut contenders {
            contender.server.wait_until_serving(&case.exchange()).await?;
            run(self.plan(&contender.server, case, WARM_UP)).await;
        }
        for _ in 0..self.rounds {
            for contender in &mut contenders {
                self.measure(contender, case).await?;
            }
            // Nobody is always first, or always after the same other.
            contenders.rotate_left(1);
        }
        contenders.sort_by_key(|contender| {
            Kind::ALL.iter().position(|kind| *kind == contender.server.kind)
        });
        let mut rows = Vec::new();
        for contender in contenders {
            rows.push(row_of(&contender, case, transport)?);
            contender.server.stop().await?;
        }
        Ok(rows)
    }

    fn plan(&self, server: &Server, case: &Case, length: Duration) -> Plan {
        Plan {
            target: server.target.clone(),
            connections: self.connections,
            stop: Stop::After(length),
            reuse: Reuse::KeepAlive,
            exchange: case.exchange(),
        }
    }

    async fn measure(&self, contender: &mut Contender, case: &Case) -> anyhow::Result<()> {
        let pid = contender.server.pid();
        let before = process::cpu_time(pid)?;
        let outcome = run(self.plan(&contender.server, case, self.seconds)).await;
        contender.cpu += process::cpu_time(pid)?.saturating_sub(before);
        contender.outcome.merge(&outcome);
        Ok(())
    }
}

fn row_of(contender: &Contender, case: &Case, transport: Transport) -> anyhow::Result<Row> {
    let load = contender.outcome.summary();
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let cpu_us_per_request =
        (load.requests > 0).then(|| contender.cpu.as_secs_f64() * 1e6 / load.requests as f64);
    Ok(Row {
        case: case.name,
        transport: transport.name(),
        server: contender.server.kind.name(),
        load,
        cpu_us_per_request,
        pss_bytes: process::pss_bytes(contender.server.pid())?,
    })
}

fn main() -> anyhow::Result<()> {
    let matches = command().get_matches();
    let comparison = comparison_from(&matches)?;
    if comparison.programs.is_empty() {
        bail!("no server to compare");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = LocalSet::new().block_on(&runtime, comparison.run())?;
    write!(stdout(), "{}", render(&rows))?;
    if let Some(file) = matches.get_one::<String>("json") {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}
