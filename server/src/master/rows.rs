//! Which row of the scoreboard is whose.

use std::{collections::BTreeSet, sync::Arc};

use rackrs_sys::shared_words::{SharedError, SharedWords};

use crate::scoreboard::{ROWS_MAX, Row, WORDS};

/// The scoreboard and its free rows.
#[derive(Debug)]
pub(super) struct Rows {
    board: Arc<SharedWords>,
    taken: BTreeSet<usize>,
}

impl Rows {
    /// A new scoreboard, all of it free.
    pub(super) fn new() -> Result<Self, SharedError> {
        let board = SharedWords::create(c"rackrs scoreboard", WORDS)?;
        Ok(Self { board: Arc::new(board), taken: BTreeSet::new() })
    }

    /// One that an earlier program of this process has made.
    pub(super) fn inherited(board: SharedWords, taken: impl IntoIterator<Item = usize>) -> Self {
        Self { board: Arc::new(board), taken: taken.into_iter().collect() }
    }

    pub(super) fn board(&self) -> &SharedWords {
        &self.board
    }

    /// An empty row, the lowest that is free.
    pub(super) fn take(&mut self) -> Option<usize> {
        let number = (0..ROWS_MAX).find(|number| !self.taken.contains(number))?;
        self.get(number)?.reset();
        self.taken.insert(number);
        Some(number)
    }

    /// Its owner has ended.
    pub(super) fn give_back(&mut self, number: usize) {
        self.taken.remove(&number);
    }

    pub(super) fn get(&self, number: usize) -> Option<Row> {
        Row::new(&self.board, number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_row_is_taken_and_empty() {
        let mut rows = Rows::new().unwrap();
        assert_eq!((rows.take(), rows.take()), (Some(0), Some(1)));
        rows.get(0).unwrap().begin(0, "GET", "/");
        rows.give_back(0);
        assert_eq!(rows.take(), Some(0));
        assert_eq!(rows.get(0).unwrap().in_hand(), []);
    }
}
