//! From an application's answer to a response for hyper: headers, framing, keep-alive.

use std::rc::Rc;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use rackrs_ruby::exchange::{Reply, Response, ResponseBody};

use super::{
    file_body::FileBody,
    link::{Link, Takeover},
    outgoing::{Length, Outgoing, Source},
    refusal::Refusal,
    reply_head,
};

/// What of a request decides how its response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// It was a HEAD.
    head_only: bool,
    pub(super) version: Version,
    /// An HTTP/1.0 client asked for the connection to be kept.
    keep_alive_10: bool,
}

impl Asked {
    pub(super) fn by(head: &Parts) -> Self {
        let keep_alive_10 = head.version == Version::HTTP_10
            && head.headers.get_all(CONNECTION).iter().any(|value| has_token(value, "keep-alive"));
        Self { head_only: head.method == Method::HEAD, version: head.version, keep_alive_10 }
    }
}

/// What becomes of an answer.
pub(super) enum Settled {
    /// hyper sends it.
    Send(hyper::Response<Outgoing>),
    /// The application takes the socket after this head.
    TakeOver(Takeover),
}

/// Settles an application's answer.
pub(super) fn settle(link: &Rc<Link>, asked: Asked, response: Response, reply: Reply) -> Settled {
    let Response { status, mut headers, body } = response;
    if matches!(body, ResponseBody::Hijack) {
        link.set_status(status);
        let head = reply_head::final_head(status, &headers);
        return Settled::TakeOver(Takeover { reply, head });
    }
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        tracing::error!(%status, "the application answered with an interim status");
        return Settled::Send(refuse(link, Refusal::NO_ANSWER));
    }
    let declared = declared_length(&mut headers);
    let (source, length) = if asked.head_only || !may_have_body(status) {
        // Dropping the reply tells a streaming application that nobody reads.
        if asked.head_only && declared.is_none() && may_have_body(status) {
            declare_known_length(&mut headers, &body);
        }
        (Source::Over, Length::Exact(0))
    } else {
        open(body, reply, declared)
    };
    let self_delimiting = length != Length::Unknown;
    if let Length::Exact(length) = length
        && !asked.head_only
        && may_have_body(status)
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    settle_connection(link, asked, self_delimiting, &mut headers);
    Settled::Send(start(link, status, headers, Outgoing::new(Rc::clone(link), source, length)))
}

/// A refusal as the response to the present request.
pub(super) fn refuse(link: &Rc<Link>, refusal: Refusal) -> hyper::Response<Outgoing> {
    link.settings.counters.refused();
    link.set_last();
    let body = refusal.body();
    let length = Length::Exact(body.len() as u64);
    let body = Outgoing::new(Rc::clone(link), Source::Whole(body), length);
    start(link, refusal.status, refusal.headers(), body)
}

fn start(
    link: &Link,
    status: StatusCode,
    headers: HeaderMap,
    body: Outgoing,
) -> hyper::Response<Outgoing> {
    link.response_started(status);
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The length that the application declares. A `transfer-encoding`, which it must not send, is
/// taken out: framing is our part of the work.
fn declared_length(headers: &mut HeaderMap) -> Option<u64> {
    headers.remove(TRANSFER_ENCODING);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next()?;
    match parse_length(first) {
        Some(length) if lengths.all(|other| other == first) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            Some(length)
        }
        _ => {
            tracing::warn!("a response has a content-length that is no number; it is not sent");
            headers.remove(CONTENT_LENGTH);
            None
        }
    }
}

fn parse_length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn open(body: ResponseBody, reply: Reply, declared: Option<u64>) -> (Source, Length) {
    let (source, known) = match body {
        ResponseBody::Whole(bytes) => {
            let length = bytes.len() as u64;
            (Source::Whole(bytes), Some(length))
        }
        ResponseBody::File { file, len } => (Source::File(FileBody::new(file, len)), Some(len)),
        ResponseBody::Stream | ResponseBody::Hijack => (Source::Stream(reply.into_body()), None),
    };
    let length = match (declared, known) {
        (Some(declared), Some(known)) if declared != known => {
            tracing::warn!(declared, known, "a response's content-length is not that of its body");
            Length::Declared(declared)
        }
        (_, Some(known)) => Length::Exact(known),
        (Some(declared), None) => Length::Declared(declared),
        (None, None) => Length::Unknown,
    };
    (source, length)
}

/// The answer to a HEAD has the length that a GET would have had.
fn declare_known_length(headers: &mut HeaderMap, body: &ResponseBody) {
    let length = match body {
        ResponseBody::Whole(bytes) => bytes.len() as u64,
        ResponseBody::File { len, .. } => *len,
        ResponseBody::Stream | ResponseBody::Hijack => 0,
    };
    // An empty body says nothing: middleware such as Rack::Head has emptied it.
    if length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// RFC 9110 section 6.4.1.
fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

/// Says how the connection goes on. hyper does what the header says.
fn settle_connection(link: &Link, asked: Asked, self_delimiting: bool, headers: &mut HeaderMap) {
    if link.must_close() {
        link.set_last();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    } else if headers.get_all(CONNECTION).iter().any(|value| has_token(value, "close")) {
        link.set_last();
    } else if asked.keep_alive_10 && self_delimiting {
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
}

/// Whether the comma-separated `list` has `token`.
fn has_token(list: &HeaderValue, token: &str) -> bool {
    let mut items = list.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    items.any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}
