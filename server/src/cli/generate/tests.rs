//! What is generated holds every flag, and the committed reference is the generated one.

use std::{fs, path::Path};

use super::*;

#[test]
fn the_committed_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/options.md");
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == generate(Product::Markdown),
        "docs/reference/options.md differs from the table of flags; make it anew with\n  \
         cargo run -p rackrs -- --generate markdown > docs/reference/options.md"
    );
}

#[test]
fn every_product_names_every_flag() {
    for (word, product) in Product::ALL {
        let text = generate(product);
        for flag in flags::all() {
            let long = flag.long;
            let names = [
                format!("--{long}"),
                format!("-l {long}"),
                format!("\\-\\-{}", long.replace('-', "\\-")),
            ];
            assert!(names.iter().any(|name| text.contains(name)), "{word} does not name --{long}");
        }
    }
}

#[test]
fn every_variable_is_in_the_reference_and_in_the_man_page() {
    for product in [Product::Markdown, Product::Man] {
        let text = generate(product);
        for variable in VARIABLES {
            assert!(text.contains(variable.name), "{product:?} lacks {}", variable.name);
        }
    }
}

#[test]
fn zsh_does_not_run_a_value_name() {
    assert!(generate(Product::Zsh).contains(":MIN\\:MAX:"));
}

#[test]
fn table_cells_of_the_reference_stay_whole() {
    let text = generate(Product::Markdown);
    for row in text.lines().filter(|line| line.starts_with('|')) {
        let bars = row.matches('|').count() - row.matches("\\|").count();
        assert!(bars == 3 || bars == 4, "{row}");
    }
}
