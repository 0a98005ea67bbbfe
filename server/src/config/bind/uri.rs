//! From the text of a bind URI to a [`Bind`], and the encoding of paths in it.

use std::{net::Ipv6Addr, path::Path};

use super::{
    BACKLOG_DEFAULT, Bind, UnixOptions,
    query::{self, Known},
};
use crate::config::{nearest, value};

/// Bytes of a Unix socket's address without the closing NUL (`unix(7)`, `sun_path`). An abstract
/// name starts with a NUL instead.
pub(crate) const UNIX_ADDRESS_BYTES_MAX: usize = 107;

/// Reads `tcp://HOST:PORT`, `unix://PATH` (also `unix:/PATH`) or `unix://@NAME`, as Puma's `-b` takes
/// them. A relative path is taken from `directory`.
///
/// # Errors
///
/// The reason, with what to write instead.
pub(crate) fn parse(text: &str, directory: &Path) -> Result<Bind, String> {
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (text, None),
    };
    match address.split_once("://") {
        Some(("tcp", rest)) => tcp(rest, query),
        Some(("unix", rest)) => unix(rest, query, directory),
        Some(("ssl", _)) => {
            Err("rackrs does not speak TLS yet; use tcp:// or unix:// behind a proxy \
                                 that does"
                .to_owned())
        }
        Some((scheme, _)) => Err(unknown_scheme(scheme)),
        None => match address.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => unix(path, query, directory),
            Some(path) => Err(format!("write unix://{path}")),
            None if address.contains('/') => {
                Err(format!("the scheme is missing; write unix://{text}"))
            }
            None => Err(format!("the scheme is missing; write tcp://{text}")),
        },
    }
}

fn unknown_scheme(scheme: &str) -> String {
    match nearest(scheme, ["tcp", "unix"]) {
        Some(near) => format!("the scheme {scheme} is not known; the nearest is {near}"),
        None => format!("the scheme {scheme} is not known; it takes tcp:// or unix://"),
    }
}

fn tcp(rest: &str, query: Option<&str>) -> Result<Bind, String> {
    const SHAPE: &str = "write tcp://HOST:PORT";
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed
                .split_once(']')
                .ok_or_else(|| format!("the bracket is not closed; {SHAPE}"))?;
            host.parse::<Ipv6Addr>().map_err(|_| format!("{host} is not an IPv6 address"))?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err("an IPv6 address needs brackets; write tcp://[ADDRESS]:PORT".to_owned());
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the host is missing; write tcp://0.0.0.0:PORT for every address".to_owned());
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@#\\".contains(c)) {
        return Err(format!("{host} is not a host name; {SHAPE}"));
    }
    let port =
        port.filter(|port| !port.is_empty()).ok_or(format!("the port is missing; {SHAPE}"))?;
    let port = value::port(port)?;
    let backlog = query::parse(query, Known::Tcp)?.backlog.unwrap_or(BACKLOG_DEFAULT);
    Ok(Bind::Tcp { host: host.to_owned(), port, backlog })
}

fn unix(rest: &str, query: Option<&str>, directory: &Path) -> Result<Bind, String> {
    if let Some(name) = rest.strip_prefix('@') {
        let name = decode(name)?;
        if name.is_empty() {
            return Err("the name is missing; write unix://@NAME".to_owned());
        }
        short_enough(&name, "name")?;
        let backlog = query::parse(query, Known::Abstract)?.backlog.unwrap_or(BACKLOG_DEFAULT);
        return Ok(Bind::Abstract { name, backlog });
    }
    let path = value::absolute(directory, &value::path(&decode(rest)?)?);
    if rest.ends_with('/') {
        return Err("the path names a directory; write unix:///DIRECTORY/NAME.sock".to_owned());
    }
    short_enough(&path.to_string_lossy(), "path")?;
    let query = query::parse(query, Known::Unix)?;
    let options = UnixOptions {
        umask: query.umask,
        mode: query.mode,
        backlog: query.backlog.unwrap_or(BACKLOG_DEFAULT),
    };
    Ok(Bind::Unix { path, options })
}

fn short_enough(address: &str, what: &str) -> Result<(), String> {
    let length = address.len();
    if length <= UNIX_ADDRESS_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "the socket's {what} {address} has {length} bytes, and the system takes at most \
         {UNIX_ADDRESS_BYTES_MAX}; choose a shorter one"
    ))
}

/// `%xx` to bytes. The result must be UTF-8, because the configuration travels as JSON.
///
/// # Errors
///
/// The reason, with what to write instead.
pub(crate) fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let pair = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(pair.ok_or("a % needs two hexadecimal digits; write %25 for the sign itself")?);
    }
    if bytes.contains(&0) {
        return Err("a socket's address cannot hold a NUL byte".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// The URL of a socket file without options.
pub(crate) fn unix_url(path: &Path) -> String {
    format!("unix://{}", encode(&path.to_string_lossy()))
}

/// The reverse of [`decode`], for what would not survive it.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_control() || matches!(character, '%' | '?' | ' ') {
            encoded.extend(['%', hex_digit(character, 4), hex_digit(character, 0)]);
        } else {
            encoded.push(character);
        }
    }
    encoded
}

fn hex_digit(character: char, shift: u32) -> char {
    char::from_digit((u32::from(character) >> shift) & 0xf, 16)
        .expect("four bits are one hexadecimal digit")
        .to_ascii_uppercase()
}

#[cfg(test)]
mod tests;
