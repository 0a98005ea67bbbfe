//! The roll of open connections: tells each of a drain, and knows when the last has gone.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Serialize};

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

/// How a drain treats connections that are idle. The later in order is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Manner {
    /// An idle connection may bring one more request within `limits.drain_idle_timeout`: a
    /// restart, whose clients come over to the next generation without noticing.
    Gently,
    /// An idle connection is closed at once: a stop.
    Promptly,
}

/// Who is here. Single-threaded: it belongs to the I/O thread.
#[derive(Debug, Default)]
pub(super) struct Roll {
    drain: Cell<Option<Manner>>,
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

    /// Asks every connection to end, and wakes it. A weaker order after a stronger changes nothing.
    pub(super) fn ask(&self, manner: Manner) {
        self.drain.set(self.drain.get().max(Some(manner)));
        for waker in self.places.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// How the connections have been asked to end, if they have.
    pub(super) fn drain(&self) -> Option<Manner> {
        self.drain.get()
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
        roll.ask(Manner::Gently);
        assert_eq!(roll.drain(), Some(Manner::Gently));
        drop(first);
        assert_eq!(roll.poll_empty(&mut context), Poll::Pending);
        drop(second);
        assert_eq!(roll.poll_empty(&mut context), Poll::Ready(()));
    }

    #[test]
    fn an_order_is_never_weakened() {
        let roll = Roll::default();
        assert_eq!(roll.drain(), None);
        for (order, expected) in [
            (Manner::Gently, Manner::Gently),
            (Manner::Promptly, Manner::Promptly),
            (Manner::Gently, Manner::Promptly),
        ] {
            roll.ask(order);
            assert_eq!(roll.drain(), Some(expected));
        }
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
