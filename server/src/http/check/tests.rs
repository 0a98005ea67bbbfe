//! Heads that pass and heads that do not.

use http::Request;

use super::*;

fn verdict(method: &str, target: &str, version: Version, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::builder().method(method).uri(target).version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    head(&parts).map_or_else(|refusal| refusal.status.as_u16(), |()| 0)
}

fn verdict_11(method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
    let mut all = vec![("host", "a")];
    all.extend(headers);
    verdict(method, target, Version::HTTP_11, &all)
}

#[test]
fn methods() {
    for method in ["GET", "QUERY", "PROPFIND", "UNLOCK"] {
        assert_eq!(verdict_11(method, "/", &[]), 0, "{method}");
    }
    assert_eq!(verdict_11("BREW", "/", &[]), 501);
    assert_eq!(verdict_11("get", "/", &[]), 501);
    assert_eq!(verdict_11("CONNECT", "a:443", &[]), 405);
    assert_eq!(verdict_11("CONNECT", "/", &[]), 405);
}

#[test]
fn target_forms() {
    for target in ["/", "/x?y", "//x", "http://a/x", "http://a", "https://a:1/x", "/?", "/*"] {
        assert_eq!(verdict_11("GET", target, &[]), 0, "{target}");
    }
    for target in ["x", "a:443", "*", "ftp://a/x", "http://u@a/x", "http://a:xx/"] {
        if target.parse::<Uri>().is_ok() {
            assert_eq!(verdict_11("GET", target, &[]), 400, "{target}");
        }
    }
    assert_eq!(verdict_11("OPTIONS", "*", &[]), 0);
}

#[test]
fn long_targets() {
    let path = |bytes| format!("/{}", "a".repeat(bytes - 1));
    assert_eq!(verdict_11("GET", &path(PATH_BYTES_MAX), &[]), 0);
    assert_eq!(verdict_11("GET", &path(PATH_BYTES_MAX + 1), &[]), 414);
    let query = |bytes| format!("/?{}", "a".repeat(bytes));
    assert_eq!(verdict_11("GET", &query(QUERY_BYTES_MAX), &[]), 0);
    assert_eq!(verdict_11("GET", &query(QUERY_BYTES_MAX + 1), &[]), 414);
    let both = format!("{}?{}", path(6 * 1024), "b".repeat(6 * 1024 + 1));
    assert_eq!(verdict_11("GET", &both, &[]), 414);
}

#[test]
fn hosts() {
    assert_eq!(verdict("GET", "/", Version::HTTP_11, &[]), 400);
    assert_eq!(verdict("GET", "/", Version::HTTP_10, &[]), 0);
    for version in [Version::HTTP_10, Version::HTTP_11] {
        assert_eq!(verdict("GET", "/", version, &[("host", "a"), ("host", "a")]), 400);
        assert_eq!(verdict("GET", "/", version, &[("host", "a/b")]), 400);
        assert_eq!(verdict("GET", "/", version, &[("host", "my_app:3000")]), 0);
    }
}

#[test]
fn transfer_encodings() {
    assert_eq!(verdict_11("POST", "/", &[("transfer-encoding", "Chunked")]), 0);
    for encoding in ["gzip, chunked", "chunked, chunked", ",chunked", "chunked;a=b"] {
        assert_eq!(verdict_11("POST", "/", &[("transfer-encoding", encoding)]), 501, "{encoding}");
    }
    let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
    assert_eq!(verdict_11("POST", "/", &twice), 501);
}

#[test]
fn expectations() {
    assert_eq!(verdict_11("POST", "/", &[("expect", "100-Continue")]), 0);
    assert_eq!(verdict_11("POST", "/", &[("expect", "200-maybe")]), 417);
    assert_eq!(verdict("POST", "/", Version::HTTP_10, &[("expect", "200-maybe")]), 0);
}

#[test]
fn long_headers() {
    let value = "v".repeat(HEADER_VALUE_BYTES_MAX + 1);
    assert_eq!(verdict_11("GET", "/", &[("x-a", &value[1..])]), 0);
    assert_eq!(verdict_11("GET", "/", &[("x-a", &value)]), 431);
    let name = "n".repeat(HEADER_NAME_BYTES_MAX + 1);
    assert_eq!(verdict_11("GET", "/", &[(&name[1..], "v")]), 0);
    assert_eq!(verdict_11("GET", "/", &[(&name, "v")]), 400);
}
