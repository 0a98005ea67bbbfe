//! Scheme, server name and port of a request, from the listener and the request's own headers.
//!
//! The rules are those of Puma 8 (`normalize_env` and `default_server_port`), so that the same
//! proxy configuration gives the same URLs.

use http::{HeaderMap, header::HeaderValue, request::Parts};

use crate::exchange::Scheme;

/// Who the client thinks it is talking to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    pub(super) scheme: Scheme,
    /// The host, an IPv6 literal in its brackets.
    pub(super) name: &'a [u8],
    /// Decimal digits; `None` stands for the default port of the scheme.
    pub(super) port: Option<&'a [u8]>,
}

/// Finds the origin that `head` names on a listener that speaks `listener`.
pub(super) fn origin(head: &Parts, listener: Scheme) -> Origin<'_> {
    let (name, port) = split(authority(head).unwrap_or_default());
    // An HTTP/1.0 request may name no host at all.
    let name = if name.is_empty() { b"localhost" } else { name };
    Origin { scheme: scheme(&head.headers, listener), name, port }
}

/// The authority of the request: the target's own if it has one (RFC 9112 section 3.2.2 makes it
/// win over `Host`), else the `Host` header.
pub(super) fn authority(head: &Parts) -> Option<&[u8]> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => head.headers.get(http::header::HOST).map(HeaderValue::as_bytes),
    }
}

/// The scheme of the last hop but for what a proxy says of the hop before it.
pub(super) fn scheme(headers: &HeaderMap, listener: Scheme) -> Scheme {
    let first = |name| headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    if listener == Scheme::Https
        || first("x-forwarded-proto").starts_with(b"https")
        || first("x-forwarded-scheme") == b"https"
        || first("x-forwarded-ssl") == b"on"
    {
        Scheme::Https
    } else {
        Scheme::Http
    }
}

/// Splits an authority into host and port. A port that is not all digits is no port: Rack requires
/// `SERVER_PORT` to be a number.
fn split(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = match authority.strip_prefix(b"[") {
        Some(_) => authority.iter().rposition(|&byte| byte == b']').map(|bracket| bracket + 1),
        None => authority.iter().position(|&byte| byte == b':'),
    };
    let Some(colon) = colon.filter(|&colon| authority.get(colon) == Some(&b':')) else {
        return (authority, None);
    };
    let port = &authority[colon + 1..];
    let is_number = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    (&authority[..colon], is_number.then_some(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn authorities_are_split_as_puma_does() {
        let table: [(&str, &str, Option<&str>); 10] = [
            ("example.org", "example.org", None),
            ("example.org:8080", "example.org", Some("8080")),
            ("127.0.0.1:80", "127.0.0.1", Some("80")),
            ("[::1]", "[::1]", None),
            ("[::1]:9292", "[::1]", Some("9292")),
            ("example.org:", "example.org", None),
            ("example.org:http", "example.org", None),
            ("[::1", "[::1", None),
            (":81", "", Some("81")),
            ("", "", None),
        ];
        for (authority, name, port) in table {
            assert_eq!(
                split(authority.as_bytes()),
                (name.as_bytes(), port.map(str::as_bytes)),
                "{authority}"
            );
        }
    }

    #[test]
    fn the_scheme_follows_listener_and_proxy() {
        let table: [(&[(&'static str, &str)], Scheme); 9] = [
            (&[], Scheme::Http),
            (&[("x-forwarded-proto", "https")], Scheme::Https),
            (&[("x-forwarded-proto", "https,http")], Scheme::Https),
            (&[("x-forwarded-proto", "http,https")], Scheme::Http),
            (&[("x-forwarded-scheme", "https")], Scheme::Https),
            (&[("x-forwarded-scheme", "https,http")], Scheme::Http),
            (&[("x-forwarded-ssl", "on")], Scheme::Https),
            (&[("x-forwarded-ssl", "off")], Scheme::Http),
            (&[("x-forwarded-proto", "HTTPS")], Scheme::Http),
        ];
        for (headers, expected) in table {
            assert_eq!(scheme(&head("/", headers).headers, Scheme::Http), expected, "{headers:?}");
            assert_eq!(scheme(&head("/", headers).headers, Scheme::Https), Scheme::Https);
        }
    }

    #[test]
    fn the_target_wins_over_host() {
        let absolute = head("http://b.example:81/x", &[("host", "a")]);
        let expected = Origin { scheme: Scheme::Http, name: b"b.example", port: Some(b"81") };
        assert_eq!(origin(&absolute, Scheme::Http), expected);
    }

    #[test]
    fn no_host_is_localhost() {
        for headers in [&[][..], &[("host", "")][..]] {
            let expected = Origin { scheme: Scheme::Https, name: b"localhost", port: None };
            assert_eq!(origin(&head("/", headers), Scheme::Https), expected);
        }
    }
}
