//! The house rules that a program can check, checked.

use std::{fs, path::Path};

use rackrs_tests::{
    root,
    tidy::{FILE_LINES_MAX, file_links, files, forbidden, opening_fault, script_fault},
};

/// Longer files, each with the reason why it is one concept all the same.
const LONG: &[(&str, &str)] = &[
    ("tests/tests/life.rs", "one promise, two matrices"),
    ("tests/tests/command.rs", "one short test for each flag"),
];

fn text(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let faults = files(root(), ".rs").into_iter().filter_map(|path| {
        let fault = opening_fault(&text(&path))?;
        Some(format!("{} {fault}", name(&path)))
    });
    assert_none(&faults.collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    let mut faults = Vec::new();
    for path in files(root(), ".rs") {
        let lines = text(&path).lines().count();
        let excused = LONG.iter().any(|(long, _)| *long == name(&path));
        if lines > FILE_LINES_MAX && !excused {
            faults.push(format!(
                "{} has {lines} lines; split it, or list it with its reason",
                name(&path)
            ));
        }
    }
    for (long, _) in LONG {
        if text(&root().join(long)).lines().count() <= FILE_LINES_MAX {
            faults.push(format!("{long} is not long any more; take it off the list"));
        }
    }
    assert_none(&faults);
}

#[test]
fn nothing_is_put_off() {
    // Spelled in two parts, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
        concat!("db", "g!("),
        concat!("unimple", "mented!("),
        concat!("to", "do!("),
    ];
    let mut faults = Vec::new();
    for ending in [".rs", ".rb", ".ru", ".toml", ".md", ".sh"] {
        for path in files(root(), ending) {
            for (line, word) in forbidden(&text(&path), &words) {
                faults.push(format!("{}:{line} says {word}", name(&path)));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn no_path_of_somebodys_machine_is_in_a_file() {
    let words = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/tmp/tar", "get"),
    ];
    let mut faults = Vec::new();
    let scripts =
        files(&root().join("script"), "").into_iter().chain(files(&root().join(".ci"), ""));
    let others =
        [".rs", ".rb", ".ru", ".toml", ".md"].iter().flat_map(|ending| files(root(), ending));
    for path in scripts.chain(others) {
        for (line, word) in forbidden(&text(&path), &words) {
            faults.push(format!("{}:{line} names {word}", name(&path)));
        }
    }
    assert_none(&faults);
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for path in files(root(), ".md") {
        let folder = path.parent().expect("a file is in a folder");
        for link in file_links(&text(&path)) {
            if !link.is_empty() && !folder.join(&link).exists() {
                faults.push(format!("{} links to {link}, which is not there", name(&path)));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_documents_are_there() {
    for file in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "LICENSE",
    ] {
        assert!(root().join(file).is_file(), "there is no {file}");
    }
}

#[test]
fn scripts_can_be_run_and_say_how() {
    let scripts =
        files(&root().join("script"), "").into_iter().chain(files(&root().join(".ci"), ""));
    let faults: Vec<_> = scripts
        .filter_map(|path| Some(format!("{} {}", name(&path), script_fault(&path, &text(&path))?)))
        .collect();
    assert_none(&faults);
}

#[test]
fn every_application_of_the_tests_says_what_it_is() {
    let folder = root().join("tests/apps");
    let applications = files(&folder, ".ru").into_iter().chain(files(&folder, ".rb"));
    let silent: Vec<_> =
        applications.filter(|path| !text(path).starts_with("# ")).map(|path| name(&path)).collect();
    assert_none(&silent);
}
