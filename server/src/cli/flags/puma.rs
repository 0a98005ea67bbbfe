//! Flags of Puma that change nothing here, and those that wait for a later version.

use crate::{
    cli::flag::{Effect, Flag, Heading, Kind, Takes},
    config::ConfigFile,
};

const HARMLESS: Flag = Flag { heading: Heading::Accepted, ..Flag::PLAIN };
const LATER: Flag = Flag { heading: Heading::NotYet, ..Flag::PLAIN };

pub(super) const ACCEPTED: &[Flag] = &[
    Flag {
        long: "no-config",
        help: "Do without a config file",
        more: "None is read yet; this says that one found at config/puma.rb is not wanted.",
        effect: Effect::Set(|settings, given| {
            settings.config_file.set(ConfigFile::Unwanted, given.source);
            Ok(())
        }),
        ..HARMLESS
    },
    Flag {
        long: "prune-bundler",
        help: "Ignored with a warning: the master loads no gems",
        effect: Effect::Ignored("the master loads no gems that could be pruned"),
        ..HARMLESS
    },
    Flag {
        long: "extra-runtime-dependencies",
        takes: Takes::Value("GEMS", Kind::Text),
        help: "Ignored with a warning, as --prune-bundler is",
        effect: Effect::Ignored("it belongs to --prune-bundler, and the master loads no gems"),
        ..HARMLESS
    },
    Flag {
        long: "restart-cmd",
        short: Some('R'),
        takes: Takes::Value("COMMAND", Kind::Text),
        help: "Ignored with a warning: no command restarts rackrs",
        effect: Effect::Ignored("rackrs is not restarted by a command"),
        ..HARMLESS
    },
    Flag {
        long: "debug",
        help: "Ignored with a warning: there is no debug log",
        effect: Effect::Ignored("rackrs has no debug log"),
        ..HARMLESS
    },
    Flag {
        long: "compat",
        takes: Takes::Value("SERVER", Kind::Text),
        help: "Whose habits to follow; only puma yet",
        effect: Effect::Set(|_, given| match given.text {
            "puma" => Ok(()),
            _ => Err(given
                .refuse("rackrs has only Puma's habits yet; write --compat puma, or leave it out")),
        }),
        ..HARMLESS
    },
];

pub(super) const NOT_YET: &[Flag] = &[
    Flag {
        long: "config",
        short: Some('C'),
        takes: Takes::Value("PATH", Kind::File),
        help: "Config file; only -, for none, is taken yet",
        effect: Effect::Set(|settings, given| match given.text {
            "-" => {
                settings.config_file.set(ConfigFile::Unwanted, given.source);
                Ok(())
            }
            _ => {
                Err(given
                    .refuse("rackrs does not read a config file yet; give its settings as flags"))
            }
        }),
        ..LATER
    },
    Flag {
        long: "state",
        short: Some('S'),
        takes: Takes::Value("PATH", Kind::File),
        help: "State file for pumactl",
        effect: Effect::NotYet(
            "rackrs does not write a state file yet; leave it out and use the pid file",
        ),
        ..LATER
    },
    Flag {
        long: "control-url",
        aliases: &["control"],
        takes: Takes::Value("URL", Kind::Text),
        help: "Address of the control server",
        effect: Effect::NotYet(
            "rackrs has no control server yet; leave it out and send signals to the master",
        ),
        ..LATER
    },
    Flag {
        long: "control-token",
        takes: Takes::Value("TOKEN", Kind::Text),
        help: "Password of the control server",
        effect: Effect::NotYet(
            "rackrs has no control server yet; leave it out and send signals to the master",
        ),
        ..LATER
    },
    Flag {
        long: "fork-worker",
        short: Some('f'),
        takes: Takes::Optional { name: "REQUESTS", missing: "1000", kind: Kind::Text },
        help: "Fork workers from a warm worker",
        effect: Effect::NotYet(
            "rackrs does not fork from a warm worker yet; leave it out, workers share the memory \
             of the loaded application already",
        ),
        ..LATER
    },
    Flag {
        long: "plugin",
        takes: Takes::Value("NAME", Kind::Text),
        repeatable: true,
        help: "Load a Puma plugin",
        effect: Effect::NotYet("rackrs does not load Puma's plugins yet; leave it out"),
        ..LATER
    },
    Flag {
        long: "bind-to-activated-sockets",
        takes: Takes::Optional { name: "only", missing: "also", kind: Kind::Text },
        help: "Listen on systemd's sockets",
        effect: Effect::NotYet(
            "rackrs does not take sockets from systemd yet; name them with --bind",
        ),
        ..LATER
    },
    Flag {
        long: "idle-timeout",
        takes: Takes::Value("SECONDS", Kind::Text),
        help: "Stop after this long without a request",
        effect: Effect::NotYet("rackrs does not stop when idle yet; leave it out"),
        ..LATER
    },
];
