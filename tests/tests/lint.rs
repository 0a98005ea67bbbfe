//! `Rack::Lint` finds nothing, whatever the application does and however the request looks.

use rackrs_tests::{RackVersion, Server, both_racks};

/// Every route of output.ru.
const ROUTES: &[&str] = &[
    "/array",
    "/array-sized",
    "/empty",
    "/each",
    "/each-sized",
    "/each-empty-parts",
    "/enumerator",
    "/stream",
    "/file",
    "/file-sized",
    "/204",
    "/304",
    "/404",
    "/binary",
    "/large",
    "/cookies",
    "/utf8",
];

fn assert_no_complaint(server: &Server) {
    let log = server.log();
    assert!(!log.contains("LintError") && !log.contains("Error"), "{log}");
}

fn routes(rack: &RackVersion) -> impl Iterator<Item = &'static str> + use<> {
    let newer = rack.is_newer();
    ROUTES.iter().copied().filter(move |route| newer || *route != "/stream")
}

both_racks! {
    fn every_kind_of_body(rack) {
        let server = Server::builder("output.ru").rack(&rack).start();
        for route in routes(&rack) {
            assert!(server.get(route).status < 500, "{route}");
        }
        assert_no_complaint(&server);
    }

    fn every_method(rack) {
        let server = Server::builder("hello.ru").rack(&rack).start();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let request = format!("{method} /some?query HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(server.ask(request).status, 200, "{method}");
        }
        assert_no_complaint(&server);
    }

    fn every_shape_of_request(rack) {
        let server = Server::builder("hello.ru").rack(&rack).tcp().start();
        let requests = [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a:81\r\n\r\n",
            "GET /?a=%20 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nabc",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX_Under: b\r\nX-Under: c\r\n\r\n",
        ];
        for request in requests {
            assert_eq!(server.ask(request).status, 200, "{request:?}");
            assert_eq!(server.connect_tcp().ask(request).status, 200, "{request:?}");
        }
        assert_no_complaint(&server);
    }

    fn under_a_mount_prefix(rack) {
        let server = Server::builder("hello.ru").rack(&rack).env("SCRIPT_NAME", "/app").start();
        for path in ["/", "/app", "/app/", "/app/x", "/other"] {
            let status = server.get(path).status;
            assert!(status == 200 || status == 404, "{path}: {status}, {}", server.log());
        }
        assert_no_complaint(&server);
    }

    fn reading_a_body(rack) {
        let server = Server::builder("input.ru").rack(&rack).start();
        for body in ["", "a", "line\nline\n"] {
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(server.ask(request).expect(200).json()["size"], body.len());
        }
        assert_no_complaint(&server);
    }
}
