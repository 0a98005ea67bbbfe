//! Tests of the book of children: who is whose, whatever comes first.

use tokio::task::LocalSet;

use super::*;
use crate::{
    http::Manner,
    wire::{FromWorker, WireError},
};

/// A book with one worker that was asked for, and the worker's end of its channel.
fn asked_for(id: WorkerId) -> (Children, Channel) {
    let (mut children, _) = Children::new(Rows::new().unwrap());
    let (ours, theirs) = Channel::pair().unwrap();
    let row = children.rows.take().unwrap();
    let channel = children.worker_channel(id, 1, ours).unwrap();
    let (birth, slot, generation, asked) = (1, 0, 1, Moment::default());
    let worker = Worker { birth, slot, generation, pid: None, channel, asked, failure: None, row };
    children.workers.insert(id, worker);
    (children, theirs)
}

/// SIGCHLD overtakes the first word: nobody else can connect the two after an exec.
#[tokio::test]
async fn the_end_of_a_worker_that_nobody_has_heard_yet_is_not_forgotten() {
    let test = async {
        let (mut children, worker) = asked_for(3);
        wire::send(&worker, &FromWorker::Forked { pid: 42 }, &[]).unwrap();
        assert!(children.ended(42, Exit::Code(1)).is_none(), "a stranger");
        let words = children.first_words();
        let [Report::Worker(3, 1, Some(FromWorker::Forked { pid: 42 }))] = words[..] else {
            panic!("{words:?}")
        };
        assert_eq!(children.worker_spoke(3, 42), Some(Exit::Code(1)));
        assert!(children.first_words().is_empty());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_worker_that_is_disowned_reads_that_nobody_wants_it_and_its_row_is_free() {
    let test = async {
        let (mut children, worker) = asked_for(3);
        children.disown(3);
        assert_eq!(children.rows.take(), Some(0));
        let spoke = wire::send(&worker, &FromWorker::Forked { pid: 42 }, &[]);
        assert!(matches!(spoke, Err(WireError::Send(_))), "{spoke:?}");
    };
    LocalSet::new().run_until(test).await;
}

/// Its end may be on the way to us while we tell it something: that is no failure.
#[tokio::test]
async fn a_worker_that_has_just_left_needs_nothing_and_is_no_complaint() {
    let test = async {
        let (mut children, worker) = asked_for(3);
        children.worker_spoke(3, 42);
        drop(worker);
        children.tell_worker(3, &ToWorker::Drain(Manner::Promptly)).unwrap();
        assert!(children.tell_all(&ToMold::ReopenLogs, &ToWorker::ReopenLogs).is_empty());
    };
    LocalSet::new().run_until(test).await;
}
