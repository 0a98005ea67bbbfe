//! Watching the workers: who makes no progress, and who has used up its requests or memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// How often the master looks at every worker.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// A look that is so much too late means that this process, or the machine, stood still (Ctrl-Z, a
/// paused container, a saved virtual machine), and perhaps the workers with it.
const STANDSTILL: Duration = Duration::from_secs(2);

/// When the workers are looked at, and since when without a gap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gaze {
    next: Moment,
    since: Moment,
}

impl Gaze {
    /// Begins now; no gap is known of.
    pub(crate) fn new(now: Moment) -> Self {
        Self { next: now + INTERVAL, since: Moment::default() }
    }

    /// When the next look is due.
    pub(crate) fn next(&self) -> Moment {
        self.next
    }

    /// Takes a look if it is due: since when nobody can have been silent unseen. Silence from
    /// before is not held against a worker, as it may have had no time to speak.
    pub(crate) fn look(&mut self, now: Moment) -> Option<Moment> {
        if now < self.next {
            return None;
        }
        if now.since(self.next) > STANDSTILL {
            self.since = now;
        }
        self.next = now + INTERVAL;
        Some(self.since)
    }
}

/// Why a worker counts as making no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stuck {
    /// Its I/O thread does not run: the process is stopped, or the machine is.
    Io,
    /// Nobody in it can take Ruby's lock: native code holds it.
    Ruby,
    /// A request takes longer than is allowed.
    Request,
}

impl Stuck {
    /// The reason in words, with the setting to change.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Io => "its I/O thread did not run (--worker-timeout)",
            Self::Ruby => "its Ruby lock could not be had (--worker-timeout)",
            Self::Request => "a request took too long (--request-timeout)",
        }
    }
}

/// Why a worker is replaced in peace; part of the log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worn {
    /// It has served this many requests.
    Requests(u64),
    /// It has this much memory of its own and shared, in bytes.
    Resident(u64),
    /// Its share of memory, in bytes.
    Proportional(u64),
}

/// What was seen of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// From when on it is watched: it accepts, and the master looks.
    pub(crate) watched: Moment,
    pub(crate) io_beat: Moment,
    pub(crate) ruby_beat: Moment,
    /// When its oldest request was begun.
    pub(crate) oldest: Option<Moment>,
    pub(crate) requests: u64,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) proportional_bytes: Option<u64>,
}

/// The limits that it is held against; `None` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Without a sign of life from either side.
    pub(crate) silence: Option<Duration>,
    /// For one request in the hands of Ruby.
    pub(crate) request: Option<Duration>,
    /// Requests of one worker, its own jitter included.
    pub(crate) requests: Option<u64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) proportional_bytes: Option<u64>,
}

/// What is to be done about a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Stuck(Stuck),
    Worn(Worn),
}

