//! The tables say what the documentation says.

use std::{fs, path::Path};

use super::*;

/// spec: Puma's launcher.rb and cluster.rb, Unicorn's SIGNALS.
#[test]
fn no_signal_has_two_meanings() {
    for table in [PUMA, UNICORN] {
        for (place, (number, _)) in table.iter().enumerate() {
            let again = table[place + 1..].iter().any(|(other, _)| other == number);
            assert!(!again, "signal {number}");
        }
    }
}

/// What a row of the documentation begins with; `None` for what nobody sends.
fn meaning(command: Command) -> Option<String> {
    Some(match command {
        Command::Stop { ending: StopEnding::ByTerm } => "Graceful stop, then end by TERM".into(),
        Command::Stop { ending: StopEnding::Success } => "Graceful stop, exit status 0".into(),
        Command::Halt => "Quick stop, exit status 0".into(),
        Command::Restart(Kind::Full) => "Restart".into(),
        Command::Restart(Kind::Phased) => "Phased restart".into(),
        Command::Restart(Kind::Refork) => "Refork".into(),
        Command::Workers(WorkersChange::More(by)) => format!("{by} worker more"),
        Command::Workers(WorkersChange::Fewer { by, least }) => {
            format!("{by} worker less, but not less than {least}")
        }
        Command::Workers(WorkersChange::Exactly(count)) => format!("{count} workers"),
        Command::ReopenLogs => "Log files are opened anew".into(),
        Command::Backtraces => "Backtraces of all workers to the log".into(),
        Command::Reap => return None,
    })
}

#[test]
fn the_documentation_has_the_rows_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/signals.md");
    let text = fs::read_to_string(path).unwrap();
    for (heading, table) in [("## As Puma", PUMA), ("## As Unicorn", UNICORN)] {
        let section = text.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let mut rows = section.lines().filter(|line| line.starts_with("| `"));
        for &(number, command) in table {
            let Some(meaning) = meaning(command) else { continue };
            let name = Signal::try_from(number).unwrap().as_str();
            let begin = format!("| `{}` | {meaning}", name.trim_start_matches("SIG"));
            let row = rows.next().unwrap_or_default();
            assert!(row.starts_with(&begin), "{heading}: {begin}, not {row}");
        }
        assert_eq!(rows.next(), None, "{heading}");
    }
}
