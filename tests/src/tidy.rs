//! The house rules that a program can check.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A file longer than this many lines holds more than one concept.
pub const FILE_LINES_MAX: usize = 350;

/// Folders that are not ours to judge.
const NOT_OURS: &[&str] = &["target", ".git"];

/// Every file below `folder` whose path ends with `ending`, sorted.
#[must_use]
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(folder, ending, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            if !NOT_OURS.contains(&name.as_str()) {
                collect(&path, ending, found);
            }
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

/// What is wrong with the start of a Rust file, if anything.
#[must_use]
pub fn opening_fault(text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    match first.strip_prefix("//!") {
        None => Some("does not start with a `//!` line that says what it is for"),
        Some(words) if words.split_whitespace().count() < 2 => {
            Some("starts with a `//!` line that says nothing")
        }
        Some(_) => None,
    }
}

/// The words that must not be in a text, each with the line it is on.
#[must_use]
pub fn forbidden<'a>(text: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let numbered = text.lines().enumerate();
    let found = numbered.flat_map(|(index, line)| {
        words.iter().filter(move |word| line.contains(**word)).map(move |word| (index + 1, *word))
    });
    found.collect()
}

/// The targets of the links in a Markdown text that lead to files.
#[must_use]
pub fn file_links(markdown: &str) -> Vec<String> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| {
            !target.contains("://") && !target.starts_with('#') && !target.starts_with("mailto:")
        })
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

/// What is wrong with a script, if anything.
#[must_use]
pub fn script_fault(path: &Path, text: &str) -> Option<&'static str> {
    let mode = fs::metadata(path).map(|data| data.permissions().mode()).unwrap_or_default();
    if mode & 0o111 != 0o111 {
        return Some("is not executable");
    }
    let mut lines = text.lines();
    if !lines.next().unwrap_or_default().starts_with("#!") {
        return Some("has no #! line");
    }
    let usage = lines.next().unwrap_or_default().trim_start_matches('"');
    let says =
        usage.starts_with('#') || !usage.is_empty() && text.starts_with("#!/usr/bin/env python");
    (!says).then_some("does not say in its second line how it is used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_is_for() {
        assert_eq!(opening_fault("//! The pid file.\n"), None);
        assert!(opening_fault("//! x\n").is_some());
        assert!(opening_fault("use std::io;\n").is_some());
    }

    #[test]
    fn links_to_files_are_found() {
        let text = "[a](docs/a.md#part) [b](https://example.org) [c](#here) [d](../x)";
        assert_eq!(file_links(text), ["docs/a.md", "../x"]);
    }

    #[test]
    fn a_forbidden_word_is_found_with_its_line() {
        assert_eq!(forbidden("a\nb bad\n", &["bad", "worse"]), [(2, "bad")]);
    }
}
