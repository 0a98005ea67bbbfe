//! Writes the few response heads that do not go through hyper: 103, refusals after a time-out, and
//! the head of a response whose socket the application takes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONNECTION, DATE},
};
use rackrs_sys::local_time::LocalTime;

/// A 103 with `headers` (RFC 8297).
pub(super) fn early_hints(headers: &HeaderMap) -> BytesMut {
    let mut bytes = status_line(StatusCode::EARLY_HINTS);
    put_headers(&mut bytes, headers);
    bytes.put_slice(b"\r\n");
    bytes
}

/// The head of a final response with exactly `headers`, a `date`, and no framing of ours.
///
/// `connection: close` is added unless `headers` have a `connection` or the status is 101: nothing
/// of HTTP can follow on this connection.
pub(super) fn final_head(status: StatusCode, headers: &HeaderMap) -> BytesMut {
    let mut bytes = status_line(status);
    put_headers(&mut bytes, headers);
    if status != StatusCode::SWITCHING_PROTOCOLS && !headers.contains_key(CONNECTION) {
        bytes.put_slice(b"connection: close\r\n");
    }
    if !headers.contains_key(DATE) {
        let seconds =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        bytes.put_slice(format!("date: {}\r\n", imf_fixdate(seconds)).as_bytes());
    }
    bytes.put_slice(b"\r\n");
    bytes
}

fn status_line(status: StatusCode) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(256);
    bytes.put_slice(b"HTTP/1.1 ");
    bytes.put_slice(status.as_str().as_bytes());
    bytes.put_u8(b' ');
    bytes.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    bytes.put_slice(b"\r\n");
    bytes
}

fn put_headers(bytes: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
}

/// RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, for `seconds` since the epoch; empty for
/// a year that the host cannot tell.
fn imf_fixdate(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let Some(time) = LocalTime::utc(time) else { return String::new() };
    let LocalTime { year, month, day, hour, minute, second, offset_minutes: _ } = time;
    let weekday = usize::try_from(seconds / 86_400 % 7).map_or("", |day| WEEKDAYS[day]);
    let month = MONTHS.get(usize::from(month).wrapping_sub(1)).unwrap_or(&"");
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn dates_are_those_of_the_rfc() {
        assert_eq!(imf_fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(imf_fixdate(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf_fixdate(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(imf_fixdate(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(imf_fixdate(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 GMT");
    }

    #[test]
    fn a_hijacked_head_closes_unless_it_switches_protocols() {
        let head = final_head(StatusCode::OK, &HeaderMap::new());
        assert!(head.windows(19).any(|window| window == b"connection: close\r\n"));
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        let head = final_head(StatusCode::SWITCHING_PROTOCOLS, &headers);
        let text = String::from_utf8(head.to_vec()).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"));
        assert!(!text.contains("close"));
    }

    #[test]
    fn hints_keep_every_line() {
        let mut headers = HeaderMap::new();
        headers.append("link", HeaderValue::from_static("</a.css>; rel=preload"));
        headers.append("link", HeaderValue::from_static("</b.js>; rel=preload"));
        assert_eq!(
            &early_hints(&headers)[..],
            b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\
              link: </b.js>; rel=preload\r\n\r\n"
        );
    }
}
