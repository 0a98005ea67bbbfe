//! `rack.early_hints`: an object whose `call` sends a 103 before the response (RFC 8297).

use std::sync::Arc;

use magnus::{Error, RModule, Ruby, Value, method, prelude::*};

use super::{client::Client, headers};
use crate::exchange::Gone;

/// The class of `rack.early_hints`.
#[magnus::wrap(class = "Rackrs::EarlyHints", free_immediately, size)]
#[derive(Debug)]
pub(super) struct EarlyHints {
    client: Arc<Client>,
}

impl EarlyHints {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::clone(client) }
    }

    fn call(ruby: &Ruby, this: &Self, hints: Value) -> Result<(), Error> {
        let hints = headers::read_hints(ruby, hints)?;
        if !hints.is_empty() {
            // A hint that comes too late, or for a client that left, is worth nothing to anybody.
            let _: Result<(), Gone> = this.client.early_hints(hints);
        }
        Ok(())
    }
}

/// Defines `Rackrs::EarlyHints` in `module`.
pub(super) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("EarlyHints", ruby.class_object())?;
    class.undef_default_alloc_func();
    class.define_method("call", method!(EarlyHints::call, 1))
}