/// Holds what was seen against the limits.
pub(crate) fn judge(seen: &Seen, bounds: &Bounds, now: Moment) -> Verdict {
    let is_over = |limit: Option<Duration>, since: Moment| {
        limit.is_some_and(|limit| now.since(since) > limit)
    };
    // A worker that has just become ready has not had the time for a first beat.
    let io = seen.io_beat.max(seen.watched);
    if is_over(bounds.silence, io) {
        return Verdict::Stuck(Stuck::Io);
    }
    if is_over(bounds.silence, seen.ruby_beat.max(seen.watched)) {
        return Verdict::Stuck(Stuck::Ruby);
    }
    if seen.oldest.is_some_and(|oldest| is_over(bounds.request, oldest.max(seen.watched))) {
        return Verdict::Stuck(Stuck::Request);
    }
    let above = |value: Option<u64>, limit: Option<u64>| {
        value.filter(|value| limit.is_some_and(|limit| *value > limit))
    };
    if bounds.requests.is_some_and(|limit| seen.requests >= limit) {
        return Verdict::Worn(Worn::Requests(seen.requests));
    }
    if let Some(bytes) = above(seen.resident_bytes, bounds.resident_bytes) {
        return Verdict::Worn(Worn::Resident(bytes));
    }
    if let Some(bytes) = above(seen.proportional_bytes, bounds.proportional_bytes) {
        return Verdict::Worn(Worn::Proportional(bytes));
    }
    Verdict::Fine
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_ms(1_000_000);

    fn bounds() -> Bounds {
        Bounds {
            silence: Some(Duration::from_mins(1)),
            request: Some(Duration::from_secs(30)),
            requests: Some(100),
            resident_bytes: Some(1000),
            proportional_bytes: Some(500),
        }
    }

    fn seen() -> Seen {
        Seen { io_beat: NOW, ruby_beat: NOW, ..Seen::default() }
    }

    fn ago(seconds: u64) -> Moment {
        NOW - Duration::from_secs(seconds)
    }

    #[test]
    fn each_limit_is_noticed_when_it_is_passed_and_not_before() {
        let at = |change: fn(&mut Seen)| {
            let mut seen = seen();
            change(&mut seen);
            judge(&seen, &bounds(), NOW)
        };
        assert_eq!(at(|_| ()), Verdict::Fine);
        assert_eq!(at(|seen| seen.io_beat = ago(60)), Verdict::Fine);
        assert_eq!(at(|seen| seen.io_beat = ago(61)), Verdict::Stuck(Stuck::Io));
        assert_eq!(at(|seen| seen.ruby_beat = ago(61)), Verdict::Stuck(Stuck::Ruby));
        assert_eq!(at(|seen| seen.oldest = Some(ago(30))), Verdict::Fine);
        assert_eq!(at(|seen| seen.oldest = Some(ago(31))), Verdict::Stuck(Stuck::Request));
        assert_eq!(at(|seen| seen.requests = 99), Verdict::Fine);
        assert_eq!(at(|seen| seen.requests = 100), Verdict::Worn(Worn::Requests(100)));
        assert_eq!(
            at(|seen| seen.resident_bytes = Some(1001)),
            Verdict::Worn(Worn::Resident(1001))
        );
        assert_eq!(
            at(|seen| seen.proportional_bytes = Some(501)),
            Verdict::Worn(Worn::Proportional(501))
        );
    }

    #[test]
    fn a_worker_that_never_beat_is_held_against_its_first_moment() {
        let seen = Seen { watched: ago(59), ..Seen::default() };
        assert_eq!(judge(&seen, &bounds(), NOW), Verdict::Fine);
        let seen = Seen { watched: ago(61), ..Seen::default() };
        assert_eq!(judge(&seen, &bounds(), NOW), Verdict::Stuck(Stuck::Io));
    }

    #[test]
    fn after_a_standstill_everybody_gets_the_time_to_beat_again() {
        let mut gaze = Gaze::new(ago(601));
        assert_eq!(gaze.look(ago(601)), None, "not due yet");
        assert_eq!(gaze.look(ago(600)), Some(Moment::default()));
        assert_eq!(gaze.look(ago(597)), Some(Moment::default()), "late, as on a busy machine");
        let watched = gaze.look(NOW).unwrap();
        assert_eq!(watched, NOW);
        let beat = ago(597);
        let seen = Seen { watched, io_beat: beat, ruby_beat: beat, oldest: Some(beat), ..seen() };
        assert_eq!(judge(&seen, &bounds(), NOW), Verdict::Fine);
        let later = NOW + Duration::from_secs(61);
        assert_eq!(judge(&seen, &bounds(), later), Verdict::Stuck(Stuck::Io));
    }

    #[test]
    fn without_limits_everything_is_fine() {
        let seen = Seen { requests: u64::MAX, oldest: Some(Moment::default()), ..Seen::default() };
        assert_eq!(judge(&seen, &Bounds::default(), NOW), Verdict::Fine);
    }
}
