//! The access log: one line per response in Puma's form, written by the I/O thread.
//!
//! `X-FORWARDED-FOR-or-address - - [22/Nov/2026:10:00:00 +0000] "GET /path?query HTTP/1.1" 200 13 0.0012`

use std::{
    cell::{Cell, RefCell},
    fmt::Write as _,
    io::{self, Write as _},
    time::{SystemTime, UNIX_EPOCH},
};

use rackrs_sys::local_time::LocalTime;

use crate::http::{AccessLog, Entry};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes lines to standard output. Each is one `write(2)`, so that lines of several workers do
/// not mix in a file.
#[derive(Debug, Default)]
pub struct AccessLines {
    line: RefCell<String>,
    /// The time stamp of the present second, which many requests share.
    stamp: RefCell<String>,
    stamped: Cell<u64>,
}

impl AccessLog for AccessLines {
    fn record(&self, entry: &Entry<'_>) {
        let mut line = self.line.borrow_mut();
        line.clear();
        self.refresh_stamp(SystemTime::now());
        write_line(&mut line, entry, &self.stamp.borrow());
        // A log that cannot be written never stops the server.
        let _ = io::stdout().write_all(line.as_bytes());
    }
}

impl AccessLines {
    fn refresh_stamp(&self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.stamped.replace(second) != second {
            *self.stamp.borrow_mut() = stamp(now);
        }
    }
}

fn stamp(now: SystemTime) -> String {
    let Some(time) = LocalTime::of(now) else { return "-".into() };
    let sign = if time.offset_minutes < 0 { '-' } else { '+' };
    let offset = time.offset_minutes.abs();
    let month = MONTHS.get(usize::from(time.month).wrapping_sub(1)).unwrap_or(&"-");
    format!(
        "{:02}/{month}/{}:{:02}:{:02}:{:02} {sign}{:02}{:02}",
        time.day,
        time.year,
        time.hour,
        time.minute,
        time.second,
        offset / 60,
        offset % 60
    )
}

fn write_line(line: &mut String, entry: &Entry<'_>, stamp: &str) {
    match (entry.forwarded_for, entry.peer.remote) {
        (Some(forwarded), _) => escape(line, forwarded.as_bytes()),
        (None, Some(address)) => push(line, format_args!("{address}")),
        // Puma's address for a Unix socket.
        (None, None) => line.push_str("127.0.0.1"),
    }
    push(line, format_args!(" - - [{stamp}] \"{} {}", entry.method, entry.target.path()));
    if let Some(query) = entry.target.query() {
        push(line, format_args!("?{query}"));
    }
    push(line, format_args!(" {:?}\" ", entry.version));
    match entry.status {
        Some(status) => push(line, format_args!("{} {}", status.as_u16(), entry.body_bytes)),
        None => line.push_str("HIJACKED -1"),
    }
    push(line, format_args!(" {:.4}\n", entry.elapsed.as_secs_f64()));
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a String takes everything");
}

/// Bytes that a terminal or a log parser would act on become `\xHH`: what a client sends must not
/// forge a line.
fn escape(line: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => line.extend(['\\', char::from(byte)]),
            b' '..=b'~' => line.push(char::from(byte)),
            _ => push(line, format_args!("\\x{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Method, StatusCode, Uri, Version};
    use rackrs_ruby::exchange::{Peer, Scheme};

    use super::*;

    fn line(forwarded_for: Option<&HeaderValue>, status: Option<StatusCode>) -> String {
        let peer = Peer { remote: None, local: None, scheme: Scheme::Http };
        let entry = Entry {
            method: &Method::GET,
            target: &Uri::from_static("/a?b=c"),
            version: Version::HTTP_11,
            status,
            body_bytes: 13,
            cut: false,
            elapsed: Duration::from_micros(1234),
            peer: &peer,
            forwarded_for,
        };
        let mut line = String::new();
        write_line(&mut line, &entry, "STAMP");
        line
    }

    #[test]
    fn has_pumas_form() {
        assert_eq!(
            line(None, Some(StatusCode::OK)),
            "127.0.0.1 - - [STAMP] \"GET /a?b=c HTTP/1.1\" 200 13 0.0012\n"
        );
        assert_eq!(
            line(None, None),
            "127.0.0.1 - - [STAMP] \"GET /a?b=c HTTP/1.1\" HIJACKED -1 0.0012\n"
        );
    }

    #[test]
    fn what_a_client_sends_cannot_forge_a_line() {
        let forged = HeaderValue::from_bytes(b"1.2.3.4\t\x80\" x").unwrap();
        let line = line(Some(&forged), Some(StatusCode::OK));
        assert!(line.starts_with("1.2.3.4\\x09\\x80\\\" x - - ["), "{line}");
    }
}
