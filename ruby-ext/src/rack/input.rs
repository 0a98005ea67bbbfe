//! `rack.input`: the request body as a read-only binary `IO` of class `Rackrs::Input`.
//!
//! The methods behave as those of a `File` opened in binary mode do, down to their exceptions; Rack
//! itself asks for `read`, `gets`, `each`, `close` and, before 3.0, `rewind`.

mod arguments;
mod line;
mod position;
mod source;

use std::cell::RefCell;

use magnus::{
    DataTypeFunctions, Error, IntoValue, RClass, RModule, RString, Ruby, TypedData, Value,
    encoding::EncodingCapable,
    method,
    prelude::*,
    scan_args::{get_kwargs, scan_args},
    typed_data::Obj,
};

use self::{
    arguments::{end_of_file, enumerator, non_negative, writable},
    line::{LineFormat, LineReader},
    source::Source,
};
use super::{
    entry::{self, entry},
    raw,
};
use crate::exchange::Body;

/// The class of `rack.input`.
#[derive(Debug, TypedData)]
#[magnus(class = "Rackrs::Input", free_immediately, size)]
pub(super) struct Input {
    state: RefCell<State>,
    /// Memory of the body that the collector was told of.
    told_bytes: isize,
}

impl DataTypeFunctions for Input {
    fn free(self: Box<Self>) {
        if self.told_bytes > 0 {
            raw::adjust_memory_while_freeing(-self.told_bytes);
        }
    }
}

#[derive(Debug)]
struct State {
    source: Source,
    /// May lie beyond the end, as that of a file may.
    position: u64,
    /// A stream that goes on after the request reads it.
    is_kept: bool,
}

impl Input {
    /// An input for `body`. Lets the collector count its memory, as it would that of a String:
    /// else bodies that nobody reads pile up between its runs.
    pub(super) fn new(ruby: &Ruby, body: Body) -> Self {
        let source = Source::new(body);
        let told_bytes = isize::try_from(source.memory_bytes()).unwrap_or(isize::MAX);
        if told_bytes > 0 {
            ruby.gc_adjust_memory_usage(told_bytes);
        }
        let state = State { source, position: 0, is_kept: false };
        Self { state: RefCell::new(state), told_bytes }
    }

    /// Closes the temporary file, if there is one, when the request is over. What was read into
    /// memory stays readable, as the body of a small request under Puma does.
    pub(super) fn release_file(&self) {
        let mut state = self.state.borrow_mut();
        if state.source.is_file() && !state.is_kept {
            state.source = Source::Closed;
        }
    }

    /// Leaves the temporary file open beyond the end of the request, for a stream that goes on.
    pub(super) fn keep_file(&self) {
        self.state.borrow_mut().is_kept = true;
    }

    /// Closes what was kept for a stream, when that is closed.
    pub(super) fn end_keeping(&self) {
        if std::mem::take(&mut self.state.borrow_mut().is_kept) {
            self.release_file();
        }
    }

    /// The source and the position. The borrow ends here: what follows may run Ruby code.
    fn open(&self, ruby: &Ruby) -> Result<(Source, u64), Error> {
        let state = self.state.borrow();
        if matches!(state.source, Source::Closed) {
            return Err(Error::new(ruby.exception_io_error(), "closed stream"));
        }
        Ok((state.source.clone(), state.position))
    }

    fn move_to(&self, position: u64) {
        self.state.borrow_mut().position = position;
    }

    /// Reads up to `bytes_max` from the position, into `buffer` or a new string, and moves the
    /// position. The string is empty only at the end, or when nothing was asked for.
    fn advance(
        &self,
        ruby: &Ruby,
        bytes_max: u64,
        buffer: Option<RString>,
    ) -> Result<RString, Error> {
        let (source, position) = self.open(ruby)?;
        let end = position.saturating_add(bytes_max.min(source.len().saturating_sub(position)));
        let mut piece = source.read(ruby, position, end)?;
        let mut reached = position + piece.len() as u64;
        let string = match buffer {
            Some(buffer) => {
                raw::replace(ruby, buffer, &piece)?;
                buffer
            }
            None if reached == end => raw::binary(ruby, &piece)?,
            None => {
                let string = raw::roomy(ruby, usize::try_from(end - position).unwrap_or(0))?;
                raw::append(ruby, string, &piece)?;
                string
            }
        };
        while reached < end && !piece.is_empty() {
            piece = source.read(ruby, reached, end)?;
            raw::append(ruby, string, &piece)?;
            reached += piece.len() as u64;
        }
        self.move_to(reached);
        Ok(string)
    }

