//! HTTP/1 responses, parsed strictly from raw bytes.

/// How a response body was delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There can be no body: HEAD, 1xx, 204, 304.
    None,
    /// By `content-length`.
    Length,
    /// By `transfer-encoding: chunked`.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// One response, with the interim (1xx) ones before it.
#[derive(Clone, Debug)]
pub struct Response {
    /// 1.0 or 1.1, as sent.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Names and values in the order sent, names as sent.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// How the body was delimited.
    pub framing: Framing,
    /// Whether the body came to its end; `false` when the connection ended before.
    pub complete: bool,
    /// The trailer fields of a chunked body.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// 1xx responses that came before.
    pub interim: Vec<Response>,
}

impl Response {
    /// The only value of a header, or `None`; panics when it was sent more than once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.header_values(name);
        assert!(values.len() <= 1, "{name} was sent more than once: {values:?}");
        values.pop()
    }

    /// Every value of a header, in order.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<String> {
        let same = |(found, _): &&(String, Vec<u8>)| found.eq_ignore_ascii_case(name);
        let values = self.headers.iter().filter(same);
        values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in a {} with: {}", self.status, self.text()))
    }

    /// Whether the server said that it closes the connection.
    #[must_use]
    pub fn says_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Panics unless the status is `status`; gives the response back.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "with this body: {}", self.text());
        self
    }
}

/// A head without what precedes or follows it.
pub(crate) struct Head {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Bytes of the buffer that the head took.
    pub(crate) len: usize,
}

impl Head {
    /// The head at the start of `bytes` if all of it is there; panics when it is malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = find(bytes, b"\r\n\r\n")?;
        let mut lines = split_lines(&bytes[..end]);
        let line = String::from_utf8_lossy(lines.next()?).into_owned();
        let mut words = line.splitn(3, ' ');
        let version = words.next().and_then(|word| word.strip_prefix("HTTP/"));
        let status = words.next().and_then(|word| word.parse().ok());
        let (Some(version), Some(status)) = (version, status) else {
            panic!("not a status line: {line:?} in {:?}", String::from_utf8_lossy(bytes));
        };
        let headers = lines.map(parse_field).collect();
        Some(Self { version: version.to_owned(), status, headers, len: end + 4 })
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(&found.1).into_owned())
    }

    /// How the body after this head is delimited (RFC 9112 section 6.3).
    pub(crate) fn framing(&self, method: &str) -> Framing {
        let bodiless = method == "HEAD" || self.status < 200 || [204, 304].contains(&self.status);
        let length = self.value("content-length").is_some();
        match self.value("transfer-encoding") {
            _ if bodiless => Framing::None,
            Some(coding) => {
                assert_eq!(coding, "chunked", "an unknown transfer coding");
                assert!(!length, "both content-length and transfer-encoding");
                Framing::Chunked
            }
            None if length => Framing::Length,
            None => Framing::UntilClose,
        }
    }
}

/// One `name: value` line; panics when it is malformed.
pub(crate) fn parse_field(line: &[u8]) -> (String, Vec<u8>) {
    let shown = String::from_utf8_lossy(line);
    let colon = line.iter().position(|&byte| byte == b':');
    let colon = colon.unwrap_or_else(|| panic!("not a header line: {shown:?}"));
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    assert!(!name.is_empty() && !name.contains(&b' '), "not a header name: {shown:?}");
    let forbidden = |byte: &u8| [b'\r', b'\n', 0].contains(byte);
    assert!(!value.iter().any(forbidden), "a control byte in a header: {shown:?}");
    (String::from_utf8_lossy(name).into_owned(), value.to_vec())
}

/// Splits at CRLF only, so that a bare CR or LF stays visible.
fn split_lines(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let Some(end) = find(bytes, b"\r\n") else {
            done = true;
            return Some(bytes);
        };
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        Some(line)
    })
}

/// Where `needle` starts in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_cut_at_the_empty_line() {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\nA: b\r\nc:d\r\n\r\nrest").unwrap();
        assert_eq!((head.status, head.len), (200, 30));
        assert_eq!(head.value("C"), Some("d".to_owned()));
        assert_eq!(head.framing("GET"), Framing::UntilClose);
        assert_eq!(head.framing("HEAD"), Framing::None);
    }

    #[test]
    fn half_a_head_is_none() {
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nA: b\r\n").is_none());
    }

    #[test]
    #[should_panic(expected = "a control byte")]
    fn a_bare_line_feed_is_seen() {
        Head::parse(b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n");
    }
}
