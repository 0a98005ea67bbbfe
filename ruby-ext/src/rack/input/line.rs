//! Lines of a request body: what `IO#gets` takes for a line, for a body of bytes.

use bytes::Bytes;
use magnus::{
    Error, RString, Ruby, TryConvert, Value,
    prelude::*,
    scan_args::{get_kwargs, scan_args},
};

use super::source::Source;

/// Bytes looked at in one step when a file is searched for the end of a line.
const WINDOW_BYTES: u64 = 8 * 1024;

/// The arguments of `gets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineFormat {
    separator: Separator,
    /// `None` is no limit.
    limit: Option<u64>,
    chomp: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Separator {
    /// `nil`: the rest is one line.
    None,
    /// `""`: lines are paragraphs, ended by one or more empty lines.
    Paragraph,
    Bytes(Vec<u8>),
}

impl LineFormat {
    /// Reads `(sep = $/, limit = nil, chomp: false)`, as all the line methods of `IO` take them.
    pub(super) fn from_args(ruby: &Ruby, args: &[Value]) -> Result<Self, Error> {
        if args.is_empty() {
            return Ok(Self { separator: default_separator(ruby)?, limit: None, chomp: false });
        }
        let args = scan_args::<(), (Option<Value>, Option<Value>), (), (), _, ()>(args)?;
        let keywords = get_kwargs::<_, (), (Option<Value>,), ()>(args.keywords, &[], &["chomp"])?;
        let chomp = keywords.optional.0.is_some_and(magnus::value::ReprValue::to_bool);
        let (separator, limit) = match args.optional {
            (None, _) => (default_separator(ruby)?, None),
            (Some(only), None) if only.is_nil() => (Separator::None, None),
            (Some(only), None) => match RString::try_convert(only) {
                Ok(separator) => (Separator::new(separator), None),
                Err(_) => (default_separator(ruby)?, Some(i64::try_convert(only)?)),
            },
            (Some(separator), Some(limit)) => {
                let separator = match Option::<RString>::try_convert(separator)? {
                    Some(separator) => Separator::new(separator),
                    None => Separator::None,
                };
                (separator, Option::<i64>::try_convert(limit)?)
            }
        };
        // A negative limit is none.
        let limit = limit.and_then(|limit| u64::try_from(limit).ok());
        Ok(Self { separator, limit, chomp })
    }

    /// A limit of 0 would make a loop over lines endless.
    pub(super) fn refuse_zero(&self, ruby: &Ruby, method: &str) -> Result<(), Error> {
        if self.limit == Some(0) {
            let text = format!("invalid limit: 0 for {method}");
            return Err(Error::new(ruby.exception_arg_error(), text));
        }
        Ok(())
    }
}

impl Separator {
    fn new(separator: RString) -> Self {
        // SAFETY: the bytes are copied before any Ruby code can run.
        let bytes = unsafe { separator.as_slice() };
        if bytes.is_empty() { Self::Paragraph } else { Self::Bytes(bytes.to_vec()) }
    }
}

/// `$/`, which an application may have changed.
fn default_separator(ruby: &Ruby) -> Result<Separator, Error> {
    use magnus::rb_sys::FromRawValue;
    let _ = ruby;
    #[allow(deprecated, reason = "assigning to it is; `IO#gets` itself reads it")]
    // SAFETY: a static of the VM that always holds an object; the GVL is held (`ruby`).
    let separator = unsafe { rb_sys::rb_rs };
    // SAFETY: as above, and the object stays referenced by the static while it is read.
    let separator = unsafe { Value::from_raw(separator) };
    Ok(Option::<RString>::try_convert(separator)?.map_or(Separator::None, Separator::new))
}

/// One line, and where the next one starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// `None` at the end.
    pub(super) bytes: Option<Bytes>,
    /// At the end, too, a reader of paragraphs may have gone over newlines.
    pub(super) next_position: u64,
}

/// Reads lines of a source from a position on.
pub(super) struct LineReader<'a> {
    ruby: &'a Ruby,
    source: &'a Source,
    position: u64,
}