    fn next_byte(&self, ruby: &Ruby) -> Result<Option<u8>, Error> {
        let (source, position) = self.open(ruby)?;
        let end = source.len().min(position.saturating_add(1));
        let byte = source.read(ruby, position, end)?.first().copied();
        if byte.is_some() {
            self.move_to(position + 1);
        }
        Ok(byte)
    }

    fn read(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<Option<RString>, Error> {
        let args =
            scan_args::<(), (Option<Option<i64>>, Option<Option<Value>>), (), (), (), ()>(args)?;
        let (length, buffer) = args.optional;
        let Some(length) = length.flatten() else {
            let buffer = writable(ruby, buffer.flatten())?;
            let string = this.advance(ruby, u64::MAX, buffer)?;
            if buffer.is_some() {
                string.enc_associate(ruby.ascii8bit_encoding())?;
            }
            return Ok(Some(string));
        };
        this.read_some(ruby, length, buffer.flatten())
    }

    fn readpartial(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<RString, Error> {
        let args = scan_args::<(i64,), (Option<Option<Value>>,), (), (), (), ()>(args)?;
        this.read_some(ruby, args.required.0, args.optional.0.flatten())?
            .ok_or_else(|| end_of_file(ruby))
    }

    fn read_nonblock(
        ruby: &Ruby,
        this: Obj<Self>,
        args: &[Value],
    ) -> Result<Option<RString>, Error> {
        let args = scan_args::<(i64,), (Option<Option<Value>>,), (), (), _, ()>(args)?;
        let keywords =
            get_kwargs::<_, (), (Option<bool>,), ()>(args.keywords, &[], &["exception"])?;
        let read = this.read_some(ruby, args.required.0, args.optional.0.flatten())?;
        match keywords.optional.0 {
            Some(false) => Ok(read),
            Some(true) | None => read.map(Some).ok_or_else(|| end_of_file(ruby)),
        }
    }

    /// `None` at the end, for any length but 0.
    fn read_some(
        &self,
        ruby: &Ruby,
        length: i64,
        buffer: Option<Value>,
    ) -> Result<Option<RString>, Error> {
        let length = non_negative(ruby, length)?;
        let buffer = writable(ruby, buffer)?;
        let string = self.advance(ruby, length, buffer)?;
        Ok((length == 0 || !string.is_empty()).then_some(string))
    }

    fn next_line(&self, ruby: &Ruby, format: &LineFormat) -> Result<Option<RString>, Error> {
        let (source, position) = self.open(ruby)?;
        let line = LineReader::new(ruby, &source, position).line(format)?;
        self.move_to(line.next_position);
        line.bytes.map(|bytes| raw::binary(ruby, &bytes)).transpose()
    }

    fn gets(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<Option<RString>, Error> {
        let format = LineFormat::from_args(ruby, args)?;
        let line = this.next_line(ruby, &format)?;
        let last_line = line.map_or_else(|| ruby.qnil().as_value(), RString::as_value);
        raw::set_last_line(last_line)?;
        Ok(line)
    }

    fn readline(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<RString, Error> {
        Self::gets(ruby, this, args)?.ok_or_else(|| end_of_file(ruby))
    }

    fn readlines(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<magnus::RArray, Error> {
        let format = LineFormat::from_args(ruby, args)?;
        format.refuse_zero(ruby, "readlines")?;
        let lines = ruby.ary_new();
        while let Some(line) = this.next_line(ruby, &format)? {
            lines.push(line)?;
        }
        Ok(lines)
    }

    fn each(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<Value, Error> {
        if !ruby.block_given() {
            return enumerator(ruby, this, "each", args);
        }
        let format = LineFormat::from_args(ruby, args)?;
        format.refuse_zero(ruby, "each_line")?;
        while let Some(line) = this.next_line(ruby, &format)? {
            let _: Value = ruby.yield_value(line)?;
        }
        Ok(this.as_value())
    }

    fn each_byte(ruby: &Ruby, this: Obj<Self>) -> Result<Value, Error> {
        if !ruby.block_given() {
            return enumerator(ruby, this, "each_byte", &[]);
        }
        while let Some(byte) = Self::getbyte(ruby, &this)? {
            let _: Value = ruby.yield_value(byte)?;
        }
        Ok(this.as_value())
    }

    fn getbyte(ruby: &Ruby, this: &Self) -> Result<Option<u8>, Error> {
        this.next_byte(ruby)
    }

    fn readbyte(ruby: &Ruby, this: &Self) -> Result<u8, Error> {
        Self::getbyte(ruby, this)?.ok_or_else(|| end_of_file(ruby))
    }

    fn getc(ruby: &Ruby, this: &Self) -> Result<Option<RString>, Error> {
        let byte = this.next_byte(ruby)?;
        byte.map(|byte| raw::binary(ruby, &[byte])).transpose()
    }

    fn close(&self) {
        self.state.borrow_mut().source = Source::Closed;
    }

    fn is_closed(&self) -> bool {
        matches!(self.state.borrow().source, Source::Closed)
    }

    fn itself(this: Obj<Self>) -> Obj<Self> {
        this
    }

    #[allow(clippy::unnecessary_wraps, reason = "an entry's function may fail")]
    fn set_encoding(_: &Ruby, this: Obj<Self>, _args: &[Value]) -> Result<Obj<Self>, Error> {
        Ok(this)
    }

    fn yes(_this: Obj<Self>) -> bool {
        true
    }

    fn no(_this: Obj<Self>) -> bool {
        false
    }

    fn nothing(_this: Obj<Self>) {}

    fn external_encoding(ruby: &Ruby, _this: &Self) -> Value {
        ruby.ascii8bit_encoding().into_value_with(ruby)
    }

    fn set_sync(_this: Obj<Self>, sync: Value) -> Value {
        sync
    }
}

/// Defines `Rackrs::Input` in `module`.
pub(super) fn define(ruby: &Ruby, module: RModule) -> Result<(), Error> {
    let class = module.define_class("Input", ruby.class_object())?;
    class.undef_default_alloc_func();
    define_reading(class)?;
    position::define(class)?;
    class.define_method("close", method!(Input::close, 0))?;
    class.define_method("closed?", method!(Input::is_closed, 0))?;
    class.define_method("binmode", method!(Input::itself, 0))?;
    class.define_method("binmode?", method!(Input::yes, 0))?;
    class.define_method("sync", method!(Input::yes, 0))?;
    class.define_method("sync=", method!(Input::set_sync, 1))?;
    class.define_method("external_encoding", method!(Input::external_encoding, 0))?;
    class.define_method("internal_encoding", method!(Input::nothing, 0))?;
    entry::define(class, c"set_encoding", entry!(Input::set_encoding))?;
    class.define_method("isatty", method!(Input::no, 0))?;
    class.define_method("tty?", method!(Input::no, 0))?;
    Ok(())
}

fn define_reading(class: RClass) -> Result<(), Error> {
    entry::define(class, c"read", entry!(Input::read))?;
    entry::define(class, c"readpartial", entry!(Input::readpartial))?;
    entry::define(class, c"sysread", entry!(Input::readpartial))?;
    entry::define(class, c"read_nonblock", entry!(Input::read_nonblock))?;
    entry::define(class, c"gets", entry!(Input::gets))?;
    entry::define(class, c"readline", entry!(Input::readline))?;
    entry::define(class, c"readlines", entry!(Input::readlines))?;
    entry::define(class, c"each", entry!(Input::each))?;
    entry::define(class, c"each_line", entry!(Input::each))?;
    class.define_method("each_byte", method!(Input::each_byte, 0))?;
    class.define_method("getbyte", method!(Input::getbyte, 0))?;
    class.define_method("readbyte", method!(Input::readbyte, 0))?;
    class.define_method("getc", method!(Input::getc, 0))
}
