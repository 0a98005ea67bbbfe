//! A Ruby exception as a plain value, which outlives the GVL and can be logged.

use std::fmt;

use magnus::{
    Error, RArray, RString, Ruby, Value,
    error::{ErrorType, Tag},
    kwargs,
    prelude::*,
    rb_sys::{AsRawValue, FromRawValue, protect},
};

/// Most bytes kept of one text of an exception; some messages inspect whole object graphs.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;

/// Most lines kept of a backtrace; that of a `SystemStackError` has about ten thousand.
pub const BACKTRACE_LINES_MAX: usize = 1000;

/// What ended a call into Ruby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The name of its class, as `ArgumentError`.
    pub class: String,
    /// Its message.
    pub message: String,
    /// Where it was raised, innermost first; empty when it was never raised.
    pub backtrace: Vec<String>,
    /// The text that Ruby would print for it, without colours.
    pub full_message: String,
    /// What it means for its thread.
    pub kind: Kind,
}

/// What an exception, or another jump, means for the thread that it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An error.
    Raise,
    /// `exit` or `abort`, with the status asked for.
    Exit(i32),
    /// A signal that nobody traps, by number.
    Signal(i32),
    /// `throw`, or a `break` or `return` out of a block whose method is gone.
    Throw,
    /// `Thread#kill` or `Thread.exit`. The thread must end; Ruby lets it do nothing else.
    Kill,
}

impl Exception {
    /// Copies what there is to know. Its own methods may raise, or return what is no string; then
    /// that part is replaced by a note.
    ///
    /// A jump ends with this: it must not be resumed by `rb_jump_tag` any more.
    #[must_use]
    pub fn read(ruby: &Ruby, error: &Error) -> Self {
        match error.error_type() {
            ErrorType::Jump(tag) => {
                end_jump(ruby, error);
                Self::of_jump(*tag)
            }
            ErrorType::Error(class, message) => {
                match class.new_instance((ruby.str_new(message),)) {
                    Ok(exception) => Self::of_value(ruby, exception.as_value()),
                    Err(_) => Self::bare(class.to_string(), cut(message.as_bytes())),
                }
            }
            ErrorType::Exception(exception) => Self::of_value(ruby, exception.as_value()),
        }
    }

    /// One that Ruby never saw, as of a panic in our own code.
    pub(crate) fn bare(class: String, message: String) -> Self {
        let full_message = format!("{message} ({class})");
        Self { class, message, backtrace: Vec::new(), full_message, kind: Kind::Raise }
    }

    fn of_jump(tag: Tag) -> Self {
        let (kind, message) = match tag {
            Tag::Fatal => (Kind::Kill, "the thread was killed"),
            Tag::Throw => (Kind::Throw, "thrown to a catch that is not there"),
            Tag::Return | Tag::Break | Tag::Next | Tag::Retry | Tag::Redo | Tag::Raise => {
                (Kind::Throw, "left a block whose method has returned")
            }
        };
        Self { kind, ..Self::bare(tag.to_string(), message.to_owned()) }
    }

    fn of_value(ruby: &Ruby, exception: Value) -> Self {
        let class = class_name(exception);
        let message = text_of(ruby, exception, "message")
            .unwrap_or_else(|| format!("(the message of this {class} cannot be read)"));
        let backtrace = backtrace_of(ruby, exception);
        let full_message = full_message_of(ruby, exception)
            .unwrap_or_else(|| compose(&class, &message, &backtrace));
        let kind = kind_of(ruby, exception);
        Self { class, message, backtrace, full_message, kind }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.class)
    }
}

impl std::error::Error for Exception {}

/// Takes the mark that a caught jump leaves in the place of `$!` away. Magnus puts what is there back
/// when it has caught the next exception, and Ruby refuses such a mark by raising: outside of any
/// protection, over our frames.
fn end_jump(_ruby: &Ruby, caught: &Error) {
    if matches!(caught.error_type(), ErrorType::Jump(_)) {
        // SAFETY: `nil` is what Ruby always takes; the GVL is held (`_ruby`).
        unsafe { rb_sys::rb_set_errinfo(rb_sys::Qnil as rb_sys::VALUE) };
    }
}

/// By Ruby's own function, because a class may override its `name`.
fn class_name(exception: Value) -> String {
    let name = protect(|| {
        // SAFETY: `exception` is alive, as the caller holds it; this reads its header.
        let class = unsafe { rb_sys::rb_obj_class(exception.as_raw()) };
        // SAFETY: `class` is a class; what it may raise, `protect` catches.
        unsafe { rb_sys::rb_class_name(class) }
    });
    // SAFETY: the value was made by Ruby a moment ago and is used on this frame only.
    let name = name.map(|raw| unsafe { Value::from_raw(raw) });
    name.ok().and_then(text).unwrap_or_else(|| "Exception".to_owned())
}

/// What an exception's own method returned, if it returned; what it raised is of no interest.
fn returned<T>(ruby: &Ruby, called: Result<T, Error>) -> Option<T> {
    called.inspect_err(|error| end_jump(ruby, error)).ok()
}

fn text_of(ruby: &Ruby, exception: Value, method: &str) -> Option<String> {
    returned(ruby, exception.funcall::<_, _, Value>(method, ())).and_then(text)
}

fn full_message_of(ruby: &Ruby, exception: Value) -> Option<String> {
    let plain = kwargs!(ruby, "highlight" => false);
    returned(ruby, exception.funcall::<_, _, Value>("full_message", (plain,))).and_then(text)
}

fn backtrace_of(ruby: &Ruby, exception: Value) -> Vec<String> {
    let lines = returned(ruby, exception.funcall::<_, _, Value>("backtrace", ()));
    lines.and_then(RArray::from_value).map_or_else(Vec::new, |lines| {
        let count = lines.len().min(BACKTRACE_LINES_MAX);
        (0..count)
            .filter_map(|index| lines.entry::<Value>(isize::try_from(index).ok()?).ok())
            .filter_map(text)
            .collect()
    })
}

fn kind_of(ruby: &Ruby, exception: Value) -> Kind {
    let number = |method: &str| returned(ruby, exception.funcall::<_, _, i32>(method, ()));
    if exception.is_kind_of(ruby.exception_system_exit()) {
        return Kind::Exit(number("status").unwrap_or(1));
    }
    if exception.is_kind_of(ruby.exception_signal()) {
        return number("signo").map_or(Kind::Raise, Kind::Signal);
    }
    Kind::Raise
}

/// As Ruby prints an exception, from the parts that could be read.
fn compose(class: &str, message: &str, backtrace: &[String]) -> String {
    let mut lines = backtrace.iter();
    let place = lines.next().map(|line| format!("{line}: ")).unwrap_or_default();
    let mut text = format!("{place}{message} ({class})\n");
    for line in lines {
        text.push_str("\tfrom ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The text of a Ruby string; none of anything else.
pub(crate) fn text(value: Value) -> Option<String> {
    let string = RString::from_value(value)?;
    // SAFETY: the bytes are copied before Ruby runs again.
    Some(cut(unsafe { string.as_slice() }))
}

fn cut(bytes: &[u8]) -> String {
    match bytes.get(..TEXT_BYTES_MAX) {
        Some(start) => String::from_utf8_lossy(start).into_owned() + " [cut]",
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}
