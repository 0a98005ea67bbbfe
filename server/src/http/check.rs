//! Which requests are refused before anything else: what hyper parses but must not be served.
//!
//! A pure function over the head. Framing rules are strict without exception, because a proxy in
//! front may frame the same bytes in another way.

use http::{
    HeaderMap, Method, StatusCode, Version,
    header::{EXPECT, HOST, TRANSFER_ENCODING},
    request::Parts,
    uri::Uri,
};

use super::{host, refusal::Refusal};

/// Longest header name in bytes (Puma's `FIELD_NAME`).
const HEADER_NAME_BYTES_MAX: usize = 256;
/// Longest header value in bytes (Puma's `FIELD_VALUE`).
const HEADER_VALUE_BYTES_MAX: usize = 80 * 1024;
/// Longest request target in bytes (Puma's `REQUEST_URI`).
const TARGET_BYTES_MAX: usize = 12 * 1024;
/// Longest path in bytes (Puma's `REQUEST_PATH`).
const PATH_BYTES_MAX: usize = 8 * 1024;
/// Longest query in bytes (Puma's `QUERY_STRING`).
const QUERY_BYTES_MAX: usize = 10 * 1024;

/// Checks the head of a request.
///
/// # Errors
///
/// The [`Refusal`] to answer with.
pub(super) fn head(head: &Parts) -> Result<(), Refusal> {
    method(&head.method)?;
    target(&head.method, &head.uri)?;
    for (name, value) in &head.headers {
        if name.as_str().len() > HEADER_NAME_BYTES_MAX {
            return Err(Refusal::bad_request("a header name is too long"));
        }
        if value.len() > HEADER_VALUE_BYTES_MAX {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Refusal::new(status, "a header value is too long"));
        }
    }
    host_header(head.version, &head.headers)?;
    transfer_encoding(&head.headers)?;
    if head.version == Version::HTTP_11 {
        expectation(&head.headers)?;
    }
    Ok(())
}

/// The methods registered at IANA (Puma's `IANA_HTTP_METHODS`), those for file systems among
/// them.
fn method(method: &Method) -> Result<(), Refusal> {
    match method.as_str() {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "TRACE" | "PATCH" | "QUERY" => {
            Ok(())
        }
        "ACL" | "BASELINE-CONTROL" | "BIND" | "CHECKIN" | "CHECKOUT" | "COPY" | "LABEL"
        | "LINK" | "LOCK" | "MERGE" | "MKACTIVITY" | "MKCALENDAR" | "MKCOL" | "MKREDIRECTREF"
        | "MKWORKSPACE" | "MOVE" | "ORDERPATCH" | "PROPFIND" | "PROPPATCH" | "REBIND"
        | "REPORT" | "SEARCH" | "UNBIND" | "UNCHECKOUT" | "UNLINK" | "UNLOCK" | "UPDATE"
        | "UPDATEREDIRECTREF" | "VERSION-CONTROL" => Ok(()),
        "CONNECT" => {
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this server is not a proxy"))
        }
        _ => Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "the method is not known")),
    }
}

/// RFC 9112 section 3.2: origin form, absolute form, or `*` for OPTIONS.
fn target(method: &Method, target: &Uri) -> Result<(), Refusal> {
    let path = target.path();
    let query = target.query().unwrap_or_default();
    let authority = target.authority().map_or("", |authority| authority.as_str());
    if path.len() > PATH_BYTES_MAX
        || query.len() > QUERY_BYTES_MAX
        || authority.len() + path.len() + query.len() > TARGET_BYTES_MAX
    {
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, "the request target is too long"));
    }
    match (target.scheme_str(), target.authority()) {
        (Some("http" | "https"), Some(authority))
            if host::is_valid(authority.as_str().as_bytes()) =>
        {
            Ok(())
        }
        (None, None) if path == "*" && target.query().is_none() => {
            if method == Method::OPTIONS {
                Ok(())
            } else {
                Err(Refusal::bad_request("only OPTIONS may ask for *"))
            }
        }
        (None, None) if path.starts_with('/') => Ok(()),
        _ => Err(Refusal::bad_request("the request target is malformed")),
    }
}

/// RFC 9112 section 3.2: exactly one `Host`, and a valid one; HTTP/1.0 may have none.
fn host_header(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_10 => Ok(()),
        (None, _) => Err(Refusal::bad_request("the host header is missing")),
        (Some(_), Some(_)) => Err(Refusal::bad_request("there is more than one host header")),
        (Some(host), None) if host::is_valid(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(Refusal::bad_request("the host header is malformed")),
    }
}

/// RFC 9112 section 6.1. hyper has refused what does not end in `chunked`; all that is left over
/// but a single `chunked` is either a coding that we do not undo, or a trick.
fn transfer_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(encoding), None) if encoding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "the only transfer encoding known here is a single chunked",
        )),
    }
}

/// RFC 9110 section 10.1.1: the one expectation there is.
fn expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(EXPECT).iter().all(|value| known(value.as_bytes())) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::EXPECTATION_FAILED, "the expectation is not known"))
}

#[cfg(test)]
mod tests;
