//! Flags: how workers are watched, replaced and restarted.

use crate::{
    cli::flag::{Effect, Flag, Heading, Kind, Takes},
    config::{WORKERS_MAX, bytes, count_or_none, request_path, seconds, seconds_or_none, whole},
};

const PLAIN: Flag = Flag { heading: Heading::Upkeep, ..Flag::PLAIN };
const SECONDS: Takes = Takes::Value("SECONDS", Kind::Text);
const COUNT: Takes = Takes::Value("N", Kind::Text);
const SIZE: Takes = Takes::Value("BYTES", Kind::Text);

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "restart-batch",
        takes: COUNT,
        help: "Workers swapped at a time in a restart",
        more: "So many workers more than usual exist meanwhile, besides those that finish what \
               they hold. Default: 1.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.restart_batch, |text| whole(text, 1..=WORKERS_MAX))
        }),
        ..PLAIN
    },
    Flag {
        long: "warmup",
        takes: Takes::Value("PATH", Kind::Text),
        help: "GET this path before serving",
        more: "In every new worker. One that answers with 5xx, or not at all, has failed to start; in a restart \
               the old workers then go on.",
        repeatable: true,
        effect: Effect::Set(|settings, given| {
            let path = given.read(request_path)?;
            settings.upkeep.warmup.add(path, given.source);
            Ok(())
        }),
        ..PLAIN
    },
    Flag {
        long: "warmup-timeout",
        takes: SECONDS,
        help: "For the answer to each --warmup",
        more: "Default: 30.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.warmup_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "worker-timeout",
        takes: SECONDS,
        help: "For a sign of life from a worker",
        more: "From its I/O thread and from its Ruby, each; a worker without one logs where its \
               threads stand and is replaced. Long requests are no reason. 0 for no limit. \
               Default: 60.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.worker_timeout, seconds_or_none)
        }),
        ..PLAIN
    },
    Flag {
        long: "request-timeout",
        takes: SECONDS,
        help: "For one request in the hands of Ruby",
        more: "Its worker logs where its threads stand, is killed and replaced; all requests in it \
               are lost. 0, the default, for no limit.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.request_timeout, seconds_or_none)
        }),
        ..PLAIN
    },
    Flag {
        long: "max-requests",
        takes: COUNT,
        help: "Requests before a worker is replaced",
        more: "It goes when the other serves and what it holds is answered; one worker at a time. \
               0, the default, for no limit.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.requests_max, count_or_none)
        }),
        ..PLAIN
    },
    Flag {
        long: "max-requests-jitter",
        takes: COUNT,
        help: "Up to so many more, by chance",
        more: "So that workers do not all come to their end at once. Default: 0.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.requests_jitter, |text| whole(text, 0..=u64::MAX))
        }),
        ..PLAIN
    },
    Flag {
        long: "worker-max-rss",
        takes: SIZE,
        help: "Resident memory before it is replaced",
        more: "Bytes, or with K, M or G behind it. 0, the default, for no limit.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.resident_bytes_max, bytes)
        }),
        ..PLAIN
    },
    Flag {
        long: "worker-max-pss",
        takes: SIZE,
        help: "Its share of memory before that",
        more: "Pages that workers share count in parts, so the sum over all workers is what they \
               use together. Bytes, or with K, M or G behind it. 0, the default, for no limit.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.proportional_bytes_max, bytes)
        }),
        ..PLAIN
    },
    Flag {
        long: "fork-worker",
        short: Some('f'),
        takes: Takes::Optional { name: "REQUESTS", missing: "1000", kind: Kind::Text },
        help: "Fork workers from a warm one",
        more: "A worker that has served so many becomes, once, the mold that all others are forked \
               from anew: they then share what it has loaded and compiled. URG does it at any \
               time. 0 for URG alone. Default: 1000 with the flag, else not.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.upkeep.refork_after, count_or_none)
        }),
        ..PLAIN
    },
];
