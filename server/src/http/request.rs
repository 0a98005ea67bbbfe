//! One request: checked, received, given to the application, answered.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    rc::Rc,
};

use bytes::BytesMut;
use http::{HeaderValue, Version, header::HOST, request::Parts};
use hyper::body::{Body as _, Incoming};
use rackrs_ruby::exchange::{Event, Reply, Request, exchange};
use tokio::time::Instant;

use super::{
    answer::{self, Asked, Settled},
    application::Application,
    check,
    link::{Link, Takeover},
    outgoing::Outgoing,
    refusal::Refusal,
    reply_head, upload,
    worker::Worker,
};

/// Serves one request on `link`. Does not return when the application takes the socket: the
/// connection's task then takes hyper apart.
pub(super) async fn serve<A: Application>(
    worker: Rc<Worker<A>>,
    link: Rc<Link>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Outgoing>, Infallible> {
    if link.is_last() {
        // The response before was the last; the connection's task closes once it is flushed.
        return pending().await;
    }
    let (mut head, body) = request.into_parts();
    // hyper keeps its own things there, which must not outlive the connection.
    head.extensions.clear();
    link.request_begun(&head);
    let asked = Asked::by(&head);
    let reply = match dispatch(&worker, &link, head, body).await {
        Ok(reply) => reply,
        Err(refusal) => return Ok(answer::refuse(&link, refusal)),
    };
    match await_answer(&link, asked, reply).await {
        Settled::Send(response) => Ok(response),
        Settled::TakeOver(takeover) => {
            link.take_over(takeover);
            pending().await
        }
    }
}

async fn dispatch<A: Application>(
    worker: &Worker<A>,
    link: &Link,
    mut head: Parts,
    body: Incoming,
) -> Result<Reply, Refusal> {
    link.set_body_unread(!body.is_end_stream());
    check::head(&head)?;
    let started = Instant::now();
    let body = upload::receive(body, link, &worker.spool_writes).await?;
    link.set_body_unread(false);
    let body_wait = started.elapsed();
    prefer_target_host(&mut head);
    let (answer, reply) = exchange();
    let peer = std::sync::Arc::clone(&link.peer);
    let request = Box::new(Request { head, body, peer, body_wait, answer });
    worker.application.call(request).map_err(|_full| Refusal::OVERLOADED)?;
    link.dispatched();
    Ok(reply)
}

/// RFC 9112 section 3.2.2: the host of an absolute target replaces the `Host` header.
fn prefer_target_host(head: &mut Parts) {
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
}

async fn await_answer(link: &Rc<Link>, asked: Asked, mut reply: Reply) -> Settled {
    loop {
        match poll_fn(|context| reply.poll_event(context)).await {
            // An HTTP/1.0 client knows no interim responses.
            Event::EarlyHints(_) if asked.version == Version::HTTP_10 => {}
            Event::EarlyHints(headers) => {
                link.send_interim(&reply_head::early_hints(&headers));
                // The final response must not overtake them in hyper's buffer.
                poll_fn(|context| link.poll_flushed(context)).await;
            }
            Event::Response(response) => return answer::settle(link, asked, *response, reply),
            Event::Hijack => return Settled::TakeOver(Takeover { reply, head: BytesMut::new() }),
            Event::Lost => return Settled::Send(answer::refuse(link, Refusal::NO_ANSWER)),
        }
    }
}
