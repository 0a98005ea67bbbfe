//! Every phase with every combination of counts that can occur.

use super::*;

const LIMITS: Limits =
    Limits { threads_min: 2, threads_max: 4, drain: Some(Duration::from_secs(30)) };

fn counts(spawned: usize, starting: usize, queued: usize, waiting: usize) -> Counts {
    Counts { spawned, starting, queued, waiting, closed: false }
}

fn serving(counts: Counts) -> Step {
    let (phase, step) = Phase::Serving.next(counts, LIMITS, Instant::now());
    assert_eq!(phase, Phase::Serving);
    step
}

#[test]
fn the_minimum_is_kept() {
    assert_eq!(serving(counts(0, 0, 0, 0)), Step::Spawn);
    assert_eq!(serving(counts(1, 1, 0, 0)), Step::Spawn);
    assert_eq!(serving(counts(2, 0, 0, 2)), Step::AwaitShortage);
}

#[test]
fn a_shortage_adds_threads_up_to_the_maximum() {
    assert_eq!(serving(counts(2, 0, 1, 0)), Step::Spawn);
    assert_eq!(serving(counts(3, 0, 9, 0)), Step::Spawn);
    assert_eq!(serving(counts(4, 0, 9, 0)), Step::AwaitBell(BEAT));
}

#[test]
fn a_thread_on_its_way_counts_as_waiting() {
    assert_eq!(serving(counts(3, 1, 1, 0)), Step::AwaitBell(BEAT));
    assert_eq!(serving(counts(3, 1, 2, 0)), Step::Spawn);
}

#[test]
fn closing_starts_the_drain_and_its_clock() {
    let now = Instant::now();
    let closed = Counts { closed: true, ..counts(2, 0, 0, 0) };
    let (phase, step) = Phase::Serving.next(closed, LIMITS, now);
    assert_eq!(phase, Phase::Draining { deadline: Some(now + Duration::from_secs(30)) });
    assert_eq!(step, Step::AwaitBell(BEAT));
    assert_eq!(phase.next(counts(0, 0, 0, 0), LIMITS, now).1, Step::End(PoolEnd::Drained));
}

#[test]
fn a_drain_serves_what_is_queued_even_if_every_thread_died() {
    let draining = Phase::Draining { deadline: None };
    let (phase, step) = draining.next(counts(0, 0, 1, 0), LIMITS, Instant::now());
    assert_eq!((phase, step), (draining, Step::Spawn));
}

#[test]
fn the_end_of_the_drain_kills_and_the_end_of_the_grace_gives_up() {
    let now = Instant::now();
    let draining = Phase::Draining { deadline: Some(now) };
    let (phase, step) = draining.next(counts(2, 0, 3, 0), LIMITS, now);
    assert_eq!(phase, Phase::Killing { deadline: now + KILL_GRACE, killed: 2 });
    assert_eq!(step, Step::Kill);
    let after = |spawned, now| phase.next(counts(spawned, 0, 3, 0), LIMITS, now).1;
    assert_eq!(after(1, now), Step::AwaitBell(BEAT));
    assert_eq!(after(0, now), Step::End(PoolEnd::Killed(2)));
    assert_eq!(after(1, now + KILL_GRACE), Step::End(PoolEnd::Hanging(1)));
}

/// No thread is created above the maximum, no wait is without a limit, only an empty pool has
/// drained, and no phase goes backwards.
#[test]
fn every_phase_survives_every_count() {
    let now = Instant::now();
    let phases = [
        Phase::Serving,
        Phase::Draining { deadline: None },
        Phase::Draining { deadline: Some(now) },
        Phase::Killing { deadline: now, killed: 1 },
        Phase::Killing { deadline: now + KILL_GRACE, killed: 1 },
    ];
    let rank = |phase| match phase {
        Phase::Serving => 0,
        Phase::Draining { .. } => 1,
        Phase::Killing { .. } => 2,
    };
    let numbers = (0..6).flat_map(|spawned| (0..=spawned).map(move |starting| (spawned, starting)));
    for (spawned, starting) in numbers {
        for (queued, waiting, closed) in
            (0..3).flat_map(|q| (0..3).flat_map(move |w| [(q, w, false), (q, w, true)]))
        {
            let counts = Counts { spawned, starting, queued, waiting, closed };
            for phase in phases {
                let (next, step) = phase.next(counts, LIMITS, now);
                assert!(rank(next) >= rank(phase), "{phase:?} {counts:?}");
                match step {
                    Step::Spawn => assert!(spawned < LIMITS.threads_max),
                    Step::AwaitBell(patience) => assert!(patience <= BEAT),
                    Step::End(PoolEnd::Drained) => assert_eq!((spawned, queued), (0, 0)),
                    Step::End(PoolEnd::Killed(_)) => assert_eq!(spawned, 0),
                    Step::End(PoolEnd::Hanging(left)) => assert_eq!(left, spawned),
                    Step::AwaitShortage => assert!(!closed),
                    Step::Kill => assert!(spawned + queued > 0),
                }
            }
        }
    }
}
