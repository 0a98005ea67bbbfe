//! Who may ask: root, and the user that the master runs as.

use nix::unistd::{Uid, geteuid};
use tokio::net::UnixStream;

use super::Reply;

/// Whether the process at the other end may ask, by `SO_PEERCRED` of unix(7).
///
/// The socket's mode keeps others away; this holds where somebody has widened it.
pub(super) fn check(stream: &UnixStream) -> Result<(), Reply> {
    match stream.peer_cred() {
        Ok(credentials) => judge(Uid::from_raw(credentials.uid()), geteuid()),
        Err(error) => Err(Reply::NotPermitted {
            reason: format!("cannot tell who asks: the system refused ({error}); ask again"),
        }),
    }
}

fn judge(peer: Uid, own: Uid) -> Result<(), Reply> {
    if peer.is_root() || peer == own {
        return Ok(());
    }
    let who = if own.is_root() { "root".to_owned() } else { format!("root and user {own}") };
    Err(Reply::NotPermitted {
        reason: format!("user {peer} may not control this server; {who} may"),
    })
}

#[cfg(test)]
mod tests {
    use nix::unistd::Uid;

    use super::{Reply, judge};

    #[test]
    fn root_and_the_servers_own_user_may_ask_and_nobody_else() {
        let may = |peer, own| judge(Uid::from_raw(peer), Uid::from_raw(own));
        for (peer, own) in [(0, 0), (0, 1000), (1000, 1000)] {
            assert_eq!(may(peer, own), Ok(()), "{peer} {own}");
        }
        for (peer, own, who) in
            [(1000, 0, "root may"), (1001, 1000, "root and user 1000 may"), (65534, 0, "root may")]
        {
            let reason = format!("user {peer} may not control this server; {who}");
            assert_eq!(may(peer, own), Err(Reply::NotPermitted { reason }));
        }
    }
}
