//! One connection to the control socket: a request, the master's answer, the end.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{Asked, Reply, Request, peer, protocol};

/// Longest request, with its line break.
const REQUEST_BYTES_MAX: usize = 4096;
/// From accept to the end of the request's line.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(2);
/// For the master's answer; its loop does nothing that takes long.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// For a client to take the whole reply.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// How many clients were accepted and have not got the whole answer.
#[derive(Debug, Default)]
pub(super) struct Outstanding(watch::Sender<usize>);

impl Outstanding {
    fn one(&self) -> One<'_> {
        self.0.send_modify(|count| *count += 1);
        One(&self.0)
    }

    /// Waits until there is none.
    pub(super) async fn none(&self) {
        // The sender lives as long as this future.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

struct One<'a>(&'a watch::Sender<usize>);

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Serves a connection to its end. Nothing that a client does is an error of the server.
pub(super) async fn hold(
    mut stream: UnixStream,
    master: mpsc::Sender<Asked>,
    outstanding: &Outstanding,
) {
    // Until the reply is written.
    let _one = outstanding.one();
    let request = match peer::check(&stream) {
        Ok(()) => read(&mut stream).await,
        Err(reply) => Err(Some(reply)),
    };
    let reply = match request {
        Ok(request) => ask(&master, request).await,
        Err(Some(reply)) => reply,
        Err(None) => return,
    };
    let line = protocol::encode(&reply).or_else(|error| {
        protocol::encode(&refused(format!("cannot write the answer as JSON: {error}")))
    });
    let Ok(line) = line else { return };
    // A client that is gone, or does not read, has no need of the reply.
    let _ = timeout(WRITE_LIMIT, write(&mut stream, &line)).await;
}

async fn write(stream: &mut UnixStream, line: &[u8]) -> io::Result<()> {
    stream.write_all(line).await?;
    stream.shutdown().await
}

/// The request, or what to say instead; `None` when there is nobody to say it to.
async fn read(stream: &mut UnixStream) -> Result<Request, Option<Reply>> {
    // One byte more tells a line that is too long from one that is cut off.
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    let mut line = Vec::new();
    let mut reader = BufReader::new(stream.take(limit));
    let reason = match timeout(READ_LIMIT, reader.read_until(b'\n', &mut line)).await {
        Err(_) => format!("no request came within {READ_LIMIT:?}; send one line of JSON"),
        Ok(Err(_) | Ok(0)) => return Err(None),
        Ok(Ok(_)) if line.len() > REQUEST_BYTES_MAX => {
            format!("the request is longer than {REQUEST_BYTES_MAX} bytes; send one line of JSON")
        }
        Ok(Ok(_)) if !line.ends_with(b"\n") => {
            "the request is cut off; end it with a line break".to_owned()
        }
        Ok(Ok(_)) => match serde_json::from_slice(&line) {
            Ok(request) => return Ok(request),
            Err(error) => {
                let version = env!("CARGO_PKG_VERSION");
                format!("rackrs {version} does not understand the request: {error}")
            }
        },
    };
    Err(Some(refused(reason)))
}

async fn ask(master: &mpsc::Sender<Asked>, request: Request) -> Reply {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        master.send((request, answer)).await.ok()?;
        answered.await.ok()
    };
    match timeout(ANSWER_LIMIT, asked).await {
        Ok(Some(reply)) => reply,
        Ok(None) => refused("the server is ending; see rackrsctl status".to_owned()),
        Err(_) => refused(format!(
            "the master did not answer within {ANSWER_LIMIT:?}; look at its log, and ask again"
        )),
    }
}

fn refused(reason: String) -> Reply {
    Reply::Refused { reason }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// What a client reads that sends these bytes and keeps its end open.
    async fn reply_to(bytes: &[u8], master: mpsc::Sender<Asked>) -> String {
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(bytes).await.unwrap();
        hold(server, master, &Outstanding::default()).await;
        let mut text = Vec::new();
        // A server that did not read everything ends with a reset.
        let _ = client.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_that_does_not_answer_is_waited_for_so_long() {
        let (master, _not_read) = mpsc::channel(1);
        let began = Instant::now();
        // The first is in the queue, the second finds no room in it.
        for _ in 0..2 {
            let text = reply_to(b"{\"command\":\"stop\"}\n", master.clone()).await;
            assert!(text.contains("the master did not answer within 10s"), "{text}");
        }
        assert_eq!(began.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_to_come_in_time_and_whole() {
        let (master, _not_read) = mpsc::channel(1);
        for (bytes, reason) in [
            (&b""[..], "no request came within 2s"),
            (b"{\"command\":", "no request came within 2s"),
            (&[b' '; REQUEST_BYTES_MAX + 1], "longer than 4096 bytes"),
        ] {
            let text = reply_to(bytes, master.clone()).await;
            assert!(text.contains(reason), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_reply_is_left() {
        let (master, mut asked) = mpsc::channel::<Asked>(1);
        let (mut client, server) = UnixStream::pair().unwrap();
        client.write_all(b"{\"command\":\"status\"}\n").await.unwrap();
        let outstanding = Outstanding::default();
        let answer = async {
            let (_, answer) = asked.recv().await.unwrap();
            answer.send(Reply::Done { message: "x".repeat(16 << 20) }).unwrap();
            assert_eq!(*outstanding.0.borrow(), 1);
        };
        let began = Instant::now();
        tokio::join!(hold(server, master, &outstanding), answer);
        assert_eq!(began.elapsed().as_secs(), 2);
        assert_eq!(*outstanding.0.borrow(), 0);
    }
}
