//! Flags: what rackrs says about itself.

use crate::cli::flag::{Action, Effect, Flag, Kind, Product, Takes};

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "help",
        short: Some('h'),
        help: "This help; --help says more of each flag",
        effect: Effect::Help,
        ..Flag::PLAIN
    },
    Flag {
        long: "version",
        short: Some('V'),
        help: "The version",
        effect: Effect::Version,
        ..Flag::PLAIN
    },
    Flag {
        long: "generate",
        takes: Takes::Value(
            "WHAT",
            Kind::OneOf(&["man", "complete-bash", "complete-zsh", "complete-fish", "markdown"]),
        ),
        help: "Print man, complete-bash, -zsh, -fish, or markdown",
        more: "One of man, complete-bash, complete-zsh, complete-fish, markdown. man is for man -l and a man directory, complete-SHELL for the shell's completion \
               directory, markdown for docs/reference/options.md.",
        effect: Effect::Act(|what| {
            let (_, product) = Product::ALL
                .into_iter()
                .find(|(word, _)| *word == what)
                .expect("the parser lets only these words through");
            Action::Generate(product)
        }),
        ..Flag::PLAIN
    },
];
