//! Flags: where to listen.

use crate::{
    cli::flag::{Effect, Flag, Heading, Kind, Takes},
    config::{ActivatedSockets, Listen, port},
};

const PLAIN: Flag = Flag { heading: Heading::Listening, ..Flag::PLAIN };

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "bind",
        short: Some('b'),
        takes: Takes::Value("URI", Kind::Text),
        help: "Address, TCP or Unix",
        more: "tcp://HOST:PORT?backlog=N; localhost means every loopback address, port 0 any free \
               port. unix://PATH?umask=OCTAL&mode=OCTAL&backlog=N, where a relative PATH starts at \
               --dir and %xx stands for a byte; unix://@NAME is Linux's abstract namespace. \
               Default: unix:///tmp/web_server.sock. The backlog's default is 1024.",
        repeatable: true,
        effect: Effect::Set(|settings, given| {
            settings.listen(Listen::Uri(given.text.to_owned()), given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "bind-to-activated-sockets",
        takes: Takes::Optional {
            name: "only",
            missing: "also",
            kind: Kind::OneOf(&["also", "only"]),
        },
        help: "Use every socket that is passed",
        more: "Passed by a service manager such as systemd, in LISTEN_FDS. Those that a --bind names are used in any case, and all of them where there is no \
               --bind. With only, nothing else is listened on.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.activated_sockets, |text| match text {
                "only" => Ok(ActivatedSockets::Only),
                _ => Ok(ActivatedSockets::Also),
            })
        }),
        ..PLAIN
    },
    Flag {
        long: "port",
        short: Some('p'),
        takes: Takes::Value("PORT", Kind::Text),
        help: "TCP port, any address",
        more: "The same as --bind tcp://[::]:PORT where the machine has an IPv6 address besides \
               ::1, and as --bind tcp://0.0.0.0:PORT elsewhere, as with Puma 8.",
        repeatable: true,
        effect: Effect::Set(|settings, given| {
            settings.listen(Listen::Port(given.read(port)?), given.source);
            Ok(())
        }),
        ..PLAIN
    },
];
