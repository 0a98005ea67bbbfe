//! Whom a pool tells what its threads do, at the cost of a few stores in memory.

use std::time::Duration;

use crate::exchange::Request;

/// Somebody outside who sees what the Ruby side does, as through memory shared with the master.
///
/// Every method is called with the GVL held and between two steps of a request, so it must do as
/// little as a few stores: no lock that others hold for long, no system call, no Ruby.
///
/// Seats count from 0 and are taken again when their hand has ended. Between `hand_began` and
/// `hand_ended` of a seat there is one hand on it, and between `request_began` and `request_ended`
/// one request. In a process that the application forks nothing is told: what is watched is the
/// worker, not its copy.
pub trait Watch: Send + Sync + 'static {
    /// The main Ruby thread ran: it could take the GVL. About once in [`BEAT`](super::BEAT) or
    /// sooner, as long as the GVL can be had and no signal trap keeps that thread.
    fn ruby_ran(&self);

    /// The hand on `seat` runs on the kernel thread `tid`. Called on that thread.
    fn hand_began(&self, seat: usize, tid: i32);

    /// The hand on `seat` is about to end, whatever ended it. Called on its thread.
    fn hand_ended(&self, seat: usize);

    /// The hand on `seat` has taken `request` and is about to serve it. `gvl_wait` is how long it
    /// waited for the GVL once it had the request; zero when it took it without giving up the GVL.
    fn request_began(&self, seat: usize, request: &Request, gvl_wait: Duration);

    /// The hand on `seat` is free again. A connection that the application has hijacked may live
    /// on, in threads of the application.
    fn request_ended(&self, seat: usize);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatch;

impl Watch for NoWatch {
    fn ruby_ran(&self) {}

    fn hand_began(&self, _seat: usize, _tid: i32) {}

    fn hand_ended(&self, _seat: usize) {}

    fn request_began(&self, _seat: usize, _request: &Request, _gvl_wait: Duration) {}

    fn request_ended(&self, _seat: usize) {}
}
