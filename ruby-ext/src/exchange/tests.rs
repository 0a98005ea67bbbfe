//! Tests of both ends together: what one leaves behind when the other has gone.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::Arc,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};

use super::{
    Answer, Event, HandedSocket, Push, Reply, Response, ResponseBody, STREAM_QUEUED_BYTES_MAX,
    Wait, exchange, state::Shared,
};

fn poll(reply: &mut Reply) -> Poll<Event> {
    reply.poll_event(&mut Context::from_waker(Waker::noop()))
}

fn respond(answer: &Answer, body: ResponseBody) {
    let (status, headers) = (StatusCode::OK, HeaderMap::new());
    answer.respond(Response { status, headers, body }).unwrap();
}

fn full_stream() -> (Answer, Reply) {
    let (answer, reply) = exchange();
    respond(&answer, ResponseBody::Stream);
    assert_eq!(answer.push(vec![0; STREAM_QUEUED_BYTES_MAX].into()), Push::TakenAndFull);
    (answer, reply)
}

#[test]
fn an_interrupt_is_for_one_waiter() {
    let (answer, _reply) = full_stream();
    let (one, other) = (answer.interrupter(), answer.interrupter());
    other.interrupt();
    one.interrupt();
    assert_eq!(answer.wait_for_room(&one), Wait::Interrupted);
    assert_eq!(answer.wait_for_room(&other), Wait::Interrupted);
}

#[test]
fn a_socket_that_comes_too_late_is_closed() {
    for comes_first in [false, true] {
        let (answer, mut reply) = exchange();
        answer.request_hijack().unwrap();
        assert!(matches!(poll(&mut reply), Poll::Ready(Event::Hijack)));
        let (mut client, ours) = UnixStream::pair().unwrap();
        let socket = HandedSocket { fd: ours.into(), leftover: Bytes::new() };
        if comes_first {
            reply.hand_over(Ok(socket));
            answer.refuse_socket();
        } else {
            answer.refuse_socket();
            reply.hand_over(Ok(socket));
        }
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        answer.take_socket().unwrap_err();
    }
}

#[test]
fn a_response_that_nobody_reads_is_let_go() {
    let (answer, reply) = exchange();
    let (mut reader, writer) = UnixStream::pair().unwrap();
    let mut file = File::from(OwnedFd::from(writer));
    file.write_all(b"x").unwrap();
    respond(&answer, ResponseBody::File { file, len: 1 });
    drop(reply);
    let mut read = Vec::new();
    // Ends because the file was closed, though the answer is still there.
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"x");
    assert!(answer.is_gone());
}

/// Who holds the lock is not in the child.
#[test]
#[allow(clippy::disallowed_methods, reason = "the child does nothing that needs a lock, or hangs")]
fn a_forked_child_does_not_touch_its_parents_exchange() {
    let shared = Shared::new();
    let answer = Answer::new(Arc::clone(&shared));
    let _reply = Reply::new(Arc::clone(&shared));
    let held = shared.lock();
    // SAFETY: the child only looks at an atomic and ends; what would make it wait for a lock that
    // another test's thread holds is what is being tested.
    let child = match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let is_left_alone = answer.is_gone()
                && answer.push(Bytes::new()) == Push::Gone
                && answer.request_hijack().is_err()
                && answer.wait_for_socket(&answer.interrupter()) == Wait::Gone;
            answer.finish();
            drop(answer);
            // SAFETY: ends the process, of which nothing else runs.
            unsafe { nix::libc::_exit(i32::from(!is_left_alone)) }
        }
    };
    let limit = Instant::now() + Duration::from_secs(20);
    let poll = || waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap();
    let mut ended = poll();
    while ended == WaitStatus::StillAlive && Instant::now() < limit {
        thread::yield_now();
        ended = poll();
    }
    drop(held);
    if ended == WaitStatus::StillAlive {
        kill(child, Signal::SIGKILL).unwrap();
    }
    assert_eq!(ended, WaitStatus::Exited(child, 0));
    assert!(!answer.is_gone());
}

#[test]
fn a_lost_exchange_ends_though_its_answer_is_kept() {
    let (answer, mut reply) = exchange();
    answer.lose();
    assert!(matches!(poll(&mut reply), Poll::Ready(Event::Lost)));
    let (answer, mut reply) = full_stream();
    assert!(matches!(poll(&mut reply), Poll::Ready(Event::Response(_))));
    answer.lose();
    let mut body = reply.into_body();
    let context = &mut Context::from_waker(Waker::noop());
    assert!(matches!(body.poll_chunk(context), Poll::Ready(Some(Ok(_)))));
    assert!(matches!(body.poll_chunk(context), Poll::Ready(Some(Err(_)))));
}
