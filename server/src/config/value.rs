//! From text to the value of a setting; each error is the reason to be shown, with what to write.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::Threads;

/// Most worker processes of one master.
pub(crate) const WORKERS_MAX: u16 = 1024;
/// Most Ruby threads of one worker.
pub(crate) const THREADS_MAX: u16 = 4096;
/// Longest time-out: a year.
pub(crate) const SECONDS_MAX: u32 = 366 * 24 * 60 * 60;
/// Most requests that may wait, and most connections, of one worker: `fs.nr_open`'s default.
pub(crate) const ROOM_MAX: usize = 1 << 20;

/// How many workers: a number, or one for each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    Count(u16),
    /// Puma's `auto`.
    Auto,
}

/// Puma's `-w` and `WEB_CONCURRENCY`: a number or `auto`.
pub(crate) fn workers(text: &str) -> Result<Workers, String> {
    match text.trim() {
        "auto" => Ok(Workers::Auto),
        number => whole(number, 0..=WORKERS_MAX)
            .map(Workers::Count)
            .map_err(|reason| format!("{reason}, or auto for one worker for each CPU")),
    }
}

/// Puma's `-t`: `MIN:MAX`, or one number for both. Their order is checked when every source has
/// spoken.
pub(crate) fn threads(text: &str) -> Result<Threads, String> {
    let (min, max) = text.split_once(':').unwrap_or((text, text));
    Ok(Threads { min: thread_count(min)?, max: thread_count(max)? })
}

/// One end of MIN:MAX.
pub(crate) fn thread_count(text: &str) -> Result<u16, String> {
    whole(text, 0..=THREADS_MAX)
}

/// A whole number within `range`, decimal digits only.
pub(crate) fn whole<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let reason = || format!("it must be a whole number from {} to {}", range.start(), range.end());
    // `FromStr` takes a leading plus sign.
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(reason());
    }
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(reason)
}

/// A time-out in seconds, `30` or `0.5`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let reason =
        || format!("it must be seconds above 0 and at most {SECONDS_MAX}, such as 30 or 0.5");
    let text = text.trim();
    // `f64` would also take inf, nan and 1e3.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(reason());
    }
    text.parse()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .filter(|time| !time.is_zero() && *time <= Duration::from_secs(SECONDS_MAX.into()))
        .ok_or_else(reason)
}

/// As [`seconds`], or 0 for no limit.
pub(crate) fn seconds_or_none(text: &str) -> Result<Option<Duration>, String> {
    match text.trim() {
        "0" => Ok(None),
        text => {
            let or_none = |reason| format!("{reason}, or 0 for no limit");
            seconds(text).map(Some).map_err(or_none)
        }
    }
}

/// A whole number, or 0 for no limit.
pub(crate) fn count_or_none(text: &str) -> Result<Option<u64>, String> {
    whole(text, 0..=u64::MAX).map(|count| (count > 0).then_some(count))
}

/// A size in bytes, or with K, M or G for powers of 1024; 0 for no limit.
pub(crate) fn bytes(text: &str) -> Result<Option<u64>, String> {
    let reason = || "it must be a number of bytes such as 536870912, 512M or 2G, or 0".to_owned();
    let text = text.trim();
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = whole(digits, 0..=u64::MAX / unit).map_err(|_| reason())?;
    Ok((number > 0).then_some(number * unit))
}

/// A path for a request of our own.
pub(crate) fn request_path(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.starts_with('/') && is_plain {
        return Ok(text.to_owned());
    }
    Err("it must begin with a slash and be as it stands in a request, such as /up".to_owned())
}

/// A port; 0 lets the kernel choose.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    whole(text, 0..=u16::MAX).map_err(|_| "the port must be a number from 0 to 65535".to_owned())
}

/// An octal number of at most nine permission bits, such as `0117`.
pub(crate) fn permission_bits(text: &str) -> Result<u32, String> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    digits_only
        .then(|| u32::from_str_radix(text, 8).ok())
        .flatten()
        .filter(|bits| *bits <= 0o777)
        .ok_or_else(|| "must be an octal number from 0 to 0777".to_owned())
}

/// A path, still relative to the working directory.
pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if text.contains('\0') {
        return Err("a path cannot hold a NUL byte".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// `path` from `directory`, without `.` and doubled slashes. `..` and symlinks stay as they were
/// named: they may lead elsewhere after the next deploy.
pub(crate) fn absolute(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path).components().collect()
}

/// A word that must not be empty, such as an environment's name.
pub(crate) fn word(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        word => Ok(word.to_owned()),
    }
}

/// `SCRIPT_NAME`: Rack's SPEC wants it empty or beginning with a slash, and never a slash alone, which
/// therefore means the root here.
pub(crate) fn script_name(text: &str) -> Result<String, String> {
    match text {
        "" | "/" => Ok(String::new()),
        prefix if prefix.starts_with('/') => Ok(prefix.to_owned()),
        _ => Err("a mount prefix must begin with a slash".to_owned()),
    }
}

/// True for the words that make Ruby itself turn YJIT on (`env_var_truthy` of its `ruby.c`).
pub(crate) fn ruby_truth(text: &str) -> bool {
    matches!(text, "1" | "true" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_auto() {
        assert_eq!(workers("3"), Ok(Workers::Count(3)));
        assert_eq!(workers(" auto "), Ok(Workers::Auto));
        for wrong in ["", "x", "-1", "+1", "1.5", "1025", "99999999"] {
            assert_eq!(
                workers(wrong),
                Err(
                    "it must be a whole number from 0 to 1024, or auto for one worker for each CPU"
                        .to_owned()
                ),
                "{wrong}"
            );
        }
    }

    #[test]
    fn threads_are_a_pair_or_one_number_for_both() {
        assert_eq!(threads("1:16"), Ok(Threads { min: 1, max: 16 }));
        assert_eq!(threads("5"), Ok(Threads { min: 5, max: 5 }));
        for wrong in ["", ":", "5:", ":5", "1:2:3", "a:b", "0:4097"] {
            assert!(threads(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds(".5"), Ok(Duration::from_millis(500)));
        for wrong in ["", ".", "0", "0.0", "-1", "1e3", "inf", "nan", "1.2.3", "99999999999", "5s"]
        {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_are_checked() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        for wrong in ["65536", "-1", "http", ""] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn permission_bits_are_octal() {
        assert_eq!(permission_bits("0117"), Ok(0o117));
        assert_eq!(permission_bits("777"), Ok(0o777));
        for wrong in ["", "8", "0o777", "1000", "+7", "rw"] {
            assert!(permission_bits(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_directory() {
        let from = |path: &str| absolute(Path::new("/srv/app"), Path::new(path));
        assert_eq!(from("./tmp//a.pid"), Path::new("/srv/app/tmp/a.pid"));
        assert_eq!(from("../shared/a.pid"), Path::new("/srv/app/../shared/a.pid"));
        assert_eq!(from("/tmp/a.pid"), Path::new("/tmp/a.pid"));
        assert!(path("").is_err() && path("a\0b").is_err());
    }

    #[test]
    fn a_mount_prefix_begins_with_a_slash() {
        assert_eq!(script_name("/app"), Ok("/app".to_owned()));
        assert_eq!(script_name("/"), Ok(String::new()));
        assert!(script_name("index.cgi").is_err());
    }

    #[test]
    fn only_the_words_ruby_knows_are_true() {
        assert!(["1", "true", "yes", "on"].into_iter().all(ruby_truth));
        assert!(!["0", "", "false", "2", "TRUE"].into_iter().any(ruby_truth));
    }
}
