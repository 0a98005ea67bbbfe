//! Response bodies: which kind one is, and sending it.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use magnus::{
    Error, RArray, RString, Ruby, TryConvert, Value, prelude::*, typed_data::Obj, value::LazyId,
};

use super::{
    failure::{Failure, Refusal},
    gone,
    input::Input,
    raw,
    response::{class_of, has},
    sink,
    stream::Stream,
    transmission::{NotSent, Stop, Transmission},
};
use crate::gvl::{self, Wake};

/// Largest array body that is sent in one piece. A larger one goes in pieces, so that it is not
/// twice in memory while a slow client takes it.
pub(super) const WHOLE_BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Size of those pieces.
const PIECE_BYTES: usize = 64 * 1024;

static CALL: LazyId = LazyId::new("call");
static CLOSE: LazyId = LazyId::new("close");
static EACH: LazyId = LazyId::new("each");
static TO_ARY: LazyId = LazyId::new("to_ary");
static TO_PATH: LazyId = LazyId::new("to_path");

/// What a body is, in the order of the Rack SPEC.
#[derive(Debug)]
pub(super) enum Kind {
    /// Its pieces are there.
    Array(RArray),
    /// Its pieces can be had by [`to_ary`].
    ToAry,
    /// A file with the same content.
    File { file: File, bytes: u64 },
    /// It yields pieces.
    Each,
    /// It writes to a stream.
    Call,
}

/// Finds out what `body` is. `has_to_ary` says whether this Rack lets a server ask for `to_ary`;
/// `file_bytes` is what a file must be long to be sent in place of `each`, if that is declared.
pub(super) fn kind(
    ruby: &Ruby,
    body: Value,
    has_to_ary: bool,
    file_bytes: Option<u64>,
) -> Result<Kind, Failure> {
    if let Some(array) = RArray::from_value(body) {
        return Ok(Kind::Array(array));
    }
    if !has(body, &EACH)? {
        if has(body, &CALL)? {
            return Ok(Kind::Call);
        }
        return Err(Refusal::Body(class_of(body)).into());
    }
    if has(body, &TO_PATH)?
        && let Some((file, bytes)) = file(ruby, body.funcall(*TO_PATH, ())?)?
        && file_bytes.is_none_or(|declared| declared == bytes)
    {
        return Ok(Kind::File { file, bytes });
    }
    if has_to_ary && has(body, &TO_ARY)? { Ok(Kind::ToAry) } else { Ok(Kind::Each) }
}

/// The pieces of a body. Asking for them closes it (Rack SPEC 3.0), also when it raises; `None`,
/// against the SPEC, is taken for "not this way", as Rails 6 means it.
pub(super) fn to_ary(body: Value) -> Result<Option<RArray>, Error> {
    let pieces: Value = body.funcall(*TO_ARY, ())?;
    Ok(RArray::from_value(pieces))
}

/// Whether `body` is to be called with a stream.
pub(super) fn is_callable(body: Value) -> Result<bool, Error> {
    Ok(RArray::from_value(body).is_none() && !has(body, &EACH)? && has(body, &CALL)?)
}

/// Opens the regular file at `path`, without the GVL.
fn file(ruby: &Ruby, path: Value) -> Result<Option<(File, u64)>, Error> {
    let Some(path) = Option::<RString>::try_convert(path)? else { return Ok(None) };
    // SAFETY: the bytes are copied before any Ruby code can run.
    let path = unsafe { path.as_slice() }.to_vec();
    let open = || {
        // Opening a named pipe must not wait for its other end.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(OsStr::from_bytes(&path))
            .ok()?;
        let facts = file.metadata().ok()?;
        facts.is_file().then_some((file, facts.len()))
    };
    loop {
        match gvl::without_gvl(ruby, open, Wake::Never)? {
            Some(opened) => return Ok(opened),
            None => gvl::check_interrupts(ruby)?,
        }
    }
}

/// The length of an array body.
pub(super) fn array_bytes(array: RArray) -> Result<u64, Failure> {
    let mut bytes = 0;
    for piece in array {
        bytes += string(piece)?.map_or(0, |piece| piece.len() as u64);
    }
    Ok(bytes)
}

