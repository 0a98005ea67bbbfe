//! The known word that a mistyped one most likely meant.

/// The candidate closest to `word`: one that continues it or that it continues, else the one with
/// the fewest edits, at most one for every three letters.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let room = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let edits = strsim::damerau_levenshtein(word, candidate);
            let continues = word.len() > 2
                && candidate.len() > 2
                && (candidate.starts_with(word) || word.starts_with(candidate));
            (continues || edits <= room).then_some((edits, candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 6] = ["threads", "workers", "worker-boot-timeout", "daemon", "bind", "tag"];

    #[test]
    fn one_slip_is_understood() {
        for (typed, meant) in [
            ("therads", "threads"),
            ("wokers", "workers"),
            ("worker", "workers"),
            ("deamon", "daemon"),
            ("binds", "bind"),
            ("daemonise", "daemon"),
        ] {
            assert_eq!(nearest(typed, WORDS), Some(meant), "{typed}");
        }
    }

    #[test]
    fn nothing_close_is_nothing() {
        for typed in ["x", "", "listen", "ssl-key"] {
            assert_eq!(nearest(typed, WORDS), None, "{typed}");
        }
    }
}
