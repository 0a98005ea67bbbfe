//! Flags: which application, and its Ruby.

use crate::{
    cli::flag::{Effect, Flag, Heading, Kind, Takes},
    config::{Given, path, word},
};

const PLAIN: Flag = Flag { heading: Heading::Application, ..Flag::PLAIN };

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "environment",
        short: Some('e'),
        takes: Takes::Value("ENV", Kind::Text),
        help: "RACK_ENV for the application",
        more: "Default: $APP_ENV, else $RACK_ENV, else $RAILS_ENV, else development.",
        effect: Effect::Set(|settings, given| given.fill(&mut settings.environment, word)),
        ..PLAIN
    },
    Flag {
        long: "dir",
        takes: Takes::Value("DIR", Kind::Directory),
        help: "Change to this directory first",
        more: "Relative paths of other flags start here. Default: the directory the command was \
               started in, through symlinks as $PWD names it, so that it outlives one release of a \
               deploy.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.directory, |text| path(text).map(Some))
        }),
        ..PLAIN
    },
    Flag {
        long: "include",
        short: Some('I'),
        takes: Takes::Value("PATH", Kind::Directory),
        help: "Add to Ruby's $LOAD_PATH",
        more: "Several directories may be joined with colons. They come before Ruby's own, in the \
               order given.",
        repeatable: true,
        effect: Effect::Set(|settings, given| {
            for part in given.text.split(':').filter(|part| !part.is_empty()) {
                let directory = Given { text: part, ..*given }.read(path)?;
                settings.load_paths.add(directory, given.source);
            }
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "early-hints",
        help: "Offer rack.early_hints (103) to the application",
        effect: Effect::Set(|settings, given| {
            settings.early_hints.set(true, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "yjit",
        help: "Turn on YJIT where this Ruby has it",
        more: "The same as RUBY_YJIT_ENABLE=1.",
        effect: Effect::Set(|settings, given| {
            settings.yjit.set(true, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "workers",
        short: Some('w'),
        takes: Takes::Value("COUNT", Kind::Text),
        heading: Heading::Workers,
        help: "Worker processes, or auto: one for each CPU",
        more: "0 is Puma's single mode, served by one worker. auto counts the CPUs this process may \
               use, with the cgroup's quota. At most 1024. Default: $WEB_CONCURRENCY, else 0.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.workers, crate::config::workers)
        }),
        ..PLAIN
    },
    Flag {
        long: "threads",
        short: Some('t'),
        takes: Takes::Value("MIN:MAX", Kind::Text),
        heading: Heading::Workers,
        help: "Ruby threads of each worker; one number for both",
        more: "At most 4096. Default: $PUMA_MIN_THREADS:$PUMA_MAX_THREADS, else 0:5.",
        effect: Effect::Set(|settings, given| {
            let threads = given.read(crate::config::threads)?;
            settings.threads_min.set(threads.min, given.source);
            settings.threads_max.set(threads.max, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "preload",
        heading: Heading::Workers,
        help: "Load the application before forking; always so",
        effect: Effect::Set(|settings, given| {
            settings.preload.set(true, given.source);
            Ok(())
        }),
        ..PLAIN
    },
];
