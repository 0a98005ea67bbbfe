//! The grammar of `host [":" port]` (RFC 3986 section 3.2.2, RFC 9110 section 7.2).

use std::net::Ipv6Addr;

/// Whether `value` names a host, and perhaps a port.
///
/// Stricter than the grammar in one point: a comma, which is how merged `Host` lines look, is not
/// accepted. Underscores are: many a development and cluster name has them.
pub(super) fn is_valid(value: &[u8]) -> bool {
    if let Some(bracketed) = value.strip_prefix(b"[") {
        let Some(end) = bracketed.iter().position(|byte| *byte == b']') else { return false };
        let (address, rest) = (&bracketed[..end], &bracketed[end + 1..]);
        return is_ipv6(address)
            && (rest.is_empty() || rest.strip_prefix(b":").is_some_and(is_port));
    }
    match value.iter().position(|byte| *byte == b':') {
        Some(colon) => is_name(&value[..colon]) && is_port(&value[colon + 1..]),
        None => is_name(value),
    }
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `*DIGIT`: empty is allowed, and means the default.
fn is_port(port: &[u8]) -> bool {
    port.is_empty()
        || (port.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(port).is_ok_and(|text| text.parse::<u16>().is_ok()))
}

/// `reg-name` or an IPv4 address, not empty.
fn is_name(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' => true,
            b'%' => {
                let digits = [bytes.next(), bytes.next()];
                digits.iter().all(|digit| digit.is_some_and(u8::is_ascii_hexdigit))
            }
            _ => false,
        };
        if !valid {
            return false;
        }
    }
    !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_accepted() {
        for host in [
            "a",
            "a:80",
            "a:",
            "example.com:65535",
            "my_app",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "a%20b",
            "xn--bcher-kva.example",
            "a-b.c~d",
        ] {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for host in [
            "",
            ":80",
            "a/b",
            "u@a",
            "a@b@c",
            "a, b",
            "a,b",
            "a:xx",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:80:80",
            "a\x01",
            "a<script>",
            "a b",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "[::1]x",
            "[::g]",
            "[]",
            "[fe80::1%25eth0]",
            "a%2",
            "a%zz",
            "é",
            "\"a\"",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }
}
