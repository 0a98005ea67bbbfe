//! The table of all flags, one file for each part of it.

mod about;
mod application;
mod limits;
mod listening;
mod log;
mod puma;
mod running;
mod upkeep;

use super::flag::Flag;

/// Every flag, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Flag> {
    const PARTS: [&[Flag]; 9] = [
        listening::FLAGS,
        application::FLAGS,
        running::FLAGS,
        log::FLAGS,
        upkeep::FLAGS,
        limits::FLAGS,
        puma::ACCEPTED,
        puma::NOT_YET,
        about::FLAGS,
    ];
    PARTS.into_iter().flatten()
}

#[cfg(test)]
mod tests;
