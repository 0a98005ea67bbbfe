//! Flags: what is said, and where it goes.

use crate::{
    cli::flag::{Effect, Flag, Heading, Kind, Takes},
    config::{LogLevel, path},
};

const PLAIN: Flag = Flag { heading: Heading::Log, ..Flag::PLAIN };

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "log-requests",
        short: Some('v'),
        help: "Log a line for each request",
        effect: Effect::Set(|settings, given| {
            settings.log_requests.set(true, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "quiet",
        short: Some('q'),
        help: "Log no requests (the default)",
        more: "Of --quiet and --log-requests the later one wins.",
        effect: Effect::Set(|settings, given| {
            settings.log_requests.set(false, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "silent",
        short: Some('s'),
        help: "Log errors only",
        effect: Effect::Set(|settings, given| {
            settings.log.set(LogLevel::Silent, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "redirect-stdout",
        takes: Takes::Value("FILE", Kind::File),
        help: "Write standard output to this file",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.redirect_stdout, |text| path(text).map(Some))
        }),
        ..PLAIN
    },
    Flag {
        long: "redirect-stderr",
        takes: Takes::Value("FILE", Kind::File),
        help: "Write standard error to this file",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.redirect_stderr, |text| path(text).map(Some))
        }),
        ..PLAIN
    },
    Flag {
        long: "redirect-append",
        help: "Append to these files",
        effect: Effect::Set(|settings, given| {
            settings.redirect_append.set(true, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "no-redirect-append",
        help: "Empty these files first (the default)",
        more: "Of this and --redirect-append the later one wins.",
        effect: Effect::Set(|settings, given| {
            settings.redirect_append.set(false, given.source);
            Ok(())
        }),
        ..PLAIN
    },
];
