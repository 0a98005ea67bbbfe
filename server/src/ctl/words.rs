//! Times, sizes and other people's texts, as people read them.

/// Without control characters: a request line in a table must not steer the terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// As [`printable`], with its lines and tabs.
pub(super) fn printable_lines(text: &str) -> String {
    let keep = |character: char| matches!(character, '\n' | '\t') || !character.is_control();
    text.chars().map(|character| if keep(character) { character } else { ' ' }).collect()
}

/// The beginning of a text, with an ellipsis where it is cut.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// `4.2 s`, `12 min`, `3 h 5 min`, `2 d 7 h`.
pub(super) fn time(seconds: f64) -> String {
    let minutes = whole(seconds / 60.0);
    let (hours, days) = (minutes / 60, minutes / 60 / 24);
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if hours == 0 {
        format!("{minutes} min")
    } else if days == 0 {
        format!("{hours} h {} min", minutes % 60)
    } else {
        format!("{days} d {} h", hours % 24)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the fraction is not wanted"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// `120 MiB`.
pub(super) fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_one_wants_to_know() {
        for (seconds, text) in [
            (0.0, "0.0 s"),
            (4.21, "4.2 s"),
            (59.9, "59.9 s"),
            (60.0, "1 min"),
            (3599.0, "59 min"),
            (3600.0, "1 h 0 min"),
            (11_100.0, "3 h 5 min"),
            (86_400.0, "1 d 0 h"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn sizes_are_mebibytes() {
        assert_eq!((size(0), size(1)), ("0 MiB".to_owned(), "1 MiB".to_owned()));
        assert_eq!(size(120 << 20), "120 MiB");
    }

    #[test]
    fn other_peoples_texts_are_harmless() {
        assert_eq!(printable("GET /\x1b[2J\r\n"), "GET / [2J  ");
        assert_eq!(printable_lines("a\n\tb\x1b"), "a\n\tb ");
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }
}
