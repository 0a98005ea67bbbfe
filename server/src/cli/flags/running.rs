//! Flags: how the server runs, and what to do instead of serving.

use crate::{
    cli::flag::{Action, Effect, Flag, Heading, Kind, Takes},
    config::{Personality, ShowFormat, decode_uri, path},
};

const PLAIN: Flag = Flag { heading: Heading::Running, ..Flag::PLAIN };

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "daemon",
        short: Some('d'),
        aliases: &["daemonize"],
        short_aliases: &['D'],
        help: "Return once serving",
        more: "The server goes on in the background. The command ends with 0 only when workers are serving, else with another status and \
               the reason.",
        effect: Effect::Set(|settings, given| {
            settings.daemon.set(true, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "pidfile",
        takes: Takes::Value("PATH", Kind::File),
        help: "File with the master's pid",
        more: "Default: /tmp/web_server.pid.",
        effect: Effect::Set(|settings, given| given.fill(&mut settings.pid_file, path)),
        ..PLAIN
    },
    Flag {
        long: "control-url",
        aliases: &["control"],
        takes: Takes::Value("URL", Kind::Text),
        help: "Control socket, unix://PATH",
        more: "rackrsctl speaks to it; only its owner and root may. Default: the pid file's name with .ctl, such as \
               /tmp/web_server.ctl.",
        effect: Effect::Set(|settings, given| {
            match given.text.strip_prefix("unix://") {
            Some(text) if !text.starts_with('@') && !text.contains('?') => {
                let decoded = |_: &str| path(&decode_uri(text)?).map(Some);
                given.fill(&mut settings.control, decoded)
            }
            _ => Err(given
                .refuse("it must be unix:// and a path without options; rackrs controls by a socket file only")),
        }
        }),
        ..PLAIN
    },
    Flag {
        long: "state",
        short: Some('S'),
        takes: Takes::Value("PATH", Kind::File),
        help: "File that tells the pid and the control socket",
        more: "As Puma's state file, for rackrsctl -S.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.state_file, |text| path(text).map(Some))
        }),
        ..PLAIN
    },
    Flag {
        long: "compat",
        takes: Takes::Value("SERVER", Kind::OneOf(&["puma", "unicorn"])),
        help: "Whose signals to obey: puma, unicorn",
        more: "With unicorn, TERM and INT end at once, QUIT gracefully, HUP restarts, USR1 opens the \
               log files anew, WINCH stops the workers of a daemon. Default: puma.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.personality, |text| match text {
                "unicorn" => Ok(Personality::Unicorn),
                _ => Ok(Personality::Puma),
            })
        }),
        ..PLAIN
    },
    Flag {
        long: "tag",
        takes: Takes::Value("NAME", Kind::Text),
        help: "Name shown in process titles",
        more: "Default: the name of the directory. An empty name shows none.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.tag, |text| Ok(Some(text.to_owned())))
        }),
        ..PLAIN
    },
    Flag {
        long: "check",
        help: "Do all but serve; the status says if it works",
        effect: Effect::Act(|_| Action::Check),
        ..PLAIN
    },
    Flag {
        long: "show-config",
        takes: Takes::Optional {
            name: "FORMAT",
            missing: "table",
            kind: Kind::OneOf(&["table", "json"]),
        },
        help: "Print settings with sources: table, json",
        more: "Nothing is started. Sources, the strongest first: a flag, the #\\ line at the top of \
               the rackup file, the environment, the default.",
        effect: Effect::Act(|format| {
            Action::Show(if format == "json" { ShowFormat::Json } else { ShowFormat::Table })
        }),
        ..PLAIN
    },
];
