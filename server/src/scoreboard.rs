//! What every worker is doing, in memory that the master shares with them.
//!
//! A worker writes its row; the master reads it whenever it likes, also when the worker is stuck,
//! stopped or dead: so it can tell who makes no progress, and which requests went down in a crash.
//! Every word stands for itself (relaxed order, no lock): a reader may see a row half-way through a
//! change, which costs a wrong line in a log at worst. Rows that nobody uses cost no memory.

use std::{sync::Arc, sync::atomic::AtomicU64, sync::atomic::Ordering, time::Duration};

use rackrs_sys::{monotonic, shared_words::SharedWords};

/// Rows of one scoreboard: every slot's worker twice, as one may take over from another.
pub(crate) const ROWS_MAX: usize = 2 * crate::config::WORKERS_MAX as usize;

/// Ruby threads of one worker whose requests are noted; those of further ones are not.
pub(crate) const LANES_MAX: usize = 64;

/// Bytes of a request line that are noted: longer ones are cut.
pub(crate) const LINE_BYTES_MAX: usize = LINE_WORDS * 8;

const LINE_WORDS: usize = 14;

// The words of a row before its lanes.
const IO_BEAT: usize = 0;
const RUBY_BEAT: usize = 1;
const CONNECTIONS: usize = 2;
const REQUESTS: usize = 3;
const THREADS: usize = 4;
const BUSY: usize = 5;
const QUEUE: usize = 6;
const GVL_WAIT_US: usize = 7;
const LANES: usize = 16;

// The words of a lane.
const BEGAN: usize = 0;
const TID: usize = 1;
const LINE: usize = 2;
const LANE_WORDS: usize = LINE + LINE_WORDS;

const ROW_WORDS: usize = LANES + LANES_MAX * LANE_WORDS;

/// Words of a whole scoreboard.
pub(crate) const WORDS: usize = ROWS_MAX * ROW_WORDS;

/// One worker's row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    board: Arc<SharedWords>,
    number: usize,
}

/// What the I/O thread of a worker tells of itself about once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    pub(crate) threads: u64,
    pub(crate) busy: u64,
    pub(crate) queue: u64,
}

/// A request that a Ruby thread has in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InHand {
    /// `GET /path`, without the query: it may hold secrets, and this ends in logs.
    pub(crate) line: String,
    /// Since when, in milliseconds of the shared clock.
    pub(crate) began_ms: u64,
}

impl Row {
    /// The row with this number, less than [`ROWS_MAX`].
    pub(crate) fn new(board: &Arc<SharedWords>, number: usize) -> Option<Self> {
        let is_there = number < ROWS_MAX && board.words().len() >= WORDS;
        is_there.then(|| Self { board: Arc::clone(board), number })
    }

