//! The env hash of a request: Rack SPEC 2.2 and 3.x, with the keys, encodings and frozenness of
//! Puma 8.
//!
//! Everything that came from the client is a fresh, unfrozen binary string. What is shared with
//! other requests is frozen and says nothing of this one.

use std::{fmt::Write, net::IpAddr, time::Duration};

use http::{
    Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING},
    request::Parts,
};
use magnus::{Error, RHash, Ruby, TryConvert, Value, rb_sys::FromRawValue};
use rb_sys::VALUE;

use super::{
    context::Context,
    forwarded::{self, Origin},
    header_keys::Key,
    raw::{NIL, Raw, protected},
};
use crate::exchange::{Peer, Scheme};

/// Keys and values that go into the hash in one step; more take further steps.
const BATCH_PAIRS: usize = 48;

/// What env is built from, besides the constants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) head: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) body_bytes: u64,
    pub(super) body_wait: Duration,
    pub(super) input: VALUE,
    pub(super) hijack: VALUE,
    /// The value of `rack.early_hints`, if it is offered.
    pub(super) early_hints: Option<VALUE>,
}

/// Builds env.
///
/// # Errors
///
/// `NoMemoryError`.
pub(super) fn build(ruby: &Ruby, context: &Context, facts: Facts<'_>) -> Result<RHash, Error> {
    let origin = forwarded::origin(facts.head, facts.peer.scheme);
    let mut length = Text::<20>::new();
    let mut address = Text::<45>::new();
    // The buffers hold the longest number and the longest address, so writing does not fail.
    let _ = write!(length, "{}", facts.body_bytes);
    if let Some(remote) = facts.peer.remote {
        let _ = write!(address, "{}", unmapped(remote));
    }
    let texts = Texts { origin, length: length.as_bytes(), address: address.as_bytes() };
    let env = protected(ruby, |raw| {
        let mut env =
            Env { raw, context, hash: raw.hash(), pairs: [NIL; 2 * BATCH_PAIRS], used: 0 };
        env.put_request_line(&facts);
        env.put_server(&facts, &texts);
        env.put_headers(&facts, &texts);
        env.put_rack(&facts);
        env.flush();
        env.hash
    })?;
    // SAFETY: `env` is the hash that was just built, and is on this stack.
    RHash::try_convert(unsafe { Value::from_raw(env) })
}

/// Texts made before the building starts, because making them may allocate or fail.
#[derive(Clone, Copy)]
struct Texts<'a> {
    origin: Origin<'a>,
    length: &'a [u8],
    address: &'a [u8],
}

/// The hash in the making. Lives on the stack, owns nothing.
struct Env<'a> {
    raw: &'a Raw,
    context: &'a Context,
    hash: VALUE,
    pairs: [VALUE; 2 * BATCH_PAIRS],
    used: usize,
}

