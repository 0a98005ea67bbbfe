//! What is asked of every server: an application, a request, the answer that must come.

use crate::load::Exchange;

/// One application of `benches/apps` and how it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// File name in `benches/apps`, without `.ru`.
    pub name: &'static str,
    /// For a person.
    pub about: &'static str,
    method: &'static str,
    request_body_bytes: usize,
    response_body_bytes: Option<u64>,
}

impl Case {
    const fn get(name: &'static str, about: &'static str, bytes: Option<u64>) -> Self {
        Self { name, about, method: "GET", request_body_bytes: 0, response_body_bytes: bytes }
    }

    /// What the load generator sends and expects.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        Exchange {
            method: self.method.to_owned(),
            path: "/".to_owned(),
            request_body_bytes: self.request_body_bytes,
            status: 200,
            response_body_bytes: self.response_body_bytes,
        }
    }
}

/// Every case, in the order they are run.
pub const CASES: [Case; 7] = [
    Case::get("hello", "13 bytes, the cost of the server itself", Some(13)),
    Case::get("json", "a small JSON document", None),
    Case::get("ruby_1ms", "1 ms of Ruby", Some(4)),
    Case::get("sleep_20ms", "20 ms of waiting", Some(4)),
    Case {
        name: "echo",
        about: "POST of 64 KiB, sent back",
        method: "POST",
        request_body_bytes: 65_536,
        response_body_bytes: Some(65_536),
    },
    Case::get("stream", "100 chunks of 100 bytes", Some(10_000)),
    Case::get("file_1mib", "1 MiB by to_path", Some(1_048_576)),
];
