//! The application's hooks, as the server runs them: what one raises is logged and costs no more.

use rackrs_ruby::{
    Ruby,
    exception::Exception,
    hooks::{self, Argument, Hook},
};

use crate::telemetry::events;

/// Gives the application the module `Rackrs`; the reason when Ruby refuses.
pub(crate) fn define(ruby: &Ruby) -> Result<(), String> {
    hooks::define(ruby, env!("CARGO_PKG_VERSION"))
        .map_err(|error| format!("cannot define the module Rackrs: {error}"))
}

/// Runs the blocks of `hook`; Puma logs and goes on in the same way.
pub(crate) fn run(ruby: &Ruby, hook: Hook, arguments: &[Argument]) {
    for exception in hooks::run(ruby, hook, arguments) {
        complain(hook, &exception);
    }
}

/// Logs what a block of `hook` raised.
pub(crate) fn complain(hook: Hook, exception: &Exception) {
    events::complain(&format!(
        "the hook {} failed: {}",
        hook.name(),
        exception.full_message.trim_end()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference has a row for every hook, with its arguments.
    #[test]
    fn the_reference_names_every_hook() {
        let reference = include_str!("../../docs/reference/hooks.md");
        for hook in Hook::ALL {
            let arguments = hook.arguments().join(", ");
            let call = match arguments.as_str() {
                "" => hook.name().to_owned(),
                arguments => format!("{}({arguments})", hook.name()),
            };
            assert!(reference.contains(&format!("| `{call}` |")), "{call}");
        }
    }
}
