//! Processes that the application forks keep nothing of ours: no listening socket, no client's
//! socket, no channel; and they hold up neither a stop nor a restart.

use std::fs;

use nix::sys::signal::{SIGKILL, SIGTERM};
use rackrs_tests::{Connection, Server, ServerBuilder, both_racks, eventually, held_by, process};

/// Forks in a request, in several ways; tells the new process by its pid.
const APPLICATION: &str = r"
TEXT = { 'content-type' => 'text/plain' }.freeze

def daemonised
  reader, writer = IO.pipe
  child = fork do
    Process.setsid
    fork do
      writer.write(Process.pid.to_s)
      writer.close
      sleep
    end
    exit!(0)
  end
  writer.close
  Process.wait(child)
  reader.read
end

def by_popen
  pipe = IO.popen('-')
  return pipe.gets if pipe

  $stdout.puts(Process.pid)
  $stdout.flush
  sleep
end

run(lambda do |env|
  body =
    case env['PATH_INFO']
    when '/fork' then fork { sleep }.to_s
    when '/daemon' then daemonised
    when '/daemon-by-ruby'
      reader, writer = IO.pipe
      fork { Process.daemon(true, true); writer.write(Process.pid.to_s); writer.close; sleep }
      writer.close
      reader.read
    when '/popen' then by_popen
    when '/short' then Process.wait2(fork { exit 3 })[1].exitstatus.to_s
    when '/pid' then Process.pid.to_s
    else 'hello'
    end
  [200, TEXT.dup, [body]]
end)
";

/// A process to be killed at the end, whatever happens.
struct Stranger(i32);

impl Stranger {
    /// The one that a request to `path` has forked.
    fn born_by(connection: &mut Connection, path: &str) -> Self {
        let text = connection.get(path).expect(200).text();
        Self(text.trim().parse().expect("the application tells a pid"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        process::send_if_alive(self.0, SIGKILL);
    }
}

/// The application may know the pid before the new process has run.
fn assert_holds_nothing(server: &Server, stranger: &Stranger, path: &str) {
    eventually(&format!("what {path} forked holds nothing of ours"), || {
        held_by(server, stranger.0).is_empty().then_some(())
    });
}

fn server() -> ServerBuilder {
    ServerBuilder::of_source(APPLICATION).tcp()
}

both_racks! {
    fn what_a_request_forks_holds_no_socket_of_ours(rack) {
        let server = server().rack(&rack).start();
        // Connections of others, of both kinds, that are open while the application forks.
        let mut idle = [server.connect(), server.connect_tcp()];
        for connection in &mut idle {
            assert_eq!(connection.get("/").status, 200);
        }
        assert_ne!(held_by(&server, server.worker()), Vec::<String>::new(), "the worker has them");
        for path in ["/fork", "/daemon", "/daemon-by-ruby", "/popen"] {
            for mut connection in [server.connect(), server.connect_tcp()] {
                let stranger = Stranger::born_by(&mut connection, path);
                assert_holds_nothing(&server, &stranger, path);
                // Nothing was taken from the worker.
                assert_eq!(connection.get("/").text(), "hello");
            }
        }
        assert_eq!(server.get("/short").text(), "3");
        for connection in &mut idle {
            assert_eq!(connection.get("/").status, 200);
        }
    }
}

#[test]
fn a_stranger_keeps_no_address_and_is_reaped() {
    let mut server = server().args("-w 2").start();
    let stranger = Stranger::born_by(&mut server.connect(), "/daemon");
    let (socket, address) = (server.socket().to_owned(), server.address());
    server.signal(SIGTERM);
    server.await_end();
    assert!(process::is_alive(stranger.0), "it is not ours to end");
    assert!(fs::symlink_metadata(&socket).is_err(), "the socket file is left");
    // Both addresses are free.
    let mut next = ServerBuilder::of_source(APPLICATION)
        .socket_at(&socket)
        .arg("-b")
        .arg(format!("tcp://{address}"))
        .start();
    assert_eq!(next.get("/").text(), "hello");
    next.end_by(SIGTERM);
}

#[test]
fn orphans_of_the_application_are_reaped() {
    let server = server().start();
    let strangers: Vec<Stranger> =
        (0..5).map(|_| Stranger::born_by(&mut server.connect(), "/daemon")).collect();
    for stranger in &strangers {
        assert!(
            process::children(server.master()).contains(&stranger.0),
            "it has come to the master"
        );
        process::send(stranger.0, SIGKILL);
    }
    eventually("no zombie is left", || process::zombies(server.master()).is_empty().then_some(()));
    assert_eq!(server.get("/").text(), "hello");
}

#[test]
fn a_stranger_ends_by_the_signals_that_the_server_disregards() {
    for signal in [SIGTERM, nix::sys::signal::SIGINT, nix::sys::signal::SIGUSR2] {
        let server = server().start();
        let stranger = Stranger::born_by(&mut server.connect(), "/fork");
        process::send(stranger.0, signal);
        eventually("it ends", || (!process::is_alive(stranger.0)).then_some(()));
        assert_eq!(server.get("/").text(), "hello");
    }
}

#[test]
fn a_worker_that_ends_beside_a_stranger_is_replaced() {
    let server = server().start();
    let stranger = Stranger::born_by(&mut server.connect(), "/fork");
    let worker = server.worker();
    process::send(worker, SIGKILL);
    eventually("another worker serves", || {
        (Connection::try_unix(server.socket())?.get("/pid").text() != worker.to_string())
            .then_some(())
    });
    assert_holds_nothing(&server, &stranger, "/fork");
}
