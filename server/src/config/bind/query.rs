//! The options behind `?` in a bind URI.

use crate::config::{
    nearest,
    value::{permission_bits, whole},
};

/// The largest `backlog` that `listen(2)` can be given; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG_MAX: u32 = i32::MAX.cast_unsigned();

/// What a query may say, by scheme.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    Tcp,
    /// A socket file.
    Unix,
    /// A name in the abstract namespace, which has no permissions.
    Abstract,
}

impl Known {
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Tcp => &["backlog", "low_latency"],
            Self::Unix => &["umask", "mode", "backlog"],
            Self::Abstract => &["backlog"],
        }
    }
}

/// What the query said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) backlog: Option<u32>,
    pub(super) umask: Option<u32>,
    pub(super) mode: Option<u32>,
}

/// Reads `word=value&word=value`.
///
/// # Errors
///
/// The reason: a word that this scheme does not know, or a wrong value.
pub(super) fn parse(text: Option<&str>, known: Known) -> Result<Query, String> {
    let mut query = Query::default();
    for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (word, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.words().contains(&word) {
            return Err(unknown(word, known));
        }
        match word {
            "backlog" => {
                let backlog = read(word, value, |text| whole(text, 1..=BACKLOG_MAX))?;
                query.backlog = Some(backlog);
            }
            "umask" => query.umask = Some(read(word, value, permission_bits)?),
            "mode" => query.mode = Some(read(word, value, permission_bits)?),
            // Puma's `low_latency` is TCP_NODELAY, which is always on here.
            _ if matches!(value, "" | "true") => {}
            _ => {
                return Err(format!(
                    "{word} can only be true: rackrs never holds back small packets"
                ));
            }
        }
    }
    Ok(query)
}

/// Reads one value; the reason of a refusal then names the word instead of saying "it".
fn read(
    word: &str,
    value: &str,
    parse: impl FnOnce(&str) -> Result<u32, String>,
) -> Result<u32, String> {
    parse(value).map_err(|reason| format!("{word} {}", reason.trim_start_matches("it ")))
}

fn unknown(word: &str, known: Known) -> String {
    let words = known.words();
    match nearest(word, words.iter().copied()) {
        Some(near) => format!("{word} is not an option of this address; the nearest is {near}"),
        None => format!("{word} is not an option of this address; it takes {}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_read() {
        let query = parse(Some("umask=0117&mode=660&backlog=7"), Known::Unix).unwrap();
        assert_eq!(query, Query { backlog: Some(7), umask: Some(0o117), mode: Some(0o660) });
        assert_eq!(parse(None, Known::Unix), Ok(Query::default()));
        assert_eq!(parse(Some(""), Known::Tcp), Ok(Query::default()));
        assert_eq!(parse(Some("low_latency=true&"), Known::Tcp), Ok(Query::default()));
    }

    #[test]
    fn unknown_words_name_the_nearest() {
        for (text, known, expected) in [
            (
                "unmask=1",
                Known::Unix,
                "unmask is not an option of this address; the nearest is umask",
            ),
            ("zzz=1", Known::Abstract, "zzz is not an option of this address; it takes backlog"),
            (
                "mode=1",
                Known::Tcp,
                "mode is not an option of this address; it takes backlog, low_latency",
            ),
        ] {
            assert_eq!(parse(Some(text), known), Err(expected.to_owned()));
        }
    }

    #[test]
    fn wrong_values_say_of_what() {
        for (text, known, expected) in [
            ("umask=999", Known::Unix, "umask must be an octal number from 0 to 0777"),
            ("mode=", Known::Unix, "mode must be an octal number from 0 to 0777"),
            ("backlog=0", Known::Tcp, "backlog must be a whole number from 1 to 2147483647"),
            (
                "low_latency=false",
                Known::Tcp,
                "low_latency can only be true: rackrs never holds back small packets",
            ),
        ] {
            assert_eq!(parse(Some(text), known), Err(expected.to_owned()));
        }
    }
}
