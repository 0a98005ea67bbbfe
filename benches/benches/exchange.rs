//! What it costs to hand a request over to another thread and its answer back, without Ruby.

use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use http::{HeaderMap, StatusCode};
use rackrs_ruby::exchange::{
    Answer, Body, Event, Peer, Push, Queue, Reply, Request, Response, ResponseBody, Scheme, Taken,
    exchange,
};

const QUEUE_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: Bytes = Bytes::from_static(&[b'x'; 4096]);
const CHUNKS: usize = 15;

/// Wakes a parked thread, as the reactor is woken in a worker.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until there is an answer, parked in between.
fn wait_for<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match poll(&mut context) {
            Poll::Ready(ready) => return ready,
            Poll::Pending => thread::park(),
        }
    }
}

fn request(peer: &Arc<Peer>, answer: Answer) -> Box<Request> {
    let (head, ()) = http::Request::new(()).into_parts();
    let peer = Arc::clone(peer);
    Box::new(Request { head, body: Body::Empty, peer, body_wait: Duration::ZERO, answer })
}

fn respond(request: &Request) {
    let response = Response {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: ResponseBody::Whole(Bytes::from_static(b"Hello, World!")),
    };
    request.answer.respond(response).expect("the reply is awaited");
}

fn await_response(reply: &mut Reply) {
    let event = wait_for(|context| reply.poll_event(context));
    assert!(matches!(black_box(event), Event::Response(_)));
}

/// Serves the queue until it is closed.
fn serve(queue: &Queue) {
    loop {
        match queue.wait(queue.interrupts(), PATIENCE) {
            Taken::Request(request) => respond(&request),
            Taken::Closed | Taken::TimedOut => return,
            Taken::Interrupted => {}
        }
    }
}

fn bench_hand_over(criterion: &mut Criterion) {
    let peer = Arc::new(Peer { remote: None, local: None, scheme: Scheme::Http });
    let mut group = criterion.benchmark_group("hand_over");
    group.bench_function("same_thread", |bencher| {
        let queue = Queue::new(QUEUE_MAX);
        bencher.iter(|| {
            let (answer, mut reply) = exchange();
            queue.try_push(request(&peer, answer)).expect("there is room");
            respond(&queue.try_take().expect("it was pushed just now"));
            await_response(&mut reply);
        });
    });
    // One request at a time: every one pays for waking a sleeping thread, twice.
    group.bench_function("to_a_waiting_thread", |bencher| {
        let queue = Queue::new(QUEUE_MAX);
        thread::scope(|scope| {
            scope.spawn(|| serve(&queue));
            bencher.iter(|| {
                let (answer, mut reply) = exchange();
                queue.try_push(request(&peer, answer)).expect("there is room");
                await_response(&mut reply);
            });
            queue.close();
        });
    });
    // A full pipeline: the thread finds the next request without sleeping.
    group.throughput(Throughput::Elements(QUEUE_MAX as u64));
    group.bench_function("to_a_busy_thread", |bencher| {
        let queue = Queue::new(QUEUE_MAX);
        thread::scope(|scope| {
            scope.spawn(|| serve(&queue));
            bencher.iter(|| {
                let replies: Vec<Reply> = (0..QUEUE_MAX)
                    .map(|_| {
                        let (answer, reply) = exchange();
                        queue.try_push(request(&peer, answer)).expect("there is room");
                        reply
                    })
                    .collect();
                for mut reply in replies {
                    await_response(&mut reply);
                }
            });
            queue.close();
        });
    });
    group.finish();
}

fn bench_stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Bytes((CHUNK.len() * CHUNKS) as u64));
    group.bench_function("15_chunks_of_4_kib", |bencher| {
        bencher.iter(|| {
            let (answer, reply) = exchange();
            for _ in 0..CHUNKS {
                assert_eq!(answer.push(CHUNK), Push::Taken);
            }
            answer.finish();
            let mut body = reply.into_body();
            let mut seen = 0;
            while let Some(chunk) = wait_for(|context| body.poll_chunk(context)) {
                seen += chunk.expect("the body was finished").len();
            }
            assert_eq!(seen, CHUNK.len() * CHUNKS);
        });
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench_hand_over(&mut criterion);
    bench_stream(&mut criterion);
    criterion.final_summary();
}
