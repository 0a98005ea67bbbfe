//! The foreman: keeps the threads of a pool, on the main Ruby thread.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use magnus::{Error, RHash, Ruby, Thread, Value, rb_sys::AsRawValue, value::ReprValue};

use super::{
    BEAT, Pool, PoolEnd, SPAWN_RETRY, hand,
    plan::{Counts, Limits, Phase, Step},
    seat::Seat,
};
use crate::{
    backtraces::{self, last_resort},
    exception::{Exception, Kind},
    gvl::check_interrupts,
};

/// The threads of a pool by their seat; a free seat is taken before a new one.
struct Crew<'a> {
    pool: &'a Arc<Pool>,
    seats: Vec<Option<Arc<Seat>>>,
    /// Seat number to thread: a Ruby object, so that the collector sees the threads through it. It
    /// lives on the stack of [`run`].
    threads: RHash,
}

pub(super) fn run(ruby: &Ruby, pool: &Arc<Pool>) -> Result<PoolEnd, Error> {
    last_resort::enlist();
    let threads = ruby.hash_new();
    let mut crew = Crew { pool, seats: Vec::new(), threads };
    let limits =
        Limits { threads_min: pool.threads_min, threads_max: pool.threads_max, drain: pool.drain };
    let mut phase = Phase::Serving;
    loop {
        check_interrupts(ruby)?;
        if let Some(watch) = pool.watch() {
            watch.ruby_ran();
        }
        if pool.backtraces_asked.swap(false, Ordering::SeqCst) {
            pool.serve.backtraces(&crew.backtraces(ruby)?);
        }
        crew.free_seats()?;
        let (next, step) = phase.next(crew.counts(), limits, Instant::now());
        phase = next;
        match step {
            Step::Spawn => {
                if let Err(error) = crew.spawn(ruby) {
                    let exception = Exception::read(ruby, &error);
                    if exception.kind != Kind::Raise {
                        // Not the thread's: a signal, or `exit` in a trap, was delivered meanwhile.
                        return Err(error);
                    }
                    pool.serve.stray(ruby, &exception);
                    // The thread that failed has rung.
                    pool.bell.hush();
                    pool.bell.hear(ruby, SPAWN_RETRY)?;
                }
            }
            Step::AwaitShortage => {
                if !pool.queue.is_short_or_will_tell() {
                    pool.bell.hear(ruby, BEAT)?;
                }
            }
            Step::AwaitBell(patience) => pool.bell.hear(ruby, patience)?,
            Step::Kill => crew.kill()?,
            Step::End(end) => return Ok(end),
        }
    }
}

impl Crew<'_> {
    fn counts(&self) -> Counts {
        let status = self.pool.status.now();
        let load = self.pool.queue.load();
        Counts {
            spawned: status.spawned,
            starting: status.starting,
            queued: load.queued,
            waiting: load.waiting,
            closed: self.pool.queue.is_closed(),
        }
    }

    /// Forgets threads that have ended; ends the seats of those that never began.
    ///
    /// # Errors
    ///
    /// What Ruby delivered to this thread meanwhile; so also below.
    fn free_seats(&mut self) -> Result<(), Error> {
        for number in 0..self.seats.len() {
            let Some(seat) = &self.seats[number] else { continue };
            if !seat.has_ended()
                && let Some(thread) = self.thread(number)
                && !thread.funcall::<_, _, bool>("alive?", ())?
            {
                seat.end(self.pool);
            }
            if seat.has_ended() {
                self.seats[number] = None;
                // A hash of integers that nobody else has can be changed.
                self.threads.delete::<_, Value>(number)?;
            }
        }
        Ok(())
    }

    fn spawn(&mut self, ruby: &Ruby) -> Result<(), Error> {
        let seat = Arc::new(Seat::default());
        let number = self.seats.iter().position(Option::is_none).unwrap_or(self.seats.len());
        let thread = hand::spawn(ruby, self.pool, &seat, number)?;
        if number == self.seats.len() {
            self.seats.push(None);
        }
        self.seats[number] = Some(seat);
        self.threads.aset(number, thread)?;
        // Exceptions are reported by us; Ruby would print them once more.
        let _: Value = thread.funcall("report_on_exception=", (false,))?;
        let name = format!("rackrs srv {:03}", number + 1);
        let _: Value = thread.funcall("name=", (name,))?;
        Ok(())
    }

    fn kill(&self) -> Result<(), Error> {
        for number in 0..self.seats.len() {
            if let Some(thread) = self.thread(number) {
                // To a dead one it does nothing.
                thread.kill()?;
            }
        }
        Ok(())
    }

    fn backtraces(&self, ruby: &Ruby) -> Result<String, Error> {
        let seat_of = |thread: Value| {
            let is_it = |number: &usize| {
                self.thread(*number).is_some_and(|hand| hand.as_raw() == thread.as_raw())
            };
            (0..self.seats.len()).find(is_it)
        };
        backtraces::of_all_threads(ruby, seat_of)
    }

    fn thread(&self, number: usize) -> Option<Thread> {
        self.threads.get(number).and_then(Thread::from_value)
    }
}