/// All pieces of an array body in one.
pub(super) fn joined(array: RArray, bytes: u64) -> Result<Bytes, Failure> {
    if array.len() == 1 {
        let only = string(array.entry(0)?)?;
        // SAFETY: the bytes are copied before any Ruby code can run.
        return Ok(
            only.map_or_else(Bytes::new, |s| Bytes::copy_from_slice(unsafe { s.as_slice() }))
        );
    }
    let mut whole = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or(0));
    for piece in array {
        if let Some(piece) = string(piece)? {
            // SAFETY: the bytes are copied before any Ruby code can run.
            whole.extend_from_slice(unsafe { piece.as_slice() });
        }
    }
    Ok(whole.freeze())
}

/// Sends an array body in pieces.
pub(super) fn send_array(
    ruby: &Ruby,
    array: RArray,
    transmission: &Transmission,
) -> Result<(), Failure> {
    for element in array {
        let Some(string) = string(element)? else { continue };
        let mut sent = 0;
        loop {
            // Other threads run while the client is behind, and may shorten the string.
            // SAFETY: the bytes are copied before any Ruby code can run.
            let rest = unsafe { string.as_slice() }.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let piece = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE_BYTES)]);
            sent += piece.len();
            transmission.write(ruby, piece).map_err(failure)?;
        }
    }
    outcome(transmission.finish())
}

/// Sends what `body.each` yields.
pub(super) fn send_each(
    ruby: &Ruby,
    body: Value,
    transmission: &Arc<Transmission>,
) -> Result<(), Failure> {
    let ended = sink::each(ruby, body, transmission);
    settle(ruby, ended, transmission)?;
    outcome(transmission.finish())
}

/// Calls a streaming body. The stream may be left open: a thread of the application then goes on.
pub(super) fn send_call(
    ruby: &Ruby,
    body: Value,
    input: Obj<Input>,
    transmission: &Arc<Transmission>,
) -> Result<(), Failure> {
    let stream = raw::wrapped(ruby, Stream::new(transmission, input))?;
    let ended: Result<Value, Error> = body.funcall(*CALL, (stream,));
    settle(ruby, ended.map(drop), transmission)?;
    if transmission.stop().is_none() {
        input.keep_file();
    }
    Ok(())
}

/// Calls `callable` with the client's socket; closes the socket if that raises.
pub(super) fn call_with_socket(callable: Value, socket: Value) -> Result<(), Failure> {
    let ended: Result<Value, Error> = callable.funcall(*CALL, (socket,));
    if let Err(error) = ended {
        let closed: Result<Value, Error> = socket.funcall(*CLOSE, ());
        // The exception of `call` is the one to tell.
        drop(closed);
        return Err(error.into());
    }
    Ok(())
}

/// Closes a body, if it can be closed.
pub(super) fn close(body: Value) -> Result<(), Error> {
    if has(body, &CLOSE)? {
        let _: Value = body.funcall(*CLOSE, ())?;
    }
    Ok(())
}

/// Why the sending ended, when `each` or `call` has returned or raised. A rule that was broken, or
/// a client that left, is the cause of what the application raised or hid after it.
fn settle(
    ruby: &Ruby,
    ended: Result<(), Error>,
    transmission: &Transmission,
) -> Result<(), Failure> {
    match (ended, transmission.stop()) {
        (Err(error), None | Some(Stop::Finished | Stop::Aborted)) => {
            if gone::is_gone(ruby, &error) { Err(Failure::ClientGone) } else { Err(error.into()) }
        }
        (Err(error), Some(stop)) => match Failure::from(error).into_jump() {
            Some(jump) => Err(jump.into()),
            None => outcome(stop),
        },
        (Ok(()), Some(stop)) => outcome(stop),
        (Ok(()), None) => Ok(()),
    }
}

fn outcome(stop: Stop) -> Result<(), Failure> {
    match stop {
        Stop::Finished | Stop::Aborted => Ok(()),
        Stop::Gone => Err(Failure::ClientGone),
        Stop::Refused(refusal) => Err(refusal.into()),
    }
}

fn failure(not_sent: NotSent) -> Failure {
    match not_sent {
        NotSent::Interrupted(error) => error.into(),
        NotSent::Stopped(Stop::Refused(refusal)) => refusal.into(),
        NotSent::Stopped(Stop::Gone | Stop::Finished | Stop::Aborted) => Failure::ClientGone,
    }
}

/// A piece of a body: a String, or nothing for `nil`, which Puma skips too.
fn string(piece: Value) -> Result<Option<RString>, Failure> {
    match RString::from_value(piece) {
        Some(string) => Ok(Some(string)),
        None if piece.is_nil() => Ok(None),
        None => Err(Refusal::Chunk(class_of(piece)).into()),
    }
}
