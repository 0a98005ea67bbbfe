//! The life of one connection, as a pure state machine.
//!
//! Nothing here reads a clock or a socket: [`Phase::on`] takes an [`Event`] and the time and gives
//! the next phase and what must be done. A phase that waits for the client holds its deadline.

use std::time::Duration;

use tokio::time::Instant;

use super::drain::Manner;
use crate::config::Limits;

/// After a drain was asked, a connection that was accepted but has sent nothing gets at least this
/// long to send its request: its client was told by the kernel that it is connected.
pub(super) const FRESH_GRACE: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; nothing has come.
    Fresh { until: Instant },
    /// A part of a request's head has come.
    Head { until: Instant },
    /// The head is complete, the body is not.
    Body { until: Instant },
    /// Body bytes are on their way to disk; the client is not read meanwhile.
    Spooling,
    /// The application has the request.
    Application,
    /// The response has begun, and it is not the client who is waited for.
    Responding,
    /// The kernel takes no more of the response, because the client takes none.
    Blocked { until: Instant },
    /// Kept alive between requests.
    Idle { until: Instant },
}

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Bytes came from the client.
    Received,
    /// The head of a request is complete.
    HeadComplete,
    /// A part of the body goes to disk.
    SpoolingStarted,
    /// It is on disk; more is wanted from the client.
    SpoolingEnded,
    /// The application has the whole request.
    Dispatched,
    /// The response's head was given to the connection.
    ResponseStarted,
    /// The kernel took no byte of the response.
    WriteBlocked,
    /// The kernel took bytes of the response.
    Written,
    /// The kernel has taken the whole response.
    ResponseFlushed,
    /// The worker wants to end, in this manner.
    DrainAsked(Manner),
    /// The deadline may have passed.
    Tick,
}

/// What must be done next. At most one per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Continue,
    /// Close; the client expects nothing.
    Close,
    /// Answer 408 and close: a request was begun and not finished.
    AnswerTimeout,
    /// Close in the middle of a response.
    Cut,
}

/// The time-outs of a connection, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// From accept to a complete head, from a head's first byte to its end, and between two
    /// arrivals of body bytes.
    pub(super) first_data: Duration,
    /// Between the end of a response and the first byte of the next request.
    pub(super) persistent: Duration,
    /// Without the client taking a byte of the response.
    pub(super) write: Duration,
    /// In a gentle drain, without a first byte of one more request.
    pub(super) drain_idle: Duration,
}

impl From<&Limits> for Timeouts {
    fn from(limits: &Limits) -> Self {
        Self {
            first_data: limits.first_data_timeout,
            persistent: limits.persistent_timeout,
            write: limits.write_timeout,
            // Half of a drain is left for the answers to the last requests; and a connection that
            // brings none is closed before the drain's limit would count it as cut.
            drain_idle: limits.drain_idle_timeout.min(limits.shutdown_timeout / 2),
        }
    }
}

impl Timeouts {
    /// As they are in a gentle drain, where a response that did not say `connection: close` may
    /// still end.
    pub(super) fn draining(self) -> Self {
        Self { persistent: self.persistent.min(self.drain_idle), ..self }
    }

    fn fresh_grace(&self, manner: Manner) -> Duration {
        match manner {
            Manner::Promptly => FRESH_GRACE,
            Manner::Gently => FRESH_GRACE.max(self.drain_idle),
        }
    }
}

impl Phase {
    /// The phase of a connection accepted at `now`.
    pub(super) fn accepted(now: Instant, timeouts: &Timeouts) -> Self {
        Self::Fresh { until: now + timeouts.first_data }
    }

    /// When the client's time is over; `None` while it is not the client who is waited for.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Fresh { until }
            | Self::Head { until }
            | Self::Body { until }
            | Self::Blocked { until }
            | Self::Idle { until } => Some(until),
            Self::Spooling | Self::Application | Self::Responding => None,
        }
    }

    /// Whether nothing of a request has come and nothing of a response is due.
    pub(super) fn is_idle(self) -> bool {
        matches!(self, Self::Idle { .. })
    }

    /// How long the connection has been idle at `now`.
    pub(super) fn idle_for(self, now: Instant, timeouts: &Timeouts) -> Option<Duration> {
        match self {
            Self::Idle { until } => Some(timeouts.persistent.saturating_sub(until - now)),
            Self::Fresh { .. }
            | Self::Head { .. }
            | Self::Body { .. }
            | Self::Spooling
            | Self::Application
            | Self::Responding
            | Self::Blocked { .. } => None,
        }
    }

    /// Whether the application, not the client, is waited for.
    pub(super) fn awaits_application(self) -> bool {
        matches!(self, Self::Application | Self::Responding)
    }

    /// Applies `event`. An event that means nothing in the present phase changes nothing.
    pub(super) fn on(self, event: Event, now: Instant, timeouts: &Timeouts) -> (Self, Action) {
        let first_data = now + timeouts.first_data;
        let next = match (self, event) {
            // The time of a first head runs from the accept: a client gains nothing by sending
            // one byte late.
            (Self::Fresh { until }, Event::Received) => Self::Head { until },
            (Self::Idle { .. }, Event::Received) => Self::Head { until: first_data },
            (Self::Body { .. }, Event::Received) => Self::Body { until: first_data },
            (_, Event::HeadComplete) => Self::Body { until: first_data },
            (Self::Body { .. }, Event::SpoolingStarted) => Self::Spooling,
            (Self::Spooling, Event::SpoolingEnded) => Self::Body { until: first_data },
            (Self::Body { .. } | Self::Spooling, Event::Dispatched) => Self::Application,
            (Self::Blocked { until }, Event::ResponseStarted) => Self::Blocked { until },
            (_, Event::ResponseStarted) => Self::Responding,
            (Self::Application | Self::Responding, Event::WriteBlocked) => {
                Self::Blocked { until: now + timeouts.write }
            }
            (Self::Blocked { .. }, Event::Written) => Self::Responding,
            (_, Event::ResponseFlushed) => Self::Idle { until: now + timeouts.persistent },
            (Self::Fresh { until }, Event::DrainAsked(manner)) => {
                Self::Fresh { until: until.min(now + timeouts.fresh_grace(manner)) }
            }
            (Self::Idle { until }, Event::DrainAsked(Manner::Gently)) => {
                Self::Idle { until: until.min(now + timeouts.drain_idle) }
            }
            (unchanged, _) => unchanged,
        };
        let action = match (self, event) {
            (Self::Idle { .. }, Event::DrainAsked(Manner::Promptly)) => Action::Close,
            (_, Event::Tick) => self.tick(now),
            (_, _) => Action::Continue,
        };
        (next, action)
    }

    fn tick(self, now: Instant) -> Action {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Action::Continue;
        }
        match self {
            Self::Fresh { .. } | Self::Idle { .. } => Action::Close,
            Self::Head { .. } | Self::Body { .. } => Action::AnswerTimeout,
            Self::Blocked { .. } => Action::Cut,
            Self::Spooling | Self::Application | Self::Responding => Action::Continue,
        }
    }
}

#[cfg(test)]
mod tests;