impl Env<'_> {
    fn put(&mut self, key: VALUE, value: VALUE) {
        if self.used == self.pairs.len() {
            self.flush();
        }
        self.pairs[self.used] = key;
        self.pairs[self.used + 1] = value;
        self.used += 2;
    }

    fn flush(&mut self) {
        self.raw.insert(self.hash, &self.pairs[..self.used]);
        self.used = 0;
    }

    fn put_request_line(&mut self, facts: &Facts<'_>) {
        let (raw, keys, values) = (self.raw, &self.context.keys, &self.context.values);
        let uri = &facts.head.uri;
        self.put(keys.request_method, raw.bytes(facts.head.method.as_str().as_bytes()));
        self.put(keys.script_name, values.script_name);
        let path = match (uri.path(), uri.authority()) {
            // The target of CONNECT is an authority.
            ("", Some(authority)) => authority.as_str(),
            (path, _) => path,
        };
        // Rack 2: "The PATH_INFO, if non-empty, must start with /"; Rack 3 allows `*`.
        let is_refused = path == "*" && self.context.path_info_needs_slash;
        let path = raw.bytes(path.as_bytes());
        self.put(keys.path_info, if is_refused { values.empty } else { path });
        self.put(keys.request_path, path);
        let query = uri.query().unwrap_or_default();
        let query = if query.is_empty() { values.empty } else { raw.bytes(query.as_bytes()) };
        self.put(keys.query_string, query);
        self.put(keys.request_uri, request_uri(raw, &facts.head.uri));
    }

    fn put_server(&mut self, facts: &Facts<'_>, texts: &Texts<'_>) {
        let (raw, keys, values) = (self.raw, &self.context.keys, &self.context.values);
        let Origin { scheme, name, port } = texts.origin;
        let name = if name == b"localhost" { values.localhost } else { raw.bytes(name) };
        self.put(keys.server_name, name);
        let (scheme, default_port) = match scheme {
            Scheme::Http => (values.http, values.port_80),
            Scheme::Https => (values.https, values.port_443),
        };
        self.put(keys.server_port, port.map_or(default_port, |port| raw.bytes(port)));
        self.put(keys.url_scheme, scheme);
        // Only TLS of our own counts for this key; a proxy's is told by `rack.url_scheme`.
        if facts.peer.scheme == Scheme::Https {
            self.put(keys.https, values.https);
        }
        let protocol =
            if facts.head.version == Version::HTTP_10 { values.http_1_0 } else { values.http_1_1 };
        self.put(keys.server_protocol, protocol);
        if self.context.has_http_version {
            self.put(keys.http_version, protocol);
        }
        self.put(keys.server_software, values.software);
        self.put(keys.gateway_interface, values.gateway);
        let address =
            if texts.address.is_empty() { values.loopback } else { raw.bytes(texts.address) };
        self.put(keys.remote_addr, address);
    }

    fn put_headers(&mut self, facts: &Facts<'_>, texts: &Texts<'_>) {
        let headers = &facts.head.headers;
        let (raw, keys) = (self.raw, &self.context.keys);
        let mut has_underscores = false;
        let mut last: Option<(&HeaderName, VALUE)> = None;
        for (name, value) in headers {
            // Values of one name follow each other.
            if let Some((last_name, joined)) = last
                && last_name == name
            {
                if joined != NIL {
                    raw.append(joined, separator(name));
                    raw.append(joined, value.as_bytes());
                }
                continue;
            }
            let mut string = NIL;
            match self.context.header_keys.key(raw, name.as_str().as_bytes()) {
                Key::Env(_) if *name == HOST && facts.head.uri.authority().is_some() => {}
                Key::Env(key) if self.context.has_http_version && key == keys.http_version => {}
                Key::Env(key) => {
                    string = raw.bytes(value.as_bytes());
                    self.put(key, string);
                }
                Key::EnvUnlessTwin(_) => has_underscores = true,
                Key::Special if *name == CONTENT_TYPE => {
                    string = raw.bytes(value.as_bytes());
                    self.put(keys.content_type, string);
                }
                Key::Special => {}
            }
            last = Some((name, string));
        }
        if let Some(authority) = facts.head.uri.authority() {
            self.put(keys.http_host, raw.bytes(authority.as_str().as_bytes()));
        }
        // For a chunked body this is the length that it turned out to have.
        let has_length =
            headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        if has_length || facts.body_bytes > 0 {
            self.put(keys.content_length, raw.bytes(texts.length));
        }
        if has_underscores {
            self.put_underscored(headers);
        }
    }

    /// A header with underscores must not pass for one with dashes, which a proxy may have set.
    fn put_underscored(&mut self, headers: &HeaderMap) {
        self.flush();
        for (name, value) in headers {
            let key = self.context.header_keys.key(self.raw, name.as_str().as_bytes());
            if let Key::EnvUnlessTwin(key) = key
                && !self.raw.has_key(self.hash, key)
            {
                self.put(key, self.raw.bytes(value.as_bytes()));
                self.flush();
            }
        }
    }

    fn put_rack(&mut self, facts: &Facts<'_>) {
        let (raw, keys, values) = (self.raw, &self.context.keys, &self.context.values);
        self.put(keys.rack_version, values.rack_version);
        // SAFETY: a static of the VM that always holds an object: `$stderr` as it is now. Reading
        // it needs the GVL, which `raw` stands for.
        let errors = unsafe { rb_sys::rb_stderr };
        self.put(keys.errors, errors);
        self.put(keys.input, facts.input);
        self.put(keys.multithread, values.multithread);
        self.put(keys.multiprocess, values.multiprocess);
        self.put(keys.run_once, rb_sys::Qfalse as VALUE);
        self.put(keys.is_hijack, rb_sys::Qtrue as VALUE);
        self.put(keys.hijack, facts.hijack);
        self.put(keys.after_reply, raw.array());
        self.put(keys.response_finished, raw.array());
        self.put(keys.request_body_wait, raw.float(facts.body_wait.as_secs_f64() * 1000.0));
        self.put(keys.mark_as_io_bound, self.context.values.mark_as_io_bound);
        if let Some(early_hints) = facts.early_hints {
            self.put(keys.early_hints, early_hints);
        }
    }
}

/// The target as it was sent.
fn request_uri(raw: &Raw, uri: &http::Uri) -> VALUE {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let Some(authority) = uri.authority() else { return raw.bytes(target.as_bytes()) };
    let text = raw.bytes(uri.scheme_str().unwrap_or_default().as_bytes());
    if uri.scheme().is_some() {
        raw.append(text, b"://");
    }
    raw.append(text, authority.as_str().as_bytes());
    raw.append(text, target.as_bytes());
    text
}

/// RFC 9110 section 5.3 joins by a comma; cookies are joined as RFC 9113 section 8.2.3 has it.
fn separator(name: &HeaderName) -> &'static [u8] {
    if *name == http::header::COOKIE { b"; " } else { b", " }
}

/// An IPv4 client of a dual-stack listener is shown as the IPv4 client it is, as Puma does.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A short text on the stack.
struct Text<const BYTES: usize> {
    bytes: [u8; BYTES],
    used: usize,
}

impl<const BYTES: usize> Text<BYTES> {
    fn new() -> Self {
        Self { bytes: [0; BYTES], used: 0 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl<const BYTES: usize> Write for Text<BYTES> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        let room = self.bytes.get_mut(self.used..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}
