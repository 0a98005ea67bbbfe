//! Storms: signals at random moments of a server's boot, restarts and stop.
//!
//! A [`Storm`] is made from a number alone, so that one that did harm can be had again. What must
//! hold in each, see [`Storm::blow`]; what must hold when many restarts are asked for at once, see
//! [`flood()`].

mod client;
mod dice;
mod flood;
mod plan;
mod run;

pub use flood::{Flood, flood};
pub use plan::Storm;
pub use run::Weathered;
