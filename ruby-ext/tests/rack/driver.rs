//! Sends requests to applications written in Ruby, and reads the answers as the I/O side would.

use std::{
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    task::{Context as TaskContext, Poll, Wake, Waker},
    thread::{JoinHandle, Thread},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use magnus::{Error, Ruby, TryConvert, Value, prelude::*};
use rackrs_ruby::{
    exchange::{
        Body, Event, HandedSocket, HijackRefused, Peer, Reply, Request, ResponseBody, Scheme,
        exchange,
    },
    load::{self, Loaded, RackVersion},
    rack::{self, Context, Settings},
};

/// A Ruby with a Rack, and the constants of a worker.
pub(crate) struct World<'a> {
    pub(crate) ruby: &'a Ruby,
    pub(crate) rack: RackVersion,
    /// Development, early hints on.
    pub(crate) context: Arc<Context>,
    /// Production, early hints off.
    pub(crate) production: Context,
}

/// What came of one request.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a test looks at any of them")]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) is_aborted: bool,
    pub(crate) is_lost: bool,
    pub(crate) is_stream: bool,
    pub(crate) is_hijack: bool,
    pub(crate) hints: Vec<HeaderMap>,
    /// What the far end of a hijacked socket got.
    pub(crate) socket: Vec<u8>,
    /// Whether [`rack::serve`] wants the thread ended.
    pub(crate) is_thread_ending: bool,
}

/// How the client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Reads everything.
    Reads,
    /// Is gone before the application is called.
    Gone,
    /// Leaves after the first piece of a streamed body.
    LeavesInTheMiddle,
    /// Reads nothing of a streamed body until the application has ended it.
    Stalls,
    /// Has sent these bytes beyond the request; refuses to hand over if `None`.
    Hands(Option<&'static [u8]>),
}

impl<'a> World<'a> {
    pub(crate) fn new(ruby: &'a Ruby) -> Self {
        let rack = load::rack_version(ruby).unwrap();
        let settings = Settings {
            multithread: true,
            multiprocess: false,
            development: true,
            early_hints: true,
            software: "rackrs 0".to_owned(),
            script_name: String::new(),
        };
        let context = Arc::new(Context::new(ruby, &settings, rack).unwrap());
        let settings = Settings {
            development: false,
            early_hints: false,
            script_name: "/mount".to_owned(),
            ..settings
        };
        let production = Context::new(ruby, &settings, rack).unwrap();
        ruby.eval::<Value>(
            "require 'rack/lint'; require 'stringio'; require 'uri'; $log = StringIO.new",
        )
        .unwrap();
        Self { ruby, rack, context, production }
    }

    pub(crate) fn eval<T: TryConvert>(&self, code: &str) -> T {
        self.ruby.eval(code).unwrap_or_else(|error: Error| panic!("{code}: {error}"))
    }

    /// The application `code`.
    pub(crate) fn app(&self, code: &str) -> Loaded {
        Loaded::new(self.ruby, self.eval(code), self.rack)
    }

    /// Sends `GET /` to the application `code`.
    pub(crate) fn get(&self, code: &str) -> Received {
        self.send(&self.context, code, request("GET", "/"), Client::Reads)
    }

    pub(crate) fn send(
        &self,
        context: &Context,
        code: &str,
        request: http::Request<Body>,
        client: Client,
    ) -> Received {
        let (head, body) = request.into_parts();
        let app = self.app(code);
        self.serve(context, &app, (head, body, Scheme::Http), client)
    }

    /// Serves one request on this thread, the answer being read on another.
    pub(crate) fn serve(
        &self,
        context: &Context,
        app: &Loaded,
        (head, body, scheme): (Parts, Body, Scheme),
        client: Client,
    ) -> Received {
        let (answer, reply) = exchange();
        let peer = Arc::new(Peer { remote: None, local: None, scheme });
        let body_wait = Duration::from_millis(3);
        let request = Box::new(Request { head, body, peer, body_wait, answer });
        let (serving, end_of_serving) = channel();
        let reader = read(reply, client, end_of_serving);
        let served = rack::serve(self.ruby, app, context, request);
        drop(serving);
        let mut received = reader.join().unwrap();
        received.is_thread_ending = served.is_err();
        received
    }

