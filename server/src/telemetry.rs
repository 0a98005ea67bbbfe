//! What the server tells people and tools: life-cycle lines, diagnostics, the access log, error
//! chains.

pub mod access;
pub mod diagnostics;
pub mod events;

/// Prints an error and each of its causes on one line, outermost first.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
