//! HTTP/1.1 as the RFCs say, by raw requests: what must be served, what must be refused, and that
//! no byte after a doubtful end is ever taken for a request.
//!
//! Each case is followed by a canary request on the same connection. A case that must be refused
//! and whose canary is answered has lost its place in the stream, which is the worst that can be.

use rackrs_tests::{Connection, RackVersion, Server};

/// What must become of a request.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// Served, the application saw this, and the connection can be used again.
    Serve(&'static str),
    /// Served, the application saw this, and the connection is closed.
    ServeAndClose(&'static str),
    /// Refused with one of these statuses, and the connection is closed.
    Refuse(&'static [u16]),
    /// Either refused or served as this, but closed in any case.
    EitherButClose(&'static str),
    /// Each of these is seen, in this order, on one connection.
    ServeAll(&'static [&'static str]),
}
use Must::{EitherButClose, Refuse, Serve, ServeAll, ServeAndClose};

type Case = (&'static str, &'static [u8], Must);

/// RFC 9110 and 9112: what any server has to understand.
const VALID: &[Case] = &[
    ("plain", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", Serve("GET /x? 0")),
    ("empty query", b"GET /x? HTTP/1.1\r\nHost: a\r\n\r\n", Serve("GET /x? 0")),
    ("blank lines first", b"\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", Serve("GET /x? 0")),
    (
        "upper and lower case names",
        b"GET /x HTTP/1.1\r\nhOsT: a\r\nx-MARK: b\r\n\r\n",
        Serve("GET /x? 0 HTTP_X_MARK=b"),
    ),
    (
        "no blank after the colon",
        b"GET /x HTTP/1.1\r\nHost:a\r\nX-Mark:b\r\n\r\n",
        Serve("GET /x? 0 HTTP_X_MARK=b"),
    ),
    (
        "blanks around a value",
        b"GET /x HTTP/1.1\r\nHost: a\r\nX-Mark: \t b \t\r\n\r\n",
        Serve("GET /x? 0 HTTP_X_MARK=b"),
    ),
    (
        "a body by length",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        Serve("POST /x? 5"),
    ),
    ("no length is no body", b"POST /x HTTP/1.1\r\nHost: a\r\n\r\n", Serve("POST /x? 0")),
    ("an own method", b"PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", Serve("PROPFIND /x? 0")),
    (
        "a target with everything",
        b"GET /a;b=c/%41:@!$&'()*+,;=~-._?q=/? HTTP/1.1\r\nHost: a\r\n\r\n",
        Serve("GET /a;b=c/%41:@!$&'()*+,;=~-._?q=/? 0"),
    ),
    ("an absolute target", b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", Serve("GET /x?y 0")),
];

const PERSIST: &[Case] = &[
    ("1.0 closes", b"GET /x HTTP/1.0\r\n\r\n", ServeAndClose("GET /x? 0")),
    ("close is obeyed", b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", ServeAndClose("GET /x? 0")),
    ("close in a list", b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: foo, close\r\n\r\n", ServeAndClose("GET /x? 0")),
    ("close on its own line", b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nConnection: CLOSE\r\n\r\n", ServeAndClose("GET /x? 0")),
    ("two at once", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n", ServeAll(&["GET /x? 0", "GET /y? 0"])),
    ("a body, then another at once", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /y HTTP/1.1\r\nHost: a\r\n\r\n", ServeAll(&["POST /x? 2", "GET /y? 0"])),
    ("chunks, then another at once", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\n\r\n", ServeAll(&["POST /x? 2", "GET /y? 0"])),
];

const BAD: &[u16] = &[400];

const CONTENT_LENGTH: &[Case] = &[
    ("two different", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("a list of different", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nhello", Refuse(BAD)),
    ("a sign", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", Refuse(BAD)),
    ("negative", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", Refuse(BAD)),
    ("hexadecimal", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", Refuse(BAD)),
    ("empty", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Refuse(BAD)),
    ("letters", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello", Refuse(BAD)),
    ("a blank inside", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2\r\n\r\nhello", Refuse(BAD)),
    ("too large for any number", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", Refuse(&[400, 413])),
    ("wraps around", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello", Refuse(&[400, 413])),
    ("a body of a GET", b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Serve("GET /x? 35")),
];

const TRANSFER_ENCODING: &[Case] = &[
    ("unknown coding", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(&[400, 501])),
    ("with a length", b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", EitherButClose("POST /x? 0")),
    ("in HTTP/1.0", b"POST /x HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", EitherButClose("POST /x? 0")),
    ("chunked twice", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(&[400, 501])),
    ("chunked on two lines", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(&[400, 501])),
    ("not last", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(&[400, 501])),
    ("identity", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(&[400, 501])),
    ("a vertical tab", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(&[400, 501])),
    ("a blank before the colon", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("capitals", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Serve("POST /x? 2")),
];

const CHUNKED: &[Case] = &[
    ("several chunks", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\na\r\n0123456789\r\n0\r\n\r\n", Serve("POST /x? 12")),
    ("an extension", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0;c\r\n\r\n", Serve("POST /x? 2")),
    ("leading zeros", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nhi\r\n00\r\n\r\n", Serve("POST /x? 2")),
    ("a trailer is no header", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Trailer: a\r\n\r\n", Serve("POST /x? 2")),
    ("no size", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n", Refuse(BAD)),
    ("a size with a sign", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n", Refuse(BAD)),
    ("a size with 0x", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n", Refuse(BAD)),
    ("junk after a size", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 junk\r\nhi\r\n0\r\n\r\n", Refuse(BAD)),
    ("data longer than the size", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiho\r\n0\r\n\r\n", Refuse(BAD)),
    ("a size too large", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhi\r\n0\r\n\r\n", Refuse(&[400, 413])),
    ("line feeds only", b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nhi\n0\n\n", Refuse(BAD)),
];

const HEADERS: &[Case] = &[
    ("a folded line", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", Refuse(BAD)),
    ("a blank before the colon", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n", Refuse(BAD)),
    ("a blank in a name", b"GET /x HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n", Refuse(BAD)),
    ("no name", b"GET /x HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", Refuse(BAD)),
    ("no colon", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A\r\n\r\n", Refuse(BAD)),
    ("NUL in a value", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", Refuse(BAD)),
    ("a bare CR in a value", b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n", Refuse(BAD)),
    ("a name with a control byte", b"GET /x HTTP/1.1\r\nHost: a\r\nX\x01A: b\r\n\r\n", Refuse(BAD)),
];

const REQUEST_LINE: &[Case] = &[
    ("no version", b"GET /x\r\n\r\n", Refuse(BAD)),
    ("an unknown version", b"GET /x HTTP/9.9\r\nHost: a\r\n\r\n", Refuse(&[400, 505])),
    ("small letters in the version", b"GET /x http/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("a blank in the target", b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("no slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("a star for a GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("a method with a bracket", b"GE(T /x HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("a control byte in the target", b"GET /x\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Refuse(BAD)),
    ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Refuse(BAD)),
    (
        "a method that nobody has registered",
        b"MAKECOFFEE /x HTTP/1.1\r\nHost: a\r\n\r\n",
        Refuse(&[501]),
    ),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Refuse(&[400, 405, 501])),
];

const HOST: &[Case] = &[
    ("missing in 1.1", b"GET /x HTTP/1.1\r\n\r\n", Refuse(BAD)),
    ("twice", b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refuse(BAD)),
    ("missing in 1.0", b"GET /x HTTP/1.0\r\n\r\n", ServeAndClose("GET /x? 0")),
];

const SPOOFING: &[Case] = &[
    ("an underscore does not join a dash", b"GET /x HTTP/1.1\r\nHost: a\r\nX-Real: true\r\nX_Real: forged\r\n\r\n", Serve("GET /x? 0 HTTP_X_REAL=true")),
    ("the order does not matter", b"GET /x HTTP/1.1\r\nHost: a\r\nX_Real: forged\r\nX-Real: true\r\n\r\n", Serve("GET /x? 0 HTTP_X_REAL=true")),
    ("a trailer does not become a header", b"POST /x HTTP/1.1\r\nHost: a\r\nX-Real: true\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Real: forged\r\n\r\n", Serve("POST /x? 0 HTTP_X_REAL=true")),
];

const EARLY_CLOSE: &[Case] = &[
    ("half a head", b"GET /x HTTP/1.1\r\nHos", Refuse(&[400, 408])),
    (
        "half a body",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe",
        Refuse(&[400, 408]),
    ),
    (
        "half a chunk",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
        Refuse(&[400, 408]),
    ),
    (
        "no last chunk",
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        Refuse(&[400, 408]),
    ),
    ("nothing", b"", Refuse(&[400, 408])),
];

const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";

fn fault(connection: &mut Connection, bytes: &[u8], must: Must) -> Option<String> {
    connection.send(bytes);
    if let ServeAll(all) = must {
        let found: Vec<_> = all.iter().map(|_| connection.receive().text()).collect();
        return (found != all).then(|| format!("found {found:?}"));
    }
    connection.offer(CANARY);
    connection.finish_sending();
    let first = connection.try_receive();
    let rest = connection.read_to_end();
    let rest = String::from_utf8_lossy(&rest);
    let reused = rest.contains("HTTP/1.1 200");
    let (status, text) = first.map_or((0, String::new()), |first| (first.status, first.text()));
    let said = format!("{status} {text:?}, then {rest:?}");
    let right = match must {
        Serve(expected) => status == 200 && text == expected && rest.contains("/canary"),
        ServeAndClose(expected) => status == 200 && text == expected && !reused,
        Refuse(statuses) => statuses.contains(&status) && !reused,
        EitherButClose(expected) => (status >= 400 || text == expected) && !reused,
        ServeAll(_) => true,
    };
    (!right).then_some(said)
}

fn check(cases: &[Case]) {
    for tcp in [false, true] {
        let builder = Server::builder("echo.ru").rack(&RackVersion::Debian);
        let server = if tcp { builder.no_unix().tcp().start() } else { builder.start() };
        let faults: Vec<_> = cases
            .iter()
            .filter_map(|(name, bytes, must)| {
                let fault = fault(&mut server.connect(), bytes, *must)?;
                Some(format!("{name}: must {must:?}, but: {fault}"))
            })
            .collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[test]
fn valid_requests_are_served() {
    check(VALID);
}

#[test]
fn connections_persist_as_agreed() {
    check(PERSIST);
}

#[test]
fn content_length_is_read_strictly() {
    check(CONTENT_LENGTH);
}

#[test]
fn transfer_encoding_is_read_strictly() {
    check(TRANSFER_ENCODING);
}

#[test]
fn chunks_are_read_strictly() {
    check(CHUNKED);
}

#[test]
fn header_lines_are_read_strictly() {
    check(HEADERS);
}

#[test]
fn request_lines_are_read_strictly() {
    check(REQUEST_LINE);
}

#[test]
fn a_host_is_asked_for() {
    check(HOST);
}

#[test]
fn headers_cannot_be_forged_by_spelling() {
    check(SPOOFING);
}

/// The client stops sending in the middle: never a whole request, at most an error.
#[test]
fn an_early_end_is_no_request() {
    let server = Server::builder("echo.ru").start();
    for (name, bytes, must) in EARLY_CLOSE {
        let mut connection = server.connect();
        connection.send(bytes);
        connection.finish_sending();
        let status = connection.try_receive().map(|response| response.status);
        let Refuse(statuses) = must else { panic!("{name} can only be refused") };
        assert!(status.is_none_or(|status| statuses.contains(&status)), "{name}: {status:?}");
        connection.assert_closed();
    }
}

/// The same request in pieces of every size.
#[test]
fn pieces_make_no_difference() {
    let server = Server::builder("echo.ru").start();
    let request = b"POST /x?y HTTP/1.1\r\nHost: a\r\nX-Mark: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for size in [1, 2, 3, 7] {
        let mut connection = server.connect();
        for piece in request.chunks(size) {
            connection.send(piece);
        }
        assert_eq!(
            connection.receive().expect(200).text(),
            "POST /x?y 5 HTTP_X_MARK=b",
            "pieces of {size}"
        );
        assert_eq!(connection.get("/canary").text(), "GET /canary? 0");
    }
}
