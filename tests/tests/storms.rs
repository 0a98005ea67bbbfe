//! Signals at random moments: the server serves or ends, and never leaves anything behind.
//!
//! `script/storms` lets more of them blow.

use rackrs_tests::storm::{Storm, flood};

/// Storms of each test.
const STORMS: u64 = 5;

fn weather(first: u64) {
    let faults: Vec<String> = (first..first + STORMS)
        .filter_map(|seed| Storm::of_seed(seed).blow().err())
        .map(|error| format!("{error:?}"))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn storms_from_1_are_weathered() {
    weather(1);
}

#[test]
fn storms_from_101_are_weathered() {
    weather(101);
}

#[test]
fn storms_from_201_are_weathered() {
    weather(201);
}

#[test]
fn fifty_restarts_in_two_seconds_lose_nothing() {
    for flags in ["", "-w 2"] {
        let flood = flood(flags);
        assert!(flood.restarts > 1, "{flood:?}");
    }
}
