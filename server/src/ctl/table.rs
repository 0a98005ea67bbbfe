//! Rows of words in columns as wide as their widest word.

use super::words::printable;

/// Between two columns.
const GAP: &str = "  ";

/// Where a column's words stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Puts rows into columns; each row has a word for each. Control characters become spaces.
pub(super) fn columns<const N: usize>(align: [Align; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|word| printable(word))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let words: Vec<String> = row
            .iter()
            .zip(align.iter().zip(widths))
            .map(|(word, (align, width))| match align {
                Align::Left => format!("{word:<width$}"),
                Align::Right => format!("{word:>width$}"),
            })
            .collect();
        text.push_str(words.join(GAP).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        Align::{Left, Right},
        columns,
    };

    #[test]
    fn words_stand_in_columns() {
        let rows = [["slot", "state", "x"], ["0", "ready", ""], ["12", "a\nb", "äö"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(
            columns([Right, Left, Right], &rows),
            "slot  state   x\n   0  ready\n  12  a b    äö\n"
        );
        assert_eq!(columns([Left], &[]), "");
    }
}
