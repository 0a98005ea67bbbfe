//! The headers an application returned, checked and in the form that is sent.
//!
//! Rack 3 has a Hash of String or Array of String; Rack 2 anything with `each`, and several values
//! of one name joined by newlines. Both are taken under every Rack, as Puma does.

use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use magnus::{
    Error, RArray, RHash, RString, Ruby, TryConvert, Value,
    prelude::*,
    r_hash::ForEach,
    value::{LazyId, Opaque},
};

use super::failure::{Failure, Refusal};

/// Longest part of a refused header name that a message repeats, in bytes.
const SHOWN_NAME_BYTES_MAX: usize = 64;

/// Most headers of a response, counting each value of a name. Far beyond them sending takes a time
/// that grows with their square, and the map has no room.
const HEADERS_MAX: usize = 1024;

static TO_ENUM: LazyId = LazyId::new("to_enum");
static TO_A: LazyId = LazyId::new("to_a");

/// The headers of one response.
#[derive(Default)]
pub(super) struct Headers {
    /// What is sent. Has no `transfer-encoding`: framing is the server's.
    pub(super) map: HeaderMap,
    /// The `content-length` in the map.
    pub(super) declared_bytes: Option<u64>,
    /// Whether the application said that its body is already in chunks, as `Rack::Chunked` and
    /// Rails 6's streaming do.
    pub(super) is_chunked: bool,
    /// The callable under `rack.hijack` (partial hijack). The application's headers keep it alive.
    pub(super) hijack: Option<Opaque<Value>>,
    /// The first thing wrong with them.
    refusal: Option<Refusal>,
}

/// Reads the headers of a response.
///
/// # Errors
///
/// A header that must not be sent, or an exception of the application's own objects.
pub(super) fn read(ruby: &Ruby, headers: Value) -> Result<Headers, Failure> {
    let mut read = collect(ruby, headers)?;
    if let Some(refusal) = read.refusal.take() {
        return Err(refusal.into());
    }
    read.declared_bytes = content_length(&read.map)?;
    if read.declared_bytes.is_some() {
        // Equal repetitions are one (RFC 9110 section 8.6).
        if let Some(first) = read.map.get(CONTENT_LENGTH).cloned() {
            read.map.insert(CONTENT_LENGTH, first);
        }
    }
    let coding = read.map.remove(TRANSFER_ENCODING);
    read.is_chunked = coding
        .is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    Ok(read)
}

/// Reads the headers of an early hint: what cannot be sent is left out, as Puma does.
pub(super) fn read_hints(ruby: &Ruby, headers: Value) -> Result<HeaderMap, Error> {
    Ok(collect(ruby, headers)?.map)
}

fn collect(ruby: &Ruby, headers: Value) -> Result<Headers, Error> {
    let mut read = Headers::default();
    if headers.is_nil() {
        return Ok(read);
    }
    if let Some(hash) = RHash::from_value(headers) {
        read.map.reserve(hash.len().min(HEADERS_MAX) + 2);
        hash.foreach(|name: Value, value: Value| {
            read.add(name, value)?;
            Ok(ForEach::Continue)
        })?;
        return Ok(read);
    }
    // Ruby collects the pairs, so that no object is in our hands alone while its code runs.
    let pairs: Value = headers.funcall(*TO_ENUM, (ruby.to_symbol("each"),))?;
    let pairs: RArray = pairs.funcall(*TO_A, ())?;
    for pair in pairs {
        let (name, value) = <(Value, Value)>::try_convert(pair)?;
        read.add(name, value)?;
    }
    Ok(read)
}

impl Headers {
    fn add(&mut self, name: Value, value: Value) -> Result<(), Error> {
        let name = string(name)?;
        // SAFETY: no Ruby code runs while the slice is in use.
        let bytes = unsafe { name.as_slice() };
        if bytes.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"rack.")) {
            // Words to the server; never sent (Rack SPEC, "The Headers").
            if bytes.eq_ignore_ascii_case(b"rack.hijack") && !value.is_nil() {
                self.hijack = Some(value.into());
            }
            return Ok(());
        }
        if bytes.eq_ignore_ascii_case(b"status") {
            return Ok(());
        }
        let Ok(name) = HeaderName::from_bytes(bytes) else {
            self.refuse(Refusal::HeaderName(shown(bytes)));
            return Ok(());
        };
        if let Some(values) = RArray::from_value(value) {
            for value in values {
                self.add_lines(&name, string(value)?);
            }
        } else if value.is_nil() {
            self.add_line(&name, b"");
        } else {
            self.add_lines(&name, string(value)?);
        }
        Ok(())
    }

    /// Several values joined by newlines are several headers (Rack SPEC 2.2).
    fn add_lines(&mut self, name: &HeaderName, text: RString) {
        // SAFETY: no Ruby code runs while the slice is in use.
        let bytes = unsafe { text.as_slice() };
        if !bytes.contains(&b'\n') {
            return self.add_line(name, bytes);
        }
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            self.add_line(name, line);
        }
    }

    fn add_line(&mut self, name: &HeaderName, line: &[u8]) {
        if self.map.len() >= HEADERS_MAX {
            return self.refuse(Refusal::HeaderCount(HEADERS_MAX));
        }
        match HeaderValue::from_bytes(line) {
            Ok(value) => {
                self.map.append(name.clone(), value);
            }
            Err(_) => self.refuse(Refusal::HeaderValue(name.clone())),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }
}

/// `value` as a string, by its own `to_s` if it is none.
fn string(value: Value) -> Result<RString, Error> {
    match RString::from_value(value) {
        Some(string) => Ok(string),
        None => value.to_r_string(),
    }
}

fn shown(name: &[u8]) -> String {
    name[..name.len().min(SHOWN_NAME_BYTES_MAX)].escape_ascii().to_string()
}

/// The length that `content-length` declares.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let length = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u64>().ok())
            .ok_or(Refusal::ContentLength)?;
        if declared.is_some_and(|declared| declared != length) {
            return Err(Refusal::ContentLength);
        }
        declared = Some(length);
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(values: &[&'static str]) -> Result<Option<u64>, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
        }
        content_length(&headers)
    }

    #[test]
    fn only_one_number_is_a_length() {
        assert_eq!(declared(&[]), Ok(None));
        assert_eq!(declared(&["0"]), Ok(Some(0)));
        assert_eq!(declared(&["12", "12"]), Ok(Some(12)));
        for wrong in [
            &["12", "13"][..],
            &["12, 12"],
            &["+12"],
            &["-1"],
            &[""],
            &["1a"],
            &["99999999999999999999"],
        ] {
            assert_eq!(declared(wrong), Err(Refusal::ContentLength), "{wrong:?}");
        }
    }
}
