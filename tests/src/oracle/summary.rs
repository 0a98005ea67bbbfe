//! What a client, and all fast clients together, saw in one load.

use std::time::Duration;

use serde::Serialize;

use super::{
    client::Seen,
    mix::Profile,
    pid_watch::milliseconds,
    record::{Outcome, Record},
};

/// What one client saw.
#[derive(Clone, Debug, Serialize)]
pub struct Client {
    /// What it asks for, how, and over which transport.
    pub name: String,
    /// Its requests.
    pub requests: u64,
    /// Those answered as they must be.
    pub answered: u64,
    /// Those written and not answered so.
    pub lost: u64,
    /// Connections that could not be made.
    pub refused: u64,
    /// Kept connections that the server closed while no request was on them.
    pub closed_idle: u64,
    /// 99 of 100 answers took no longer, in milliseconds.
    pub p99_ms: f64,
    /// The longest time that an answer took, in milliseconds.
    pub longest_ms: f64,
    /// The longest time between two answers, in milliseconds.
    pub gap_ms: f64,
}

impl Client {
    pub(super) fn of(profile: &Profile, seen: &Seen, length: Duration) -> Self {
        let count = |wanted: fn(&Outcome) -> bool| {
            seen.records.iter().filter(|record| wanted(&record.outcome)).count() as u64
        };
        let times = Times::of(seen.records.iter(), length);
        Self {
            name: profile.to_string(),
            requests: seen.records.len() as u64,
            answered: count(|outcome| matches!(outcome, Outcome::Answered { .. })),
            lost: count(|outcome| matches!(outcome, Outcome::Lost(_))),
            refused: count(|outcome| matches!(outcome, Outcome::Refused(_))),
            closed_idle: seen.closed_idle,
            p99_ms: milliseconds(times.p99),
            longest_ms: milliseconds(times.longest),
            gap_ms: milliseconds(times.gap),
        }
    }
}

/// What all fast clients saw together.
#[derive(Clone, Debug, Serialize)]
pub struct Fast {
    /// Their answers.
    pub answered: u64,
    /// 99 of 100 answers took no longer, in milliseconds.
    pub p99_ms: f64,
    /// The longest time that an answer took, in milliseconds.
    pub longest_ms: f64,
    /// The longest time in which no answer came to any of them, in milliseconds.
    pub gap_ms: f64,
    /// When that time began, in seconds since the load began.
    pub gap_at_s: f64,
}

impl Fast {
    pub(super) fn of(clients: &[(Profile, Seen)], length: Duration) -> Self {
        let fast = clients.iter().filter(|(profile, _)| profile.is_fast());
        let times = Times::of(fast.flat_map(|(_, seen)| &seen.records), length);
        Self {
            answered: times.answered,
            p99_ms: milliseconds(times.p99),
            longest_ms: milliseconds(times.longest),
            gap_ms: milliseconds(times.gap),
            gap_at_s: times.gap_at.as_secs_f64(),
        }
    }
}

/// The times of some answers.
#[derive(Debug, Default, PartialEq)]
struct Times {
    answered: u64,
    p99: Duration,
    longest: Duration,
    gap: Duration,
    gap_at: Duration,
}

impl Times {
    fn of<'a>(records: impl Iterator<Item = &'a Record>, length: Duration) -> Self {
        let answered = records.filter(|one| matches!(one.outcome, Outcome::Answered { .. }));
        let (mut ends, mut took): (Vec<_>, Vec<_>) =
            answered.map(|one| (one.end, one.end.saturating_sub(one.begin))).unzip();
        ends.sort_unstable();
        took.sort_unstable();
        // The load's begin and end are marks too, or a server that never answers has no gap.
        let mut times = Self { answered: took.len() as u64, ..Self::default() };
        let mut before = Duration::ZERO;
        for end in ends.into_iter().chain([length]) {
            let gap = end.saturating_sub(before);
            if gap > times.gap {
                (times.gap, times.gap_at) = (gap, before);
            }
            before = before.max(end);
        }
        times.longest = took.last().copied().unwrap_or_default();
        times.p99 =
            (took.len() * 99).div_ceil(100).checked_sub(1).map_or(Duration::ZERO, |at| took[at]);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn record(begin: u64, end: u64, outcome: Outcome) -> Record {
        Record { begin: at(begin), end: at(end), fresh: false, outcome }
    }

    const GOOD: Outcome = Outcome::Answered { marker: 1 };

    #[test]
    fn the_longest_gap_is_between_answers_only() {
        let records = [
            record(0, 10, GOOD),
            record(12, 20, GOOD),
            record(20, 30, Outcome::Lost("".into())),
            record(30, 60, GOOD),
            record(61, 70, GOOD),
        ];
        let times = Times::of(records.iter(), at(75));
        assert_eq!((times.gap, times.gap_at), (at(40), at(20)));
        assert_eq!((times.answered, times.longest, times.p99), (4, at(30), at(30)));
    }

    #[test]
    fn the_ends_of_the_load_bound_a_gap() {
        assert_eq!(Times::of([].iter(), at(75)).gap, at(75));
        let records = [record(0, 10, GOOD)];
        let times = Times::of(records.iter(), at(75));
        assert_eq!((times.gap, times.gap_at), (at(65), at(10)));
    }
}
