//! Flags: limits and time-outs.

use crate::{
    cli::flag::{Effect, Flag, Heading, Kind, Takes},
    config::{ROOM_MAX, seconds, whole},
};

const PLAIN: Flag = Flag { heading: Heading::Limits, ..Flag::PLAIN };
const SECONDS: Takes = Takes::Value("SECONDS", Kind::Text);
const COUNT: Takes = Takes::Value("COUNT", Kind::Text);

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "first-data-timeout",
        takes: SECONDS,
        help: "For a head, and between body parts",
        more: "408 beyond. Seconds may have a fraction. Default: 30.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.first_data_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "persistent-timeout",
        takes: SECONDS,
        help: "For a connection's next request",
        more: "The connection is closed beyond. Default: $PUMA_PERSISTENT_TIMEOUT, else 65.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.persistent_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "max-keep-alive",
        takes: COUNT,
        help: "Requests of one connection",
        more: "1 closes every connection after its answer. Default: 999.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.max_keep_alive, |text| whole(text, 1..=u32::MAX))
        }),
        ..PLAIN
    },
    Flag {
        long: "write-timeout",
        takes: SECONDS,
        help: "For a client that takes no byte",
        more: "The connection is cut off beyond. Default: 10.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.write_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "http-content-length-limit",
        takes: Takes::Value("BYTES", Kind::Text),
        help: "Longest request body",
        more: "413 beyond, for chunked bodies too. Default: 5368709120 (5 GiB); Puma has none.",
        effect: Effect::Set(|settings, given| {
            given
                .fill(&mut settings.limits.request_body_bytes_max, |text| whole(text, 0..=u64::MAX))
        }),
        ..PLAIN
    },
    Flag {
        long: "queue-limit",
        takes: COUNT,
        help: "Requests that wait in one worker",
        more: "For a Ruby thread; 503 beyond. Default: 1024.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.queue_max, |text| whole(text, 1..=ROOM_MAX))
        }),
        ..PLAIN
    },
    Flag {
        long: "connections-limit",
        takes: COUNT,
        help: "Open connections of one worker",
        more: "Newcomers wait in the kernel's backlog beyond. Default: 16384.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.connections_max, |text| whole(text, 1..=ROOM_MAX))
        }),
        ..PLAIN
    },
    Flag {
        long: "load-timeout",
        takes: SECONDS,
        help: "For loading the application",
        more: "A start that takes longer is given up. Default: 300.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.load_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "worker-boot-timeout",
        takes: SECONDS,
        help: "For a worker's start",
        more: "From fork to serving; a worker that is not ready then is killed. Default: 60.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.boot_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "worker-shutdown-timeout",
        takes: SECONDS,
        help: "For running requests at a stop",
        more: "A worker that still runs then is killed. Default: 30.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.shutdown_timeout, seconds)
        }),
        ..PLAIN
    },
    Flag {
        long: "drain-idle-timeout",
        takes: SECONDS,
        help: "For idle connections at a restart",
        more: "To bring one more request to an old worker; at most half of \
               --worker-shutdown-timeout. Default: 5.",
        effect: Effect::Set(|settings, given| {
            given.fill(&mut settings.limits.drain_idle_timeout, seconds)
        }),
        ..PLAIN
    },
];
