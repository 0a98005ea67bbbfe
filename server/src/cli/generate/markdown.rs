//! The reference page of flags and environment variables.

use crate::{
    cli::{
        flag::{Flag, Heading, Takes},
        flags,
    },
    config::VARIABLES,
};

/// `docs/reference/options.md`.
pub(super) fn reference() -> String {
    let mut page = String::from(
        "# Options\n\n\
         <!-- Made by `rackrs --generate markdown`; change the table of flags instead. -->\n\n\
         `rackrs [OPTIONS] [RACKUP]` serves the application of `RACKUP`, `config.ru` when none is \
         named.\n\n\
         A value is taken from the strongest source that gives one: a flag, the `#\\` line at the \
         top of the rackup file, the environment, the default. `rackrs --show-config` prints each \
         value with its source. Of two equal flags the later one wins, except where the table says \
         repeatable. A long flag may be cut short while it stays unique.\n",
    );
    for heading in Heading::ALL {
        page.extend(["\n## ", heading.title(), "\n\n| flag | meaning |\n| --- | --- |\n"]);
        let flags = flags::all().filter(|flag| flag.heading == heading);
        page.extend(flags.map(|flag| row(&[&names(flag), &flag.long_help()])));
    }
    page.push_str(
        "\n## Environment\n\nA blank variable counts as not set.\n\n\
         | variable | sets | meaning |\n| --- | --- | --- |\n",
    );
    page.extend(
        VARIABLES.iter().map(|variable| {
            row(&[&format!("`{}`", variable.name), variable.setting, variable.help])
        }),
    );
    page
}

/// One line of a table; nothing in a cell is read as the end of it, or as markup.
fn row(cells: &[&str]) -> String {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| cell.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;"))
        .collect();
    format!("| {} |\n", cells.join(" | "))
}

fn names(flag: &Flag) -> String {
    let value = match flag.takes {
        Takes::Nothing => String::new(),
        Takes::Value(name, _) => format!(" {name}"),
        Takes::Optional { name, .. } => format!("[={name}]"),
    };
    let shorts = flag.short.iter().chain(flag.short_aliases).map(|letter| format!("`-{letter}`"));
    let aliases = flag.aliases.iter().map(|alias| format!("`--{alias}`"));
    let own = format!("`--{}{value}`", flag.long);
    shorts.chain([own]).chain(aliases).collect::<Vec<_>>().join(", ")
}
