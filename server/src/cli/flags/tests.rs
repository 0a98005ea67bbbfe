//! The table is consistent, and its help fits an ordinary terminal.

use std::{collections::BTreeSet, ffi::OsString};

use super::*;
use crate::{
    cli::{
        Command, Environment,
        flag::{Effect, Heading, Kind, Product, Takes},
        parse, parser,
    },
    config::VARIABLES,
};

fn printed(word: &str) -> String {
    let args = ["rackrs", word].map(OsString::from);
    match parse(args, &Environment::of_process()) {
        Ok(Command::Print(text)) => text,
        other => panic!("{word}: {other:?}"),
    }
}

#[test]
fn the_parser_is_sound() {
    parser::command().debug_assert();
}

#[test]
fn names_and_letters_are_given_once() {
    let mut names = BTreeSet::new();
    let mut letters = BTreeSet::new();
    for flag in all() {
        for name in flag.aliases.iter().chain([&flag.long]) {
            assert!(names.insert(*name), "--{name} is there twice");
        }
        for letter in flag.short_aliases.iter().chain(&flag.short) {
            assert!(letters.insert(*letter), "-{letter} is there twice");
        }
    }
}

#[test]
fn every_flag_of_puma_is_known() {
    let names: BTreeSet<_> =
        all().flat_map(|flag| flag.aliases.iter().chain([&flag.long])).copied().collect();
    for name in [
        "bind",
        "bind-to-activated-sockets",
        "config",
        "no-config",
        "control-url",
        "control",
        "control-token",
        "debug",
        "dir",
        "environment",
        "fork-worker",
        "include",
        "idle-timeout",
        "port",
        "pidfile",
        "plugin",
        "preload",
        "prune-bundler",
        "extra-runtime-dependencies",
        "quiet",
        "log-requests",
        "restart-cmd",
        "silent",
        "state",
        "threads",
        "early-hints",
        "version",
        "workers",
        "tag",
        "redirect-stdout",
        "redirect-stderr",
        "redirect-append",
        "no-redirect-append",
        "help",
        "daemon",
    ] {
        assert!(names.contains(name), "--{name} is missing");
    }
    let letters: String =
        all().flat_map(|flag| flag.short.iter().chain(flag.short_aliases)).collect();
    for letter in "bCefIpqvRsStVwhdD".chars() {
        assert!(letters.contains(letter), "-{letter} is missing");
    }
}

#[test]
fn help_texts_are_written_alike() {
    for flag in all() {
        let name = flag.long;
        assert!(!flag.help.is_empty(), "--{name} has no help");
        assert!(!flag.help.ends_with('.'), "--{name}: a line without a full stop");
        assert!(flag.more.is_empty() || flag.more.ends_with('.'), "--{name}: sentences end");
    }
}

#[test]
fn what_cannot_be_honoured_is_in_its_own_group_and_says_what_to_do() {
    for flag in all() {
        if let Effect::NotYet(reason) = flag.effect {
            assert_eq!(flag.heading, Heading::NotYet, "--{}", flag.long);
            assert!(reason.contains(" yet; "), "--{}: {reason}", flag.long);
        }
    }
}

#[test]
fn the_words_of_generate_are_its_products() {
    let generate = all().find(|flag| flag.long == "generate").unwrap();
    let Takes::Value(_, Kind::OneOf(words)) = generate.takes else { panic!("a choice") };
    assert_eq!(words, Product::ALL.map(|(word, _)| word));
}

#[test]
fn the_short_help_has_one_line_for_each_flag_in_80_columns() {
    let text = printed("-h");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        let indent = line.chars().take_while(|c| *c == ' ').count();
        assert!(indent <= 6, "wrapped: {line}");
    }
    for heading in Heading::ALL {
        let shown = text.contains(&format!("\n{}:\n", heading.title()));
        assert_eq!(shown, heading.in_short_help(), "{heading:?}");
    }
}

#[test]
fn the_long_help_tells_everything_in_80_columns() {
    let text = printed("--help");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for flag in all() {
        assert!(text.contains(&format!("--{}", flag.long)), "--{}", flag.long);
    }
    for variable in VARIABLES {
        let line = format!("\n      {}: {}\n", variable.setting, variable.help);
        assert!(format!("{text}\n").contains(&line), "wrapped: {}", variable.name);
    }
}

#[test]
fn every_variable_sets_something_that_has_a_flag() {
    for variable in VARIABLES.iter().filter(|variable| variable.setting != "script-name") {
        assert!(all().any(|flag| flag.long == variable.setting), "{}", variable.name);
    }
}