    /// Empties the row for its next owner; both hearts beat from now on.
    pub(crate) fn reset(&self) {
        for word in self.words() {
            // A page that was never touched stays so.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The I/O thread runs.
    pub(crate) fn beat_io(&self, load: Load) {
        let Load { connections, requests, threads, busy, queue } = load;
        self.set(CONNECTIONS, connections);
        self.set(REQUESTS, requests);
        self.set(THREADS, threads);
        self.set(BUSY, busy);
        self.set(QUEUE, queue);
        self.set(IO_BEAT, monotonic::now_ms());
    }

    /// Ruby runs: somebody could take the GVL.
    pub(crate) fn beat_ruby(&self) {
        self.set(RUBY_BEAT, monotonic::now_ms());
    }

    pub(crate) fn add_gvl_wait(&self, wait: Duration) {
        let us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.words()[GVL_WAIT_US].fetch_add(us, Ordering::Relaxed);
    }

    /// A Ruby thread begins on this kernel thread.
    pub(crate) fn set_thread(&self, seat: usize, tid: i32) {
        if let Some(lane) = self.lane(seat) {
            lane[TID].store(u64::from(tid.unsigned_abs()), Ordering::Relaxed);
        }
    }

    /// The kernel threads that run Ruby threads.
    pub(crate) fn threads(&self) -> Vec<i32> {
        let tids = (0..LANES_MAX).filter_map(|seat| self.lane(seat));
        tids.filter_map(|lane| i32::try_from(lane[TID].load(Ordering::Relaxed)).ok())
            .filter(|tid| *tid > 0)
            .collect()
    }

    /// A Ruby thread has a request in hand.
    pub(crate) fn begin(&self, seat: usize, method: &str, path: &str) {
        let Some(lane) = self.lane(seat) else { return };
        let mut text = [0_u8; LINE_BYTES_MAX];
        let mut room = &mut text[..];
        for part in [method, " ", path] {
            let (now, later) = room.split_at_mut(part.len().min(room.len()));
            now.copy_from_slice(&part.as_bytes()[..now.len()]);
            room = later;
        }
        let (words, _) = text.as_chunks::<8>();
        for (word, bytes) in lane[LINE..].iter().zip(words) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        lane[BEGAN].store(monotonic::now_ms().max(1), Ordering::Release);
    }

    /// It has none any more.
    pub(crate) fn end(&self, seat: usize) {
        if let Some(lane) = self.lane(seat) {
            lane[BEGAN].store(0, Ordering::Release);
        }
    }

    /// What the I/O thread told last.
    pub(crate) fn load(&self) -> Load {
        Load {
            connections: self.get(CONNECTIONS),
            requests: self.get(REQUESTS),
            threads: self.get(THREADS),
            busy: self.get(BUSY),
            queue: self.get(QUEUE),
        }
    }

    /// When the I/O thread ran last, in milliseconds of the shared clock; 0 for never.
    pub(crate) fn io_beat_ms(&self) -> u64 {
        self.get(IO_BEAT)
    }

    /// When Ruby ran last, in milliseconds of the shared clock; 0 for never.
    pub(crate) fn ruby_beat_ms(&self) -> u64 {
        self.get(RUBY_BEAT)
    }

    /// How long its requests have waited for the GVL, together.
    pub(crate) fn gvl_wait(&self) -> Duration {
        Duration::from_micros(self.get(GVL_WAIT_US))
    }

    /// The requests in hand, the oldest first.
    pub(crate) fn in_hand(&self) -> Vec<InHand> {
        let mut all: Vec<InHand> =
            (0..LANES_MAX).filter_map(|seat| self.request_of(seat)).collect();
        all.sort_by_key(|request| request.began_ms);
        all
    }

    /// Since when the oldest request is in hand, in milliseconds of the shared clock.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        let began = (0..LANES_MAX)
            .filter_map(|seat| self.lane(seat))
            .map(|lane| lane[BEGAN].load(Ordering::Acquire));
        began.filter(|ms| *ms != 0).min()
    }

    fn request_of(&self, seat: usize) -> Option<InHand> {
        let lane = self.lane(seat)?;
        let began_ms = lane[BEGAN].load(Ordering::Acquire);
        if began_ms == 0 {
            return None;
        }
        let mut bytes = Vec::with_capacity(LINE_BYTES_MAX);
        for word in &lane[LINE..] {
            bytes.extend(word.load(Ordering::Relaxed).to_ne_bytes());
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        // What a client sent must not forge lines or colours in a log.
        let text = String::from_utf8_lossy(&bytes[..end]);
        Some(InHand { line: text.replace(|c: char| c.is_control(), "?"), began_ms })
    }

    fn words(&self) -> &[AtomicU64] {
        &self.board.words()[self.number * ROW_WORDS..][..ROW_WORDS]
    }

    fn lane(&self, seat: usize) -> Option<&[AtomicU64]> {
        (seat < LANES_MAX).then(|| &self.words()[LANES + seat * LANE_WORDS..][..LANE_WORDS])
    }

    fn get(&self, word: usize) -> u64 {
        self.words()[word].load(Ordering::Relaxed)
    }

    fn set(&self, word: usize, value: u64) {
        self.words()[word].store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (Row, Row) {
        let board = Arc::new(SharedWords::create(c"scoreboard", WORDS).unwrap());
        (Row::new(&board, 0).unwrap(), Row::new(&board, ROWS_MAX - 1).unwrap())
    }

    #[test]
    fn requests_in_hand_are_told_the_oldest_first_and_cut() {
        let (row, last) = rows();
        assert_eq!(row.in_hand(), []);
        row.begin(3, "GET", "/first");
        row.begin(0, "POST", &"/x".repeat(100));
        row.begin(LANES_MAX, "GET", "/not-noted");
        let lines: Vec<String> = row.in_hand().into_iter().map(|request| request.line).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.contains(&"GET /first".to_owned()), "{lines:?}");
        assert!(lines.iter().any(|line| line.len() == LINE_BYTES_MAX), "{lines:?}");
        row.end(3);
        row.end(0);
        assert_eq!((row.in_hand(), row.oldest_ms()), (vec![], None));
        assert_eq!(last.in_hand(), [], "rows do not touch");
    }

    #[test]
    fn a_row_is_as_new_after_a_reset() {
        let (_, row) = rows();
        let load = Load { connections: 1, requests: 2, threads: 3, busy: 4, queue: 5 };
        row.beat_io(load);
        row.beat_ruby();
        row.set_thread(1, 42);
        row.begin(1, "GET", "/");
        assert_eq!((row.load(), row.threads()), (load, vec![42]));
        assert!(row.io_beat_ms() > 0 && row.ruby_beat_ms() > 0);
        row.reset();
        assert_eq!((row.load(), row.threads(), row.in_hand()), (Load::default(), vec![], vec![]));
        assert_eq!((row.io_beat_ms(), row.ruby_beat_ms()), (0, 0));
    }

    #[test]
    fn what_a_client_sent_cannot_forge_a_log_line() {
        let (row, _) = rows();
        row.begin(0, "GET", "/a\x1b[31m\nb");
        assert_eq!(row.in_hand()[0].line, "GET /a?[31m?b");
    }

    #[test]
    fn there_is_no_row_beyond_the_last() {
        let board = Arc::new(SharedWords::create(c"scoreboard", WORDS).unwrap());
        assert!(Row::new(&board, ROWS_MAX).is_none());
    }
}
