//! The last words of a process that is about to be killed: the Ruby frames of a thread whose C code
//! keeps the GVL, so that nobody can ask Ruby.
//!
//! This is the one place where code of ours runs in a signal handler, and it is for a doomed process
//! only: the signal is sent by nobody but the master's watchdog, a moment before it kills. The
//! handler allocates nothing, takes no lock and calls the few functions of Ruby that read what is
//! there. Should the thread be in the middle of changing that, the process dies a moment sooner.
//! `docs/decisions/0006-last-words-of-a-stuck-worker.md` says why this is worth it.

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    io, mem, ptr, slice,
};

use nix::{errno::Errno, libc, unistd};
use rb_sys::VALUE;

/// Most frames told, the innermost.
pub const FRAMES_MAX: usize = 100;

/// Most bytes of one line; a longer path is cut.
const LINE_BYTES_MAX: usize = 1024;

/// sysexits(3): the operating system failed us.
const EX_OSERR: u8 = 71;

thread_local! {
    /// Whether this is a Ruby thread. Without a destructor, so that reading it is one load.
    static ENLISTED: Cell<bool> = const { Cell::new(false) };
}

/// The system refuses the handler.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot set a handler for signal {}; without it a stuck worker dies without a backtrace",
    signal()
)]
pub struct ArmError(#[source] io::Error);

impl ArmError {
    /// The exit status if this ends the program: sysexits(3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        EX_OSERR
    }
}

/// The signal that asks a thread for its frames, to be sent to one thread by its id (`tgkill`). A
/// real-time signal, none of which Ruby or a Ruby server uses.
#[must_use]
pub fn signal() -> c_int {
    libc::SIGRTMIN() + 5
}

/// From now on a thread that has enlisted and gets [`signal`] writes its Ruby frames to descriptor
/// 2, innermost first. Forked processes inherit this; programs that are started do not.
///
/// # Errors
///
/// [`ArmError`]
pub fn arm() -> Result<(), ArmError> {
    // SAFETY: a structure of integers, of which zero is a value; no flags, and an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    let handler: extern "C" fn(c_int) = last_words;
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // On the stack that Ruby has for its own handlers: the thread may be deep in a recursion. What
    // the thread waits for goes on, should the process live.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler does only what is allowed in one (see there), and replaces nobody's.
    let refused = unsafe { libc::sigaction(signal(), &raw const action, ptr::null_mut()) };
    if refused == 0 { Ok(()) } else { Err(ArmError(io::Error::last_os_error())) }
}

/// Says that this thread is one of Ruby's: only of such a thread are there frames. Call it on the
/// thread, when Ruby has begun it.
pub fn enlist() {
    ENLISTED.set(true);
}

/// Takes [`enlist`] back; before Ruby ends the thread.
pub fn dismiss() {
    ENLISTED.set(false);
}

/// The handler. It must not allocate, lock, panic or unwind, and it leaves `errno` as it was.
extern "C" fn last_words(_signal: c_int) {
    if !ENLISTED.get() {
        return;
    }
    let errno = Errno::last_raw();
    write_frames();
    Errno::set_raw(errno);
}

fn write_frames() {
    let mut frames: [VALUE; FRAMES_MAX] = [0; FRAMES_MAX];
    let mut numbers: [c_int; FRAMES_MAX] = [0; FRAMES_MAX];
    let limit = c_int::try_from(FRAMES_MAX).unwrap_or(0);
    // SAFETY: this is a Ruby thread, so it has frames; both arrays have room for the limit. Only
    // memory is read: this thread's frames, which it does not change while it is in here.
    let count =
        unsafe { rb_sys::rb_profile_frames(0, limit, frames.as_mut_ptr(), numbers.as_mut_ptr()) };
    let mut line = Line::new();
    line.push(b"the Ruby frames of thread ");
    line.push_number(unistd::gettid().as_raw());
    line.push(b" of process ");
    line.push_number(unistd::getpid().as_raw());
    line.push(b", innermost first:");
    line.write();
    let count = usize::try_from(count).unwrap_or(0);
    for (frame, number) in frames.iter().zip(&numbers).take(count) {
        write_frame(*frame, *number);
    }
}

