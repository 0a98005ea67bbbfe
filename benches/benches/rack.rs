//! What one request costs on a Ruby thread: env, input and response, each as a difference.
//!
//! Every figure is a whole request through `rack::serve` with an application of a line. The first
//! bench of each group is the base that the others of the group are read against.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use magnus::{Ruby, Value};
use rackrs_ruby::{
    exchange::{Body, Peer, Reply, Request, Scheme, exchange},
    load::{Loaded, RackVersion},
    rack::{Context, Settings, serve},
    vm::{self, Ending, VmOptions},
};

/// No bench loads Rack itself.
const RACK: RackVersion = RackVersion { major: 3, minor: 2 };
const UPLOAD_BYTES: usize = 64 * 1024;

/// Applications by the name of their bench.
const RESPONSES: [(&str, &str); 6] = [
    ("array", "->(_env) { [200, { 'content-type' => 'text/plain' }, ['Hello, World!']] }"),
    ("no_content", "->(_env) { [204, {}, []] }"),
    (
        "20_headers",
        "->(_env) { [200, Array.new(20) { |i| [\"x-header-#{i}\", 'value'] }.to_h, ['Hello, World!']] }",
    ),
    ("array_of_10_kib", "body = 'x' * 1024; ->(_env) { [200, {}, Array.new(10, body)] }"),
    (
        "each_of_10_kib",
        "body = Class.new { def each; 10.times { yield 'x' * 1024 }; end }.new; \
         ->(_env) { [200, {}, body] }",
    ),
    (
        "to_path",
        "body = Class.new { def to_path; '/etc/passwd'; end; def each; yield ''; end }.new; \
         ->(_env) { [200, {}, body] }",
    ),
];

const INPUTS: [(&str, &str); 5] = [
    ("unread", "->(_env) { [204, {}, []] }"),
    ("read_all", "->(env) { env['rack.input'].read; [204, {}, []] }"),
    (
        "read_16_kib_into_a_buffer",
        "->(env) { buffer = +''; nil while env['rack.input'].read(16384, buffer); [204, {}, []] }",
    ),
    ("gets", "->(env) { nil while env['rack.input'].gets; [204, {}, []] }"),
    ("each", "->(env) { env['rack.input'].each { |_line| nil }; [204, {}, []] }"),
];

/// What all benches share.
struct Bench<'a> {
    ruby: &'a Ruby,
    context: Context,
    peer: Arc<Peer>,
}

impl Bench<'_> {
    fn application(&self, source: &str) -> anyhow::Result<Loaded> {
        let callable: Value =
            self.ruby.eval(source).map_err(|error| anyhow::anyhow!("{source}: {error}"))?;
        Ok(Loaded::new(self.ruby, callable, RACK))
    }

    fn request(&self, headers: usize, body: &Bytes) -> (Box<Request>, Reply) {
        let mut head = http::Request::builder()
            .uri("/some/path?query=string")
            .header("host", "www.example.org");
        let mut names = [
            (
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            ),
            ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("accept-language", "en-US,en;q=0.5"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "8f14e45f-ceea-467f-a8f5-5f1b4b3b9c0d"),
            ("if-none-match", "W/\"0123456789abcdef\""),
            ("x-unheard-of", "a name that no table has"),
        ]
        .into_iter();
        for (name, value) in names.by_ref().take(headers) {
            head = head.header(name, value);
        }
        let (head, ()) = head.body(()).expect("a correct request").into_parts();
        let body = if body.is_empty() { Body::Empty } else { Body::Memory(Bytes::clone(body)) };
        let (answer, reply) = exchange();
        let peer = Arc::clone(&self.peer);
        (Box::new(Request { head, body, peer, body_wait: Duration::ZERO, answer }), reply)
    }

    fn run(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        application: &Loaded,
        request: impl Fn() -> (Box<Request>, Reply),
    ) {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                &request,
                |(request, reply)| {
                    serve(self.ruby, application, &self.context, request)
                        .expect("nobody ends this thread");
                    reply
                },
                BatchSize::SmallInput,
            );
        });
    }

    fn env(&self, criterion: &mut Criterion) -> anyhow::Result<()> {
        let application = self.application("answer = [204, {}, []]; ->(_env) { answer }")?;
        let mut group = criterion.benchmark_group("env");
        for (name, headers) in [("1_header", 0), ("6_headers", 5), ("11_headers", 10)] {
            self.run(&mut group, name, &application, || self.request(headers, &Bytes::new()));
        }
        group.finish();
        Ok(())
    }

    fn response(&self, criterion: &mut Criterion) -> anyhow::Result<()> {
        let mut group = criterion.benchmark_group("response");
        for (name, source) in RESPONSES {
            let application = self.application(source)?;
            self.run(&mut group, name, &application, || self.request(0, &Bytes::new()));
        }
        group.finish();
        Ok(())
    }

    fn input(&self, criterion: &mut Criterion) -> anyhow::Result<()> {
        // Lines of 64 bytes.
        let line = [&[b'x'; 63][..], b"\n"].concat();
        let upload = Bytes::from(line.repeat(UPLOAD_BYTES / 64));
        let mut group = criterion.benchmark_group("input_64_kib");
        group.throughput(Throughput::Bytes(UPLOAD_BYTES as u64));
        for (name, source) in INPUTS {
            let application = self.application(source)?;
            self.run(&mut group, name, &application, || self.request(0, &upload));
        }
        group.finish();
        Ok(())
    }
}

fn bench(ruby: &Ruby) -> anyhow::Result<()> {
    let settings = Settings {
        multithread: true,
        multiprocess: false,
        development: false,
        early_hints: false,
        software: "rackrs".to_owned(),
        script_name: String::new(),
    };
    let context = Context::new(ruby, &settings, RACK)
        .map_err(|error| anyhow::anyhow!("cannot make the context: {error}"))?;
    let peer = Arc::new(Peer { remote: None, local: None, scheme: Scheme::Http });
    let bench = Bench { ruby, context, peer };
    let mut criterion = Criterion::default().configure_from_args();
    bench.env(&mut criterion)?;
    bench.response(&mut criterion)?;
    bench.input(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    let options = VmOptions { program_name: "rackrs bench".to_owned(), ..VmOptions::default() };
    let mut outcome = Ok(());
    let status = vm::run(&options, |vm| {
        outcome = bench(vm.ruby());
        Ending::from(0)
    })
    .context("cannot boot Ruby")?;
    outcome?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
