//! What clients have in hand while the workers are exchanged is finished by who has it.

use nix::sys::signal::SIGUSR2;
use rackrs_tests::{Connection, Server, ServerBuilder, both_racks, eventually, process, release};

/// Waits in the middle of whatever a client wants, until the test opens a gate.
const WAITING: &str = "
require_relative 'gate'
class Parts
  def each
    yield 'first '
    Gate.pass('stream')
    yield 'second'
  end
end
run(lambda do |env|
  body =
    case env['PATH_INFO']
    when '/slow' then Gate.pass('slow') || ['slow']
    when '/stream' then Parts.new
    when '/upload' then [env['rack.input'].read.bytesize.to_s]
    else ['old']
    end
  [200, { 'content-type' => 'text/plain' }, body]
end)
";

fn waiting() -> ServerBuilder {
    let gate = std::fs::read_to_string(rackrs_tests::app("gate.rb")).expect("it can be read");
    ServerBuilder::of_source(WAITING).file("gate.rb", &gate)
}

fn restart(server: &Server, ticket: u64) {
    server.write("config.ru", &release("new", ""));
    server.signal(SIGUSR2);
    server.eventually_logs(&format!("Restart {ticket} (restart) succeeded"));
}

fn begin(server: &Server, path: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    connection
}

both_racks! {
    fn what_is_in_hand_is_finished(rack) {
        for flags in ["", "-w 2"] {
            let server = waiting().rack(&rack).args(flags).start();
            let before = server.ready_workers();
            let (mut slow, mut stream) = (begin(&server, "/slow"), begin(&server, "/stream"));
            server.await_gate("slow");
            server.await_gate("stream");
            let mut upload = server.connect();
            upload.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n0123456789");
            let mut head = server.connect();
            head.send("GET / HTTP/1.1\r\nHost:");
            // The server has the halves when it has answered who came after them.
            for _ in 0..before.len() * 4 {
                assert_eq!(server.get("/").expect(200).text(), "old");
            }

            restart(&server, 1);
            server.eventually_answers("new ");
            upload.send("0123456789");
            assert_eq!(upload.receive().expect(200).text(), "20");
            head.send(" a\r\n\r\n");
            assert_eq!(head.receive().expect(200).text(), "old");
            server.open_gate("slow");
            server.open_gate("stream");
            assert_eq!(slow.receive().expect(200).text(), "slow");
            assert_eq!(stream.receive().expect(200).text(), "first second");
            // Its head was sent before the restart, so it could not say that it is the last one.
            assert!(stream.get("/").expect(200).says_close());
            for mut connection in [upload, head, slow, stream] {
                connection.assert_closed();
            }
            eventually("the old workers end", || {
                before.iter().all(|&worker| !process::is_alive(worker)).then_some(())
            });
        }
    }

    fn a_kept_connection_gets_one_more_answer_that_says_close(rack) {
        let server = waiting().rack(&rack).start();
        let mut kept = server.connect();
        assert!(!kept.get("/").expect(200).says_close());
        restart(&server, 1);
        assert!(!kept.poll_end(), "it may be about to be used");
        let last = kept.get("/").expect(200);
        assert_eq!(last.text(), "old");
        assert!(last.says_close(), "{last:?}");
        kept.assert_closed();
    }
}

#[test]
fn a_kept_connection_that_is_not_used_is_closed() {
    let server = waiting().args("--drain-idle-timeout 0.2").start();
    let (mut kept, worker) = (server.connect(), server.ready_workers()[0]);
    assert_eq!(kept.get("/").status, 200);
    restart(&server, 1);
    kept.assert_closed();
    eventually("the old worker ends", || (!process::is_alive(worker)).then_some(()));
}

#[test]
fn a_request_that_does_not_end_is_cut_at_the_limit_and_the_next_restart_follows() {
    let server = waiting().args("--worker-shutdown-timeout 1").start();
    let mut endless = begin(&server, "/slow");
    server.await_gate("slow");
    restart(&server, 1);
    // The third generation waits for the end of the first.
    server.signal(SIGUSR2);
    server.eventually_logs("Restart 2 (restart) succeeded");
    assert!(endless.try_receive().is_none_or(|response| response.status >= 500));
}
