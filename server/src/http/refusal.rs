//! The answers we give without asking the application: one line of plain text, then the end of
//! the connection.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};

use super::reply_head;

/// Methods named in the `allow` header of a 405.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, QUERY";

/// A request that the application will not see, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
}

impl Refusal {
    pub(super) const TIMED_OUT: Self =
        Self::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time");
    pub(super) const BODY_TOO_LARGE: Self =
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large");
    pub(super) const BODY_BROKEN: Self =
        Self::new(StatusCode::BAD_REQUEST, "the request body is malformed or cut short");
    pub(super) const OVERLOADED: Self =
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests are waiting");
    pub(super) const NO_ANSWER: Self =
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the application gave no answer");
    pub(super) const DISK_FULL: Self =
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "the request body cannot be stored");
    pub(super) const DISK_BROKEN: Self =
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the request body cannot be stored");
    pub(super) const EMPTY_LINES: Self = Self::bad_request("a request begins with its method");
    pub(super) const HTTP2: Self =
        Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP/2 is not spoken here");

    /// A refusal with `status`, explained by `reason` (no full stop).
    pub(super) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// Shorthand for the commonest one.
    pub(super) const fn bad_request(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(super) fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static(ALLOWED));
        }
        headers
    }

    pub(super) fn body(self) -> Bytes {
        Bytes::from(format!("{} {}\n", self.status.as_u16(), self.reason))
    }

    /// The whole response, for a connection that hyper no longer writes to.
    pub(super) fn to_bytes(self) -> Bytes {
        let body = self.body();
        let mut headers = self.headers();
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let mut bytes = reply_head::final_head(self.status, &headers);
        bytes.extend_from_slice(&body);
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_whole_response_by_itself() {
        let text = String::from_utf8(Refusal::TIMED_OUT.to_bytes().to_vec()).unwrap();
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
        assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
        assert!(text.contains("\r\ndate: "), "{text}");
        assert!(text.ends_with("\r\n\r\n408 the request did not arrive in time\n"), "{text}");
        assert!(text.contains("\r\ncontent-length: 39\r\n"), "{text}");
    }

    #[test]
    fn an_overload_says_when_to_come_back() {
        assert_eq!(Refusal::OVERLOADED.headers()[RETRY_AFTER], "1");
    }
}
