//! Which clients a load is made of.

use std::{fmt, time::Duration};

use super::{
    address::Address,
    answer::{Coding, Question},
};

/// Between two requests of a fast client with a kept connection.
const KEPT_PAUSE: Duration = Duration::from_millis(2);
/// Between two requests of a fast client with a connection for each; over TCP each leaves a port
/// in `TIME_WAIT` behind.
const FRESH_PAUSE: Duration = Duration::from_millis(5);
/// Between two requests of the others.
const LONG_PAUSE: Duration = Duration::from_millis(10);
/// The shortest silence of a client that thinks, and the span of what is added to it.
const THOUGHT_MILLISECONDS: (u64, u64) = (200, 500);

/// What becomes of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connections {
    /// One for all its requests, as long as the server keeps it.
    Kept,
    /// One for each request.
    Fresh,
}

/// How long a client waits between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Always the same.
    Steady(Duration),
    /// Long enough that its connection is idle, and never twice the same.
    Thinking,
}

impl Pace {
    /// The pause before a client's request of this number.
    pub(super) fn pause(self, number: u64) -> Duration {
        let (least, span) = THOUGHT_MILLISECONDS;
        match self {
            Self::Steady(time) => time,
            // A prime step spreads the pauses over the span without a source of chance.
            Self::Thinking => Duration::from_millis(least + number * 197 % span),
        }
    }
}

/// One client.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// Where it connects to.
    pub(super) address: Address,
    /// What it asks for.
    pub(super) question: Question,
    /// What becomes of its connection.
    pub(super) connections: Connections,
    /// How often it asks.
    pub(super) pace: Pace,
}

impl Profile {
    /// Whether its answers are those whose times and gaps are counted.
    pub(super) fn is_fast(&self) -> bool {
        self.question == Question::Get && matches!(self.pace, Pace::Steady(_))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = match (self.connections, self.pace) {
            (Connections::Kept, Pace::Thinking) => "kept idle",
            (Connections::Kept, Pace::Steady(_)) => "kept",
            (Connections::Fresh, _) => "new",
        };
        write!(to, "{}, {connections}, {}", self.question.name(), self.address.transport())
    }
}

/// The clients for a server at `addresses`: four for each address, and five more.
pub(super) fn mix(addresses: &[Address]) -> Vec<Profile> {
    use Connections::{Fresh, Kept};
    let (kept, fresh, long) =
        (Pace::Steady(KEPT_PAUSE), Pace::Steady(FRESH_PAUSE), Pace::Steady(LONG_PAUSE));
    let everywhere = [
        (Question::Get, Kept, kept),
        (Question::Get, Fresh, fresh),
        (Question::Get, Kept, Pace::Thinking),
        (Question::Stream, Kept, long),
    ];
    let somewhere = [
        (Question::Upload(Coding::Length), Kept, long),
        (Question::Upload(Coding::Chunked), Fresh, long),
        (Question::Slow, Kept, long),
        (Question::Slow, Fresh, long),
        (Question::Stream, Fresh, long),
    ];
    let first = addresses.iter().flat_map(|address| everywhere.map(|client| (address, client)));
    let then = addresses.iter().cycle().zip(somewhere);
    let clients = first.chain(then).map(|(address, (question, connections, pace))| Profile {
        address: address.clone(),
        question,
        connections,
        pace,
    });
    clients.collect()
}

/// How many of the clients hold a process that serves one connection at a time for long.
pub(super) const LONG_CLIENTS_MAX: u16 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_than_eight_clients_and_each_has_a_name() {
        let unix = Address::Unix("web.sock".into());
        let tcp = Address::Tcp(([127, 0, 0, 1], 80).into());
        assert!(mix(std::slice::from_ref(&unix)).len() > 8);
        let both = mix(&[unix, tcp]);
        let mut names: Vec<_> = both.iter().map(ToString::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), both.len());
        let long = both.iter().filter(|client| client.question != Question::Get).count();
        assert_eq!(long, usize::from(LONG_CLIENTS_MAX));
    }
}