    /// What was logged since the last call, `block` being what runs meanwhile.
    pub(crate) fn logged<T>(&self, block: impl FnOnce() -> T) -> (T, String) {
        self.eval::<Value>("$old_stderr = $stderr; $stderr = $log = StringIO.new");
        let result = block();
        let text = self.eval("$stderr = $old_stderr; $log.string");
        (result, text)
    }
}

pub(crate) fn request(method: &str, target: &str) -> http::Request<Body> {
    http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "example.org")
        .body(Body::Empty)
        .unwrap()
}

pub(crate) fn post(body: &'static [u8]) -> http::Request<Body> {
    let mut request = request("POST", "/");
    request.headers_mut().insert("content-length", body.len().into());
    *request.body_mut() = Body::Memory(Bytes::from_static(body));
    request
}

/// Serves a `GET /` on a Ruby thread that may die of it.
pub(crate) fn serve_on_ruby_thread(world: &World<'_>, app: &Loaded) -> Received {
    let (answer, reply) = exchange();
    let reader = read(reply, Client::Reads, channel().1);
    let peer = Arc::new(Peer { remote: None, local: None, scheme: Scheme::Http });
    let (head, body) = request("GET", "/").into_parts();
    let request = Box::new(Request { head, body, peer, body_wait: Duration::ZERO, answer });
    let (context, app) = (Arc::clone(&world.context), app.clone());
    let is_ending = Arc::new(AtomicBool::new(false));
    let ending = Arc::clone(&is_ending);
    let thread = world.ruby.thread_create_from_fn(move |ruby| {
        let served = rack::serve(ruby, &app, &context, request);
        ending.store(served.is_err(), Ordering::SeqCst);
        served
    });
    let _: Value = thread.funcall("join", ()).unwrap();
    let mut received = reader.join().unwrap();
    received.is_thread_ending = is_ending.load(Ordering::SeqCst);
    received
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until there is an answer.
fn block<T>(mut poll: impl FnMut(&mut TaskContext<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = TaskContext::from_waker(&waker);
    loop {
        match poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Reads the answer on a thread of its own; `served` tells by its end that the application is done.
fn read(mut reply: Reply, client: Client, served: Receiver<()>) -> JoinHandle<Received> {
    if client == Client::Gone {
        drop(reply);
        return std::thread::spawn(Received::default);
    }
    std::thread::spawn(move || {
        let mut received = Received::default();
        loop {
            match block(|context| reply.poll_event(context)) {
                Event::EarlyHints(headers) => received.hints.push(headers),
                Event::Lost => {
                    received.is_lost = true;
                    return received;
                }
                Event::Hijack => {
                    received.is_hijack = true;
                    received.socket = hand_over(reply, client);
                    return received;
                }
                Event::Response(response) => {
                    received.status = response.status.as_u16();
                    received.headers = response.headers;
                    read_body(&mut received, response.body, (reply, served), client);
                    return received;
                }
            }
        }
    })
}

fn read_body(
    received: &mut Received,
    body: ResponseBody,
    (reply, served): (Reply, Receiver<()>),
    client: Client,
) {
    match body {
        ResponseBody::Whole(bytes) => received.body = bytes.to_vec(),
        ResponseBody::File { file, len } => {
            std::io::Read::read_to_end(&mut std::io::Read::take(file, len), &mut received.body)
                .unwrap();
        }
        ResponseBody::Hijack => {
            received.is_hijack = true;
            received.socket = hand_over(reply, client);
        }
        ResponseBody::Stream => {
            received.is_stream = true;
            if client == Client::Stalls {
                // Ends when the other end is dropped.
                assert!(served.recv().is_err());
            }
            let mut chunks = reply.into_body();
            while let Some(chunk) = block(|context| chunks.poll_chunk(context)) {
                let Ok(chunk) = chunk else {
                    received.is_aborted = true;
                    return;
                };
                received.body.extend_from_slice(&chunk);
                if client == Client::LeavesInTheMiddle {
                    return;
                }
            }
        }
    }
}

fn hand_over(reply: Reply, client: Client) -> Vec<u8> {
    let Client::Hands(Some(leftover)) = client else {
        reply.hand_over(Err(HijackRefused("the connection is encrypted")));
        return Vec::new();
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let leftover = Bytes::from_static(leftover);
    reply.hand_over(Ok(HandedSocket { fd: theirs.into(), leftover }));
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut &ours, &mut got).unwrap();
    got
}
