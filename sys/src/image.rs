//! What execve(2) is given: path, arguments and environment, as C strings made in advance.

use std::{
    ffi::{CString, NulError, OsString, c_char},
    os::unix::ffi::OsStringExt,
    path::Path,
    ptr,
};

use nix::{errno::Errno, libc};

/// A program with its arguments and environment, ready for execve(2).
#[derive(Debug)]
pub(crate) struct Image {
    program: CString,
    arguments: Pointers,
    environment: Pointers,
}

/// Why a text cannot be passed to a program.
#[derive(Debug)]
pub(crate) enum TextError {
    /// It has a NUL byte.
    Nul { what: &'static str, source: NulError },
    /// The name of an environment variable is empty or has a `=`.
    Variable { name: OsString },
}

/// A null-terminated array of C strings, as execve(2) takes it.
#[derive(Debug)]
struct Pointers {
    /// Keeps alive what `pointers` point to.
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Image {
    pub(crate) fn new(
        program: &Path,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<Self, TextError> {
        let arguments: Result<Vec<_>, _> =
            arguments.iter().map(|word| text("an argument", word.clone())).collect();
        let environment: Result<Vec<_>, _> = environment.iter().map(entry).collect();
        Ok(Self {
            program: text("its path", program.into())?,
            arguments: Pointers::new(arguments?),
            environment: Pointers::new(environment?),
        })
    }

    /// Becomes the program; comes back only with the reason why not. Allocates nothing.
    pub(crate) fn execute(&self) -> Errno {
        let arguments = self.arguments.pointers.as_ptr();
        let environment = self.environment.pointers.as_ptr();
        // SAFETY: all three point to NUL-terminated strings, in arrays that end with a null
        // pointer, and `self` keeps them alive for the whole call.
        unsafe { libc::execve(self.program.as_ptr(), arguments, environment) };
        Errno::last()
    }
}

impl Pointers {
    fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|text| text.as_ptr()).collect();
        pointers.push(ptr::null());
        Self { _strings: strings, pointers }
    }
}

/// `what` says in an error which text it was.
pub(crate) fn text(what: &'static str, text: OsString) -> Result<CString, TextError> {
    CString::new(text.into_vec()).map_err(|source| TextError::Nul { what, source })
}

fn entry((name, value): &(OsString, OsString)) -> Result<CString, TextError> {
    if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
        return Err(TextError::Variable { name: name.clone() });
    }
    let mut entry = name.clone();
    entry.push("=");
    entry.push(value);
    text("an environment variable", entry)
}