fn write_frame(frame: VALUE, number: c_int) {
    let mut line = Line::new();
    line.push(b"  ");
    match path_and_label(frame) {
        Some((path, label)) => {
            line.push(path);
            line.push(b":");
            line.push_number(number);
            line.push(b":in '");
            line.push(label);
            line.push(b"'");
        }
        // Its name is in a table that has a lock.
        None => line.push(b"(C function)"),
    }
    line.write();
}

/// Where a frame of Ruby code is; `None` of a C function.
fn path_and_label<'a>(frame: VALUE) -> Option<(&'a [u8], &'a [u8])> {
    // Of these, `rb_profile_frame_path` would end the process.
    if frame == 0 || frame == rb_sys::Qnil as VALUE {
        return None;
    }
    // SAFETY: the frame has just come from `rb_profile_frames`. In all versions from 3.1 on this
    // returns a string that the compiled code holds, or nil; it makes none.
    let path = unsafe { rb_sys::rb_profile_frame_path(frame) };
    // SAFETY: as above.
    let label = unsafe { rb_sys::rb_profile_frame_label(frame) };
    Some((bytes(path)?, bytes(label).unwrap_or(b"?")))
}

fn bytes<'a>(string: VALUE) -> Option<&'a [u8]> {
    // SAFETY: reads the header of a live object, and of a constant nothing.
    if !unsafe { rb_sys::RB_TYPE_P(string, rb_sys::ruby_value_type::RUBY_T_STRING) } {
        return None;
    }
    // SAFETY: it is a string, and the code that runs holds it.
    let start = unsafe { rb_sys::RSTRING_PTR(string) };
    // SAFETY: as above.
    let length = usize::try_from(unsafe { rb_sys::RSTRING_LEN(string) }).ok()?;
    // SAFETY: the string is frozen, and the code of a frame of this thread holds it, which stays a
    // frame until the handler is over.
    Some(unsafe { slice::from_raw_parts(start.cast(), length) })
}

/// One line of text, on the stack. What has no room is left out.
struct Line {
    bytes: [u8; LINE_BYTES_MAX],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; LINE_BYTES_MAX], length: 0 }
    }

    fn push(&mut self, text: &[u8]) {
        // One byte is kept for the end of the line.
        let room = self.bytes.iter_mut().take(LINE_BYTES_MAX - 1).skip(self.length);
        let copied = room.zip(text).map(|(to, from)| *to = *from).count();
        self.length += copied;
    }

    fn push_number(&mut self, number: i32) {
        if number < 0 {
            self.push(b"-");
        }
        let mut place = 1_000_000_000;
        while place > 1 && number.unsigned_abs() < place {
            place /= 10;
        }
        while place > 0 {
            let digit = number.unsigned_abs() / place % 10;
            self.push(&[b'0' + digit.to_le_bytes()[0]]);
            place /= 10;
        }
    }

    fn write(&mut self) {
        if let Some(end) = self.bytes.get_mut(self.length) {
            *end = b'\n';
            self.length += 1;
        }
        let text: *const c_void = self.bytes.as_ptr().cast();
        // SAFETY: the first `length` bytes of the array are text. There is nobody to tell that it
        // could not be written.
        unsafe { libc::write(libc::STDERR_FILENO, text, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_numbers_and_cuts_what_is_too_long() {
        let mut line = Line::new();
        for number in [0, 7, 10, 1_234_567_890, i32::MAX, i32::MIN] {
            line.push_number(number);
            line.push(b" ");
        }
        let text = line.bytes.get(..line.length);
        assert_eq!(text, Some(&b"0 7 10 1234567890 2147483647 -2147483648 "[..]));
        line.push(&[b'x'; 2 * LINE_BYTES_MAX]);
        assert_eq!(line.length, LINE_BYTES_MAX - 1);
    }

    #[test]
    fn a_thread_that_is_not_rubys_says_nothing() {
        // There is no VM in this process: a look at its frames would end it.
        last_words(signal());
    }
}
