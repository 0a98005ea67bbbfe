//! `rack.hijack`: an object whose `call` gives the application the client's socket (full hijack).

use std::sync::{Arc, OnceLock};

use magnus::{
    DataTypeFunctions, Error, RHash, RModule, Ruby, TypedData, Value, gc::Marker, method,
    prelude::*, typed_data::Obj, value::Opaque,
};

use super::{client::Client, socket};

/// The class of `rack.hijack`.
#[derive(TypedData)]
#[magnus(class = "Rackrs::Hijack", free_immediately, mark, size)]
pub(super) struct Hijack {
    client: Arc<Client>,
    /// Where `rack.hijack_io` goes (Rack SPEC 2.2). Set once, when env is built.
    env: OnceLock<Opaque<RHash>>,
    /// The socket, for a second call.
    io: OnceLock<Opaque<Value>>,
}

impl DataTypeFunctions for Hijack {
    fn mark(&self, marker: &Marker) {
        if let Some(env) = self.env.get() {
            marker.mark(*env);
        }
        if let Some(io) = self.io.get() {
            marker.mark(*io);
        }
    }
}

impl Hijack {
    pub(super) fn new(client: &Arc<Client>) -> Self {
        Self { client: Arc::clone(client), env: OnceLock::new(), io: OnceLock::new() }
    }

    /// Tells the object which env it is in.
    pub(super) fn set_env(&self, env: RHash) {
        self.env.get_or_init(|| env.into());
    }

    fn call(ruby: &Ruby, this: &Self) -> Result<Value, Error> {
        if let Some(io) = this.io.get() {
            return Ok(ruby.get_inner(*io));
        }
        let handed = this.client.hijack(ruby).map_err(|error| error.into_exception(ruby))?;
        let io = socket::io(ruby, handed)?;
        this.io.get_or_init(|| io.into());
        if let Some(env) = this.env.get() {
            ruby.get_inner(*env).aset("rack.hijack_io", io)?;
        }
        Ok(io)
    }

    fn to_proc(ruby: &Ruby, this: Obj<Self>) -> Result<Value, Error> {
        let method: Value = this.funcall("method", (ruby.to_symbol("call"),))?;
        method.funcall("to_proc", ())
    }
}

/// Defines `Rackrs::Hijack` in `module`.
pub(super) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Hijack", ruby.class_object())?;
    class.undef_default_alloc_func();
    class.define_method("call", method!(Hijack::call, 0))?;
    class.define_method("to_proc", method!(Hijack::to_proc, 0))
}
