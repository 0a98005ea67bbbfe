//! Judges from which release each answer came.

use std::time::Duration;

use serde::Serialize;

use super::{
    client::Seen,
    mix::Profile,
    pid_watch::milliseconds,
    record::{Outcome, Record},
    release::FIRST,
};

/// Faults that are told one by one.
const FAULTS_TOLD_MAX: usize = 20;

/// A restart may begin while a kept connection is still with the release before the last; then it
/// is closed. A request that is written in this time may have come before that.
const KEPT_GRACE: Duration = Duration::from_millis(200);

/// One restart on a load's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// The release that was put in place for it.
    pub(super) marker: u32,
    /// When that was about to happen.
    pub(super) begin: Duration,
    /// When it was known to be complete; `None` when it never was.
    pub(super) done: Option<Duration>,
}

/// Whether the releases that answered are those that may.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Markers {
    /// Answers to requests begun after a restart began, from a release older than the one that
    /// was current then.
    pub older: u64,
    /// Answers on new connections made after a restart was complete, from the release before it.
    pub late: u64,
    /// Answers from a release whose restart had not begun.
    pub early: u64,
    /// Answers from a release older than that of the same client's answer before. A fault only
    /// where [`monotonic`](Self::monotonic).
    pub steps_back: u64,
    /// Whether no step back may be.
    pub monotonic: bool,
    /// The first faults.
    pub first: Vec<String>,
}

impl Markers {
    /// Judges all answers of a load; `marks` are in order.
    pub(super) fn judge(clients: &[(Profile, Seen)], marks: &[Mark], monotonic: bool) -> Self {
        let mut markers = Self { monotonic, ..Self::default() };
        for (profile, seen) in clients {
            let mut before = FIRST;
            for record in &seen.records {
                let Outcome::Answered { marker } = record.outcome else { continue };
                let mut tell = |what: &str| {
                    if markers.first.len() < FAULTS_TOLD_MAX {
                        markers.first.push(told(profile, record, marker, what));
                    }
                };
                let known = record.begin.saturating_sub(if record.fresh {
                    Duration::ZERO
                } else {
                    KEPT_GRACE
                });
                if marker < current_before(marks, known) {
                    tell("is older than the release before the restart");
                    markers.older += 1;
                } else if record.fresh && marker < completed(marks, record.begin) {
                    tell("comes after its restart was complete");
                    markers.late += 1;
                }
                if marker > begun(marks, record.end) {
                    tell("comes before its restart");
                    markers.early += 1;
                }
                if marker < before {
                    markers.steps_back += 1;
                    if monotonic {
                        tell("is a step back");
                    }
                }
                before = marker;
            }
        }
        markers
    }

    /// How many answers are faults.
    #[must_use]
    pub fn faults(&self) -> u64 {
        let steps = if self.monotonic { self.steps_back } else { 0 };
        self.older + self.late + self.early + steps
    }
}

fn told(profile: &Profile, record: &Record, marker: u32, what: &str) -> String {
    format!(
        "{profile}: release {marker}, asked at {:.3} s, {:.1} ms, {what}",
        record.begin.as_secs_f64(),
        milliseconds(record.end.saturating_sub(record.begin)),
    )
}

/// The release that was current when the last restart before `time` began.
fn current_before(marks: &[Mark], time: Duration) -> u32 {
    let begun = marks.partition_point(|mark| mark.begin <= time);
    if begun < 2 { FIRST } else { marks[begun - 2].marker }
}

/// The release of the last restart that was complete at `time`.
fn completed(marks: &[Mark], time: Duration) -> u32 {
    let done = |mark: &&Mark| mark.done.is_some_and(|done| done <= time);
    marks.iter().rev().find(done).map_or(FIRST, |mark| mark.marker)
}

/// The release of the last restart that had begun at `time`.
fn begun(marks: &[Mark], time: Duration) -> u32 {
    let begun = marks.partition_point(|mark| mark.begin <= time);
    if begun == 0 { FIRST } else { marks[begun - 1].marker }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{address::Address, mix::mix};

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Restarts from 100 to 200 and from 300 to 400.
    const MARKS: [Mark; 2] = [
        Mark { marker: 2, begin: at(100), done: Some(at(200)) },
        Mark { marker: 3, begin: at(300), done: Some(at(400)) },
    ];

    fn judged(answers: &[(u64, bool, u32)]) -> Markers {
        let records = answers.iter().map(|&(begin, fresh, marker)| Record {
            begin: at(begin),
            end: at(begin + 5),
            fresh,
            outcome: Outcome::Answered { marker },
        });
        let seen = Seen { records: records.collect(), closed_idle: 0 };
        let profile = mix(&[Address::Unix("web.sock".into())]).remove(0);
        Markers::judge(&[(profile, seen)], &MARKS, false)
    }

    #[test]
    fn old_and_new_may_take_turns_while_a_restart_is_under_way() {
        let markers = judged(&[(50, true, 1), (110, true, 2), (120, true, 1), (250, true, 2)]);
        assert_eq!((markers.faults(), markers.steps_back), (0, 1));
        assert_eq!(Markers { monotonic: true, ..markers }.faults(), 1);
    }

    #[test]
    fn a_new_connection_after_the_end_is_answered_by_the_new_release() {
        assert_eq!(judged(&[(210, true, 1)]).late, 1);
        assert_eq!(judged(&[(210, false, 1)]).faults(), 0);
        assert_eq!(judged(&[(199, true, 1)]).faults(), 0);
        assert_eq!(judged(&[(410, true, 2)]).late, 1);
    }

    #[test]
    fn nobody_answers_from_before_the_restart_before() {
        assert_eq!(judged(&[(310, false, 1)]).older, 0);
        assert_eq!(judged(&[(510, false, 1)]).older, 1);
        assert_eq!(judged(&[(310, true, 1)]).older, 1);
        assert_eq!(judged(&[(310, true, 2)]).faults(), 0);
    }

    #[test]
    fn nobody_answers_before_the_restart_begins() {
        assert_eq!(judged(&[(50, true, 2)]).early, 1);
        assert_eq!(judged(&[(98, true, 2)]).faults(), 0);
        assert_eq!(judged(&[(290, true, 3)]).early, 1);
    }
}
