//! The roll of open connections: tells each of a drain, and knows when the last has gone.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// How draining ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection was finished.
    Fully,
    /// The limit passed with this many connections still open; they were cut.
    Cut {
        /// Connections that were open.
        connections: usize,
    },
}

/// Who is here. Single-threaded: it belongs to the I/O thread.
#[derive(Debug, Default)]
pub(super) struct Roll {
    draining: Cell<bool>,
    open: Cell<usize>,
    /// One place per connection, with its task's waker once the task has run.
    places: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    /// Wakes whoever waits in [`Roll::poll_empty`].
    last_out: RefCell<Option<Waker>>,
}

impl Roll {
    /// Enters one connection; its seat is given back when it is dropped.
    pub(super) fn enter(self: &Rc<Self>) -> Seat {
        self.open.set(self.open.get() + 1);
        let mut places = self.places.borrow_mut();
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            places.push(None);
            places.len() - 1
        });
        Seat { roll: Rc::clone(self), place }
    }

    /// Asks every connection to end, and wakes it.
    pub(super) fn ask(&self) {
        self.draining.set(true);
        for waker in self.places.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Ready when no connection is open.
    pub(super) fn poll_empty(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.open.get() == 0 {
            return Poll::Ready(());
        }
        *self.last_out.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// One connection's place on the roll.
#[derive(Debug)]
pub(super) struct Seat {
    roll: Rc<Roll>,
    place: usize,
}

impl Seat {
    /// Has the current task woken when a drain is asked.
    pub(super) fn watch(&self, context: &Context<'_>) {
        let mut places = self.roll.places.borrow_mut();
        match &mut places[self.place] {
            Some(waker) if waker.will_wake(context.waker()) => {}
            slot => *slot = Some(context.waker().clone()),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roll.places.borrow_mut()[self.place] = None;
        self.roll.free.borrow_mut().push(self.place);
        let open = self.roll.open.get() - 1;
        self.roll.open.set(open);
        if open == 0
            && let Some(waker) = self.roll.last_out.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_empty_when_the_last_seat_is_given_back() {
        let roll = Rc::new(Roll::default());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(roll.poll_empty(&mut context), Poll::Ready(()));
        let first = roll.enter();
        let second = roll.enter();
        first.watch(&context);
        roll.ask();
        assert!(roll.is_draining());
        drop(first);
        assert_eq!(roll.poll_empty(&mut context), Poll::Pending);
        drop(second);
        assert_eq!(roll.poll_empty(&mut context), Poll::Ready(()));
    }

    #[test]
    fn a_place_is_used_again() {
        let roll = Rc::new(Roll::default());
        let first = roll.enter();
        let place = first.place;
        drop(first);
        assert_eq!(roll.enter().place, place);
        assert_eq!(roll.places.borrow().len(), 1);
    }
}
