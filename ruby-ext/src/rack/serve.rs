//! One request from env to the last callback: the order of it all.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING},
    request::Parts,
};
use magnus::{
    Error, RArray, RHash, Ruby, Value, prelude::*, rb_sys::AsRawValue, typed_data::Obj,
    value::LazyId,
};

use super::{
    body::{self, Kind},
    client::{Client, HijackError, LoseOnPanic, Outcome},
    context::Context,
    early_hints::EarlyHints,
    env::{self, Facts},
    failure::{self, Failure, Refusal},
    finished::{self, Report},
    headers::{self, Headers},
    hijack::Hijack,
    input::Input,
    raw,
    response::{self, Content, Triple},
    socket,
    transmission::{Head, Stop, Transmission},
};
use crate::{
    exchange::{Body, Peer, Request, Response, ResponseBody},
    load::Loaded,
};

static CALL: LazyId = LazyId::new("call");

/// Serves one request: builds env, calls the application, answers the client, closes the body, runs
/// the callbacks.
///
/// Whatever the application does costs this request only: exceptions of every class, `exit`,
/// `throw`, an overflow of the stack are answered by a 500 and logged.
///
/// # Errors
///
/// The jump with which this thread is being ended (`Thread#kill`, `Thread.exit`, shutdown). The
/// client has been answered; the thread must pass it on and end.
pub fn serve(
    ruby: &Ruby,
    app: &Loaded,
    context: &Context,
    request: Box<Request>,
) -> Result<(), Error> {
    let Request { head, body, peer, body_wait, answer } = *request;
    let client = Arc::new(Client::new(answer));
    let _on_panic = LoseOnPanic(&client);
    let turn = Turn { ruby, context, head: &head, client: &client };
    match turn.prepare(body, &peer, body_wait) {
        Ok((env, input)) => turn.run(app, env, input),
        Err(error) => turn.fail(error.into()).map_or(Ok(()), Err),
    }
}

/// One request in the hands of a Ruby thread.
#[derive(Clone, Copy)]
struct Turn<'a> {
    ruby: &'a Ruby,
    context: &'a Context,
    head: &'a Parts,
    client: &'a Arc<Client>,
}

/// Whether the body is still to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Due,
    Done,
}

