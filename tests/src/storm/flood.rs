//! Very many restarts asked for at once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGUSR2;
use serde_json::Value;

use crate::{Poller, ServerBuilder, eventually, holds_still, patience::pass, release};

/// How often, and in what time.
const SIGNALS: u32 = 50;
const TIME: Duration = Duration::from_secs(2);

/// Generations that may be there at one time: the one that serves, and the one before or after.
const GENERATIONS_MAX: usize = 2;

/// What a flood was like.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Restarts that it made.
    pub restarts: u64,
    /// Answers meanwhile; none was missing.
    pub answers: usize,
    /// How often the generations were looked at.
    pub looks: u32,
}

/// Sends 50 times USR2 within two seconds to a server with these flags. Panics unless every
/// request is answered, never more than two generations are there, and it comes to rest after.
#[must_use]
pub fn flood(flags: &str) -> Flood {
    let server = ServerBuilder::of_source(&release("flood", "")).args(flags).start();
    let clients = [(); 3].map(|()| Poller::start_patient(&server));
    let (start, mut looks) = (Instant::now(), 0);
    let mut look = || {
        looks += 1;
        let stats = server.stats();
        assert!(generations(&stats) <= GENERATIONS_MAX, "{stats}");
        stats
    };
    for number in 1..=SIGNALS {
        server.signal(SIGUSR2);
        look();
        pass((TIME * number / SIGNALS).saturating_sub(start.elapsed()));
    }
    let stats = eventually("it comes to rest", || {
        let stats = look();
        (stats["state"] == "serving" && generations(&stats) == 1).then_some(stats)
    });
    let restarts = &stats["restarts"];
    let begun = restarts["begun"].as_u64().expect("a number");
    assert_eq!(restarts["succeeded"], restarts["begun"], "{stats}");
    assert!((1..=u64::from(SIGNALS)).contains(&begun), "{stats}");
    holds_still("it stays at rest", || server.ready_workers().len() == workers_wanted(&stats));
    assert_eq!(server.stats()["restarts"], *restarts);
    let answers = clients.map(|client| client.finish().concat().len()).iter().sum();
    Flood { restarts: begun, answers, looks }
}

fn workers_wanted(stats: &Value) -> usize {
    let wanted = stats["workers_wanted"].as_u64().expect("a number");
    usize::try_from(wanted).expect("it is small")
}

/// Those of molds and of workers.
fn generations(stats: &Value) -> usize {
    let lists = ["molds", "workers"].map(|list| stats[list].as_array().expect("a list"));
    let mut numbers: Vec<u64> =
        lists.into_iter().flatten().filter_map(|one| one["generation"].as_u64()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.len()
}