impl<'a> LineReader<'a> {
    pub(super) fn new(ruby: &'a Ruby, source: &'a Source, position: u64) -> Self {
        Self { ruby, source, position }
    }

    /// The next line.
    pub(super) fn line(mut self, format: &LineFormat) -> Result<Line, Error> {
        if format.limit == Some(0) {
            return Ok(Line { bytes: Some(Bytes::new()), next_position: self.position });
        }
        let separator: &[u8] = match &format.separator {
            Separator::None => &[],
            Separator::Paragraph => {
                self.position = self.after_newlines(self.position)?;
                b"\n\n"
            }
            Separator::Bytes(bytes) => bytes,
        };
        let Some((mut bytes, ended)) = self.up_to(separator, format.limit)? else {
            return Ok(Line { bytes: None, next_position: self.position });
        };
        let mut next_position = self.position + bytes.len() as u64;
        if format.separator == Separator::Paragraph {
            next_position = self.after_newlines(next_position)?;
        }
        if ended && format.chomp {
            let mut kept = bytes.len() - separator.len();
            if separator == b"\n" && bytes[..kept].ends_with(b"\r") {
                kept -= 1;
            }
            bytes.truncate(kept);
        }
        Ok(Line { bytes: Some(bytes), next_position })
    }

    /// The bytes up to and with `separator`, but at most `limit`, and whether the separator ends
    /// them; `None` at the end of the body. An empty separator never comes.
    fn up_to(&self, separator: &[u8], limit: Option<u64>) -> Result<Option<(Bytes, bool)>, Error> {
        let end = self.source.len();
        let end = limit.map_or(end, |limit| end.min(self.position.saturating_add(limit)));
        if self.source.len() <= self.position {
            return Ok(None);
        }
        if let Source::Memory(_) = self.source {
            let rest = self.source.read(self.ruby, self.position, end)?;
            return Ok(Some(match position_after(&rest, separator, 0) {
                Some(length) => (rest.slice(..length), true),
                None => (rest, false),
            }));
        }
        let step = if separator.is_empty() { end } else { WINDOW_BYTES };
        let mut line = Vec::new();
        loop {
            let reached = self.position + line.len() as u64;
            let window_end = end.min(reached.saturating_add(step));
            let window = self.source.read(self.ruby, reached, window_end)?;
            if window.is_empty() {
                let line = Bytes::from(line);
                return Ok((!line.is_empty()).then_some((line, false)));
            }
            // A separator may straddle two windows.
            let searched = line.len().saturating_sub(separator.len().saturating_sub(1));
            line.extend_from_slice(&window);
            if let Some(length) = position_after(&line, separator, searched) {
                line.truncate(length);
                return Ok(Some((Bytes::from(line), true)));
            }
        }
    }

    fn after_newlines(&self, mut position: u64) -> Result<u64, Error> {
        loop {
            let window = self.source.read(
                self.ruby,
                position,
                self.source.len().min(position.saturating_add(WINDOW_BYTES)),
            )?;
            let newlines = window.iter().take_while(|&&byte| byte == b'\n').count();
            position += newlines as u64;
            if newlines < window.len() || window.is_empty() {
                return Ok(position);
            }
        }
    }
}

/// Where the first `separator` at or after `from` ends.
fn position_after(bytes: &[u8], separator: &[u8], from: usize) -> Option<usize> {
    match separator {
        [] => None,
        [byte] => bytes[from..].iter().position(|b| b == byte).map(|at| from + at + 1),
        _ => bytes[from..]
            .windows(separator.len())
            .position(|window| window == separator)
            .map(|at| from + at + separator.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_are_found() {
        assert_eq!(position_after(b"a\nb\n", b"\n", 0), Some(2));
        assert_eq!(position_after(b"a\nb\n", b"\n", 2), Some(4));
        assert_eq!(position_after(b"ab", b"\n", 0), None);
        assert_eq!(position_after(b"a\n\nb", b"\n\n", 0), Some(3));
        assert_eq!(position_after(b"a--b", b"--", 1), Some(3));
        assert_eq!(position_after(b"a", b"", 0), None);
    }
}