impl Turn<'_> {
    fn prepare(
        &self,
        body: Body,
        peer: &Peer,
        body_wait: Duration,
    ) -> Result<(RHash, Obj<Input>), Error> {
        let ruby = self.ruby;
        let body_bytes = body.len();
        let input = raw::wrapped(ruby, Input::new(ruby, body))?;
        let hijack = raw::wrapped(ruby, Hijack::new(self.client))?;
        // A client of HTTP/1.0 would take a 103 for the response.
        let can_hint = self.context.early_hints && self.head.version == Version::HTTP_11;
        let early_hints = if can_hint {
            Some(raw::wrapped(ruby, EarlyHints::new(self.client))?.as_raw())
        } else {
            None
        };
        let facts = Facts {
            head: self.head,
            peer,
            body_bytes,
            body_wait,
            input: input.as_raw(),
            hijack: hijack.as_raw(),
            early_hints,
        };
        let env = env::build(ruby, self.context, facts)?;
        hijack.set_env(env);
        Ok((env, input))
    }

    fn run(&self, app: &Loaded, env: RHash, input: Obj<Input>) -> Result<(), Error> {
        let mut report = Report::new(self.ruby);
        let returned = app.get(self.ruby).funcall(*CALL, (env,));
        let mut jump = match returned {
            Ok(returned) => self.on_return(returned, input, &mut report),
            Err(error) => self.on_failure(error.into(), &mut report),
        };
        input.release_file();
        finished::run(self.ruby, self.context, env, &report, |failure| {
            self.log(&failure);
            jump = jump.take().or_else(|| failure.into_jump());
        });
        jump.map_or(Ok(()), Err)
    }

    fn on_return(&self, returned: Value, input: Obj<Input>, report: &mut Report) -> Option<Error> {
        let Some(triple) = Triple::of(returned) else {
            if self.client.is_hijacked() {
                return None;
            }
            return self.on_failure(response::not_a_triple(returned), report);
        };
        report.status = triple.status;
        report.headers = triple.headers;
        let mut closing = Closing::Due;
        let sent = if self.client.is_hijacked() {
            Ok(())
        } else {
            self.send(&triple, input, &mut closing)
        };
        let jump = sent.err().and_then(|failure| self.on_failure(failure, report));
        if closing == Closing::Done {
            return jump;
        }
        let Err(error) = body::close(triple.body) else { return jump };
        let failure = Failure::from(error);
        self.log(&failure);
        jump.or_else(|| failure.into_jump())
    }

    fn on_failure(&self, failure: Failure, report: &mut Report) -> Option<Error> {
        report.error = failure.exception(self.ruby);
        self.fail(failure)
    }

    /// Logs a failure and lets the client know: by a 500, or by an end in the middle when the
    /// response has begun. Gives the jump that must go on.
    fn fail(&self, failure: Failure) -> Option<Error> {
        self.log(&failure);
        if !self.client.is_hijacked() {
            let page = failure::page(self.ruby, &failure, self.context.development);
            // Refused when the response has begun, or the client is gone.
            let _: Outcome = self.client.respond(page);
            self.client.abort();
        }
        failure.into_jump()
    }

    fn log(&self, failure: &Failure) {
        failure::log(self.ruby, self.head, failure);
    }

    fn send(
        &self,
        triple: &Triple,
        input: Obj<Input>,
        closing: &mut Closing,
    ) -> Result<(), Failure> {
        let status = triple.status()?;
        let headers = headers::read(self.ruby, triple.headers)?;
        if status == StatusCode::SWITCHING_PROTOCOLS || headers.hijack.is_some() {
            return self.send_hijack(status, headers, triple.body);
        }
        match Content::of(status, &self.head.method) {
            Content::Sent => {}
            content @ (Content::Described | Content::Forbidden | Content::Reset) => {
                return self.send_head(status, headers, content, triple.body);
            }
        }
        let has_to_ary = self.context.has_to_ary && !headers.is_chunked;
        let kind = body::kind(self.ruby, triple.body, has_to_ary, headers.declared_bytes)?;
        match kind {
            Kind::Array(array) => self.send_array(status, headers, array),
            Kind::ToAry => {
                *closing = Closing::Done;
                if let Some(array) = body::to_ary(triple.body)? {
                    return self.send_array(status, headers, array);
                }
                *closing = Closing::Due;
                self.stream(status, headers, |t| body::send_each(self.ruby, triple.body, t))
            }
            Kind::File { file, bytes } => {
                self.respond(status, headers.map, ResponseBody::File { file, len: bytes })
            }
            Kind::Each => {
                self.stream(status, headers, |t| body::send_each(self.ruby, triple.body, t))
            }
            Kind::Call => {
                self.stream(status, headers, |t| body::send_call(self.ruby, triple.body, input, t))
            }
        }
    }

    fn send_array(
        &self,
        status: StatusCode,
        headers: Headers,
        array: RArray,
    ) -> Result<(), Failure> {
        let bytes = body::array_bytes(array)?;
        let is_as_declared = headers.declared_bytes.is_none_or(|declared| declared == bytes);
        if is_as_declared && !headers.is_chunked && bytes <= body::WHOLE_BODY_BYTES_MAX {
            let whole = ResponseBody::Whole(body::joined(array, bytes)?);
            return self.respond(status, headers.map, whole);
        }
        let mut headers = headers;
        if headers.declared_bytes.is_some_and(|declared| declared < bytes) {
            // What is beyond is never sent, and a client that counts otherwise must not wait.
            headers.map.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if headers.declared_bytes.is_none() && !headers.is_chunked {
            headers.declared_bytes = Some(bytes);
            headers.map.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        self.stream(status, headers, |t| body::send_array(self.ruby, array, t))
    }

    fn stream(
        &self,
        status: StatusCode,
        headers: Headers,
        send: impl FnOnce(&Arc<Transmission>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Headers { map, declared_bytes, is_chunked, .. } = headers;
        let head = Head { status, headers: map };
        let transmission = Transmission::new(self.client, head, declared_bytes, is_chunked);
        let transmission = Arc::new(transmission);
        let result = send(&transmission);
        if result.is_err() {
            // The head, if it comes back, gives way to that of the failure.
            drop(transmission.abort(Stop::Aborted));
        }
        result
    }

    /// Answers without content.
    fn send_head(
        &self,
        status: StatusCode,
        headers: Headers,
        content: Content,
        body: Value,
    ) -> Result<(), Failure> {
        let mut map = headers.map;
        match content {
            Content::Forbidden => drop(map.remove(CONTENT_LENGTH)),
            Content::Reset => drop(map.insert(CONTENT_LENGTH, HeaderValue::from(0))),
            Content::Described if status == StatusCode::NOT_MODIFIED => {}
            Content::Described | Content::Sent => {
                if headers.declared_bytes.is_none()
                    && !headers.is_chunked
                    && let Some(bytes) = self.length(body)?
                {
                    map.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
                }
            }
        }
        self.respond(status, map, ResponseBody::Whole(Bytes::new()))
    }

    /// The length of a body, where it can be told without consuming the body.
    fn length(&self, body: Value) -> Result<Option<u64>, Failure> {
        match body::kind(self.ruby, body, false, None)? {
            Kind::Array(array) => body::array_bytes(array).map(Some),
            Kind::File { bytes, .. } => Ok(Some(bytes)),
            Kind::ToAry | Kind::Each | Kind::Call => Ok(None),
        }
    }

    /// Sends the head alone, then gives the socket to the `rack.hijack` header or, after a 101, to
    /// a streaming body.
    fn send_hijack(
        &self,
        status: StatusCode,
        headers: Headers,
        body: Value,
    ) -> Result<(), Failure> {
        let callable = match headers.hijack {
            Some(callable) => self.ruby.get_inner(callable),
            None if body::is_callable(body)? => body,
            None => return Err(Refusal::Hijack("after a 101 nobody takes it").into()),
        };
        let mut map = headers.map;
        if self.head.method == http::Method::HEAD && status != StatusCode::SWITCHING_PROTOCOLS {
            return self.respond(status, map, ResponseBody::Whole(Bytes::new()));
        }
        if headers.is_chunked {
            // Here the application writes to the socket itself, in the framing that it declares.
            map.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        self.respond(status, map, ResponseBody::Hijack)?;
        let handed = self.client.socket(self.ruby).map_err(|error| match error {
            HijackError::Refused(_) if self.client.is_gone() => Failure::ClientGone,
            HijackError::Refused(refused) => Refusal::Hijack(refused.0).into(),
            HijackError::Interrupted(error) => error.into(),
        })?;
        body::call_with_socket(callable, socket::io(self.ruby, handed)?)
    }

    fn respond(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        body: ResponseBody,
    ) -> Result<(), Failure> {
        match self.client.respond(Response { status, headers, body }) {
            Outcome::Done => Ok(()),
            Outcome::Gone => Err(Failure::ClientGone),
        }
    }
}
