//! What is made from the table besides the parser: man page, completions, reference.

mod markdown;

use clap_complete::Shell;

use super::{
    flag::{Product, Takes},
    flags, parser,
};
use crate::config::VARIABLES;

/// The text of one product.
pub(super) fn generate(product: Product) -> String {
    match product {
        Product::Man => man(),
        Product::Bash => completions(Shell::Bash),
        Product::Zsh => completions(Shell::Zsh),
        Product::Fish => completions(Shell::Fish),
        Product::Markdown => markdown::reference(),
    }
}

/// The environment variables, for the end of `--help` and of the man page.
pub(super) fn environment_help() -> String {
    let mut lines =
        vec!["Environment (weaker than flags; a blank variable counts as not set):".to_owned()];
    for variable in VARIABLES {
        lines.push(format!("  {}", variable.name));
        lines.push(format!("      {}: {}", variable.setting, variable.help));
    }
    lines.join("\n")
}

fn man() -> String {
    let mut page = Vec::new();
    clap_mangen::Man::new(parser::command())
        .render(&mut page)
        .expect("writing to memory does not fail");
    String::from_utf8_lossy(&page).into_owned()
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut parser::command(), "rackrs", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Zsh { escaped_value_names(script) } else { script }
}

/// `clap_complete` leaves the colon of `MIN:MAX` as it is, and zsh would run what stands behind it.
fn escaped_value_names(script: String) -> String {
    let names = flags::all().filter_map(|flag| match flag.takes {
        Takes::Value(name, _) if name.contains(':') => Some(name),
        Takes::Value(..) | Takes::Nothing | Takes::Optional { .. } => None,
    });
    names.fold(script, |script, name| {
        script.replace(&format!(":{name}:"), &format!(":{}:", name.replace(':', "\\:")))
    })
}

#[cfg(test)]
mod tests;
