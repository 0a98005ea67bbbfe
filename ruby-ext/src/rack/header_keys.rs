//! From header names to env keys: `accept-encoding` is `HTTP_ACCEPT_ENCODING`.
//!
//! Keys are interned and kept for the life of the process, those of well-known headers from the
//! start, others as they come and up to a limit, so that a request allocates none.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use magnus::{Error, Ruby};
use rb_sys::VALUE;

use super::raw::{Raw, protected};

/// Most names, beyond the well-known, whose keys are kept. A client that makes up names costs one
/// string each beyond it.
const LEARNED_KEYS_MAX: usize = 256;

/// Longest name whose key is kept, in bytes (Puma's longest header name).
const LEARNED_NAME_BYTES_MAX: usize = 256;

/// Slots of the table of well-known names, a power of two well above their number, so that most
/// look-ups compare once.
const SLOTS: usize = 512;

/// What becomes of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// It is put under this key.
    Env(VALUE),
    /// It has an underscore and is put under this key unless its twin with dashes is there.
    EnvUnlessTwin(VALUE),
    /// It has a place of its own in env, or none (RFC 3875 section 4.1.18).
    Special,
}

/// What a header name alone tells, before any string is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Underscored,
    Special,
}

/// Names that never become `HTTP_*`.
///
/// `proxy` would be `HTTP_PROXY`, which libraries take for the proxy to use ("httpoxy",
/// CVE-2016-5385). `transfer-encoding` was undone before the application sees the body. The rest
/// have keys of their own.
const SPECIAL: [&[u8]; 4] = [b"content-length", b"content-type", b"proxy", b"transfer-encoding"];

const WELL_KNOWN: [&str; 62] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ipcountry",
    "cf-ray",
    "cf-visitor",
    "connection",
    "content-encoding",
    "content-language",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "proxy-authorization",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "traceparent",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-csrf-token",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
    "x-requested-with",
];

/// The keys of one process. Lives for ever, as its strings do.
#[derive(Debug)]
pub(super) struct HeaderKeys {
    well_known: Box<[Option<(&'static str, VALUE)>]>,
    learned: Mutex<HashMap<Box<[u8]>, VALUE>>,
}

impl HeaderKeys {
    /// Makes the keys of the well-known headers.
    pub(super) fn new(ruby: &Ruby) -> Result<Self, Error> {
        let mut well_known = vec![None; SLOTS].into_boxed_slice();
        for name in WELL_KNOWN {
            let key = protected(ruby, |raw| kept_key(raw, name.as_bytes()))?;
            let mut slot = slot(name.as_bytes());
            while well_known[slot].is_some() {
                slot = (slot + 1) % SLOTS;
            }
            well_known[slot] = Some((name, key));
        }
        Ok(Self { well_known, learned: Mutex::default() })
    }

    /// The key of the header `name`, which is in lower case.
    pub(super) fn key(&self, raw: &Raw, name: &[u8]) -> Key {
        let mut slot = slot(name);
        while let Some((known, key)) = self.well_known[slot] {
            if known.as_bytes() == name {
                return Key::Env(key);
            }
            slot = (slot + 1) % SLOTS;
        }
        match kind(name) {
            Kind::Special => Key::Special,
            Kind::Plain => Key::Env(self.learned_key(raw, name)),
            Kind::Underscored => Key::EnvUnlessTwin(self.learned_key(raw, name)),
        }
    }

    fn learned_key(&self, raw: &Raw, name: &[u8]) -> VALUE {
        // The lock is never held over a Ruby call, which may raise or switch threads.
        let (learned, is_full) = {
            let learned = self.lock();
            (learned.get(name).copied(), learned.len() >= LEARNED_KEYS_MAX)
        };
        if let Some(key) = learned {
            return key;
        }
        if is_full || name.len() > LEARNED_NAME_BYTES_MAX {
            return raw.freeze(unkept_key(raw, name));
        }
        let key = kept_key(raw, name);
        self.lock().insert(name.into(), key);
        key
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, VALUE>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept_key(raw: &Raw, name: &[u8]) -> VALUE {
    let key = raw.interned(unkept_key(raw, name));
    raw.keep(key);
    key
}

fn unkept_key(raw: &Raw, name: &[u8]) -> VALUE {
    const PIECE_BYTES: usize = 64;
    let key = raw.utf8(b"HTTP_");
    for piece in name.chunks(PIECE_BYTES) {
        let mut upper = [0; PIECE_BYTES];
        for (to, from) in upper.iter_mut().zip(piece) {
            *to = if *from == b'-' { b'_' } else { from.to_ascii_uppercase() };
        }
        raw.append(key, &upper[..piece.len()]);
    }
    key
}

fn kind(name: &[u8]) -> Kind {
    let is_special = |special: &&[u8]| {
        special.len() == name.len()
            && special.iter().zip(name).all(|(s, n)| s == n || (*s == b'-' && *n == b'_'))
    };
    if SPECIAL.iter().any(is_special) {
        Kind::Special
    } else if name.contains(&b'_') {
        Kind::Underscored
    } else {
        Kind::Plain
    }
}

/// FNV-1a. The table it serves is fixed, so a client cannot crowd it.
#[allow(clippy::cast_possible_truncation, reason = "only the low bits are wanted")]
fn slot(name: &[u8]) -> usize {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_out() {
        for name in ["content-type", "content_type", "content-length", "content_length", "proxy"] {
            assert_eq!(kind(name.as_bytes()), Kind::Special, "{name}");
        }
        for name in ["transfer-encoding", "transfer_encoding"] {
            assert_eq!(kind(name.as_bytes()), Kind::Special, "{name}");
        }
        assert_eq!(kind(b"x_real_ip"), Kind::Underscored);
        assert_eq!(kind(b"x-forwarded-for"), Kind::Plain);
        assert_eq!(kind(b"proxy-authorization"), Kind::Plain);
    }

    #[test]
    fn no_well_known_name_is_special_or_underscored_or_doubled() {
        let mut seen = std::collections::HashSet::new();
        for name in WELL_KNOWN {
            assert_eq!(kind(name.as_bytes()), Kind::Plain, "{name}");
            assert!(seen.insert(name), "{name}");
        }
    }
}
