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
        long: "control-token",
        takes: Takes::Value("TOKEN", Kind::Text),
        help: "Password of the control server",
        effect: Effect::NotYet(
            "rackrs has no control server over HTTP yet; leave it out, the control socket needs no password",
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
        long: "idle-timeout",
        takes: Takes::Value("SECONDS", Kind::Text),
        help: "Stop after this long without a request",
        effect: Effect::NotYet("rackrs does not stop when idle yet; leave it out"),
        ..LATER
    },
];
