//! Rack: env from a request, the application's answer back to the client.
//!
//! [`serve()`] is the whole of one request on a Ruby thread. [`Context`] holds what a worker makes
//! once. The rules are those of the Rack SPEC (2.2 and 3.x) and, where it is silent, Puma's.

mod app_chunks;
mod body;
mod client;
mod context;
mod early_hints;
mod entry;
mod env;
mod failure;
mod finished;
mod forwarded;
mod gone;
mod header_keys;
mod headers;
mod hijack;
mod input;
mod raw;
mod response;
mod serve;
mod sink;
mod socket;
mod stream;
mod transmission;

use magnus::{Error, RModule, Ruby, TypedData};

pub use context::{Context, Settings};
pub use serve::serve;

/// Defines the module `Rackrs` and the classes of the objects in env. Doing it again does nothing.
fn define(ruby: &Ruby) -> Result<(), Error> {
    let module: RModule = ruby.define_module("Rackrs")?;
    socket::define(ruby)?;
    gone::define(ruby, module)?;
    input::define(ruby, module)?;
    hijack::define(ruby, module)?;
    sink::define(ruby, module)?;
    early_hints::define(ruby, module)?;
    stream::define(ruby, module)?;
    look_up_classes(ruby);
    Ok(())
}

/// Has magnus look up the classes of our objects now, on one thread.
///
/// It does so when the first object is made, under a lock that knows nothing of the GVL: a thread
/// that is made to yield the GVL in the middle of it waits for the GVL, and the thread that has the
/// GVL waits for the lock, for ever.
fn look_up_classes(ruby: &Ruby) {
    input::Input::class(ruby);
    hijack::Hijack::class(ruby);
    stream::Stream::class(ruby);
}
