//! The callbacks after a response: `rack.after_reply` (Puma) and `rack.response_finished` (Rack
//! SPEC 3.0).

use magnus::{
    Error, RArray, RHash, Ruby, Value,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
    value::LazyId,
};
use rb_sys::VALUE;

use super::{context::Context, failure::Failure, raw::NIL};

static CALL: LazyId = LazyId::new("call");

/// What the callbacks are told. Lives on the stack, where the collector sees its objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// The status as the application returned it; 500 when it returned none (as Puma).
    pub(super) status: Value,
    /// Its headers; empty when it returned none.
    pub(super) headers: Value,
    /// The exception that spoiled the response, or `nil`.
    pub(super) error: Value,
}

impl Report {
    pub(super) fn new(ruby: &Ruby) -> Self {
        Self {
            status: ruby.integer_from_i64(500).as_value(),
            headers: ruby.qnil().as_value(),
            error: ruby.qnil().as_value(),
        }
    }
}

/// Runs the callbacks, each whatever became of the others; gives what they raised to `on_failure`,
/// one by one: kept in a vector, the exceptions would be where the collector does not look.
pub(super) fn run(
    ruby: &Ruby,
    context: &Context,
    env: RHash,
    report: &Report,
    mut on_failure: impl FnMut(Failure),
) {
    let mut note = |called: Result<Value, Error>| {
        if let Err(error) = called {
            on_failure(error.into());
        }
    };
    if let Some(callbacks) = RArray::from_value(get(env, context.keys.after_reply)) {
        for callback in callbacks {
            note(callback.funcall(*CALL, ()));
        }
    }
    let finished = RArray::from_value(get(env, context.keys.response_finished));
    let Some(callbacks) = finished.filter(|callbacks| !callbacks.is_empty()) else {
        return;
    };
    let headers = if report.headers.is_nil() { ruby.hash_new().as_value() } else { report.headers };
    // The last registered is the first called (Rack SPEC 3.0).
    for index in (0..callbacks.len()).rev() {
        let index = isize::try_from(index).unwrap_or(isize::MAX);
        note(callbacks.entry::<Value>(index).and_then(|callback| {
            callback.funcall(*CALL, (env, report.status, headers, report.error))
        }));
    }
}

/// What `env` holds under `key` now; `nil` when it holds nothing.
fn get(env: RHash, key: VALUE) -> Value {
    let env = env.as_raw();
    let found = protect(|| {
        // SAFETY: both are live objects of their types, and a raise is caught.
        unsafe { rb_sys::rb_hash_lookup2(env, key, NIL) }
    });
    // SAFETY: what a hash holds is a live object, and it stays in the hash or on our stack.
    unsafe { Value::from_raw(found.unwrap_or(NIL)) }
}
