//! Where the reader of `rack.input` stands: `rewind`, `pos`, `seek`, `size`, `eof?`.

use magnus::{
    Error, RClass, Ruby, TryConvert, Value, method, prelude::*, scan_args::scan_args,
    typed_data::Obj,
};

use super::{
    Input,
    arguments::{Whence, invalid_argument},
};
use crate::rack::entry::{self, entry};

impl Input {
    fn rewind(ruby: &Ruby, this: &Self) -> Result<u8, Error> {
        this.open(ruby)?;
        this.move_to(0);
        Ok(0)
    }

    fn pos(ruby: &Ruby, this: &Self) -> Result<u64, Error> {
        Ok(this.open(ruby)?.1)
    }

    fn set_pos(ruby: &Ruby, this: &Self, position: i64) -> Result<i64, Error> {
        this.open(ruby)?;
        this.move_to(u64::try_from(position).map_err(|_| invalid_argument(ruby))?);
        Ok(position)
    }

    fn seek(ruby: &Ruby, this: Obj<Self>, args: &[Value]) -> Result<u8, Error> {
        let args = scan_args::<(i64,), (Option<Value>,), (), (), (), ()>(args)?;
        let (source, position) = this.open(ruby)?;
        let base = match args.optional.0.map_or(Ok(Whence::Start), Whence::try_convert)? {
            Whence::Start => 0,
            Whence::Position => position,
            Whence::End => source.len(),
        };
        let target = base.checked_add_signed(args.required.0);
        this.move_to(
            target.filter(|&t| i64::try_from(t).is_ok()).ok_or_else(|| invalid_argument(ruby))?,
        );
        Ok(0)
    }

    fn size(ruby: &Ruby, this: &Self) -> Result<u64, Error> {
        Ok(this.open(ruby)?.0.len())
    }

    fn is_at_end(ruby: &Ruby, this: &Self) -> Result<bool, Error> {
        let (source, position) = this.open(ruby)?;
        Ok(source.len() <= position)
    }
}

pub(super) fn define(class: RClass) -> Result<(), Error> {
    class.define_method("rewind", method!(Input::rewind, 0))?;
    class.define_method("pos", method!(Input::pos, 0))?;
    class.define_method("tell", method!(Input::pos, 0))?;
    class.define_method("pos=", method!(Input::set_pos, 1))?;
    entry::define(class, c"seek", entry!(Input::seek))?;
    class.define_method("size", method!(Input::size, 0))?;
    class.define_method("length", method!(Input::size, 0))?;
    class.define_method("eof?", method!(Input::is_at_end, 0))?;
    class.define_method("eof", method!(Input::is_at_end, 0))
}
