//! One request after the other over one kept-alive connection to the real `rackrs`.
//!
//! Needs the release build: `cargo build --release -p rackrs`, or `RACKRS_BIN`.

use std::{
    env,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use criterion::Criterion;
use rackrs_benches::{
    case::CASES,
    load::Target,
    response::Reader,
    server::{Kind, Server, Setup, Transport},
};
use tokio::{runtime::Runtime, task::LocalSet};

/// The applications that answer to a GET with no load beside them.
const NAMES: [&str; 4] = ["hello", "json", "stream", "file_1mib"];

/// Below the server's limit of requests on one connection (Puma's 999).
const CONNECTION_REQUESTS_MAX: u32 = 900;

fn rackrs() -> anyhow::Result<PathBuf> {
    let path = if let Some(path) = env::var_os("RACKRS_BIN") {
        PathBuf::from(path)
    } else {
        // target/release/deps/BENCH -> target/release/rackrs
        let bench = env::current_exe()?;
        bench.ancestors().nth(2).context("cargo puts benches two folders deep")?.join("rackrs")
    };
    if !path.is_file() {
        bail!("there is no {}; run: cargo build --release -p rackrs", path.display());
    }
    Ok(path)
}

fn exchange(stream: &mut UnixStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut reader = Reader::default();
    loop {
        if let Some(response) = reader.finished() {
            anyhow::ensure!(response.status == 200, "status {}", response.status);
            return Ok(());
        }
        let arrived = stream.read(buffer)?;
        anyhow::ensure!(arrived > 0, "the connection ended");
        reader.feed(&buffer[..arrived]).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
}

fn bench_case(criterion: &mut Criterion, runtime: &Runtime, name: &str) -> anyhow::Result<()> {
    let case = CASES.iter().find(|case| case.name == name).context("no such case")?;
    let folder = tempfile::tempdir()?;
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps");
    let setup = Setup {
        workers: 0,
        threads: 5,
        rackup: apps.join(format!("{name}.ru")),
        folder: folder.path().to_owned(),
    };
    let mut server = Server::start(Kind::Rackrs, &rackrs()?, Transport::Unix, &setup)?;
    LocalSet::new().block_on(runtime, server.wait_until_serving(&case.exchange()))?;
    let Target::Unix(path) = server.target.clone() else { bail!("not a Unix socket") };
    let mut stream = UnixStream::connect(&path)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut exchanges = 0_u32;
    criterion.bench_function(&format!("end_to_end/{name}"), |bencher| {
        bencher.iter(|| {
            if exchanges == CONNECTION_REQUESTS_MAX {
                stream = UnixStream::connect(&path).expect("it still listens");
                exchanges = 0;
            }
            exchanges += 1;
            exchange(&mut stream, &mut buffer).expect("a good response");
        });
    });
    LocalSet::new().block_on(runtime, server.stop())
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut criterion = Criterion::default().configure_from_args();
    for name in NAMES {
        bench_case(&mut criterion, &runtime, name).with_context(|| name.to_owned())?;
    }
    criterion.final_summary();
    Ok(())
}
