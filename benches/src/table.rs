//! The comparison's rows, and how they are printed.

use std::fmt::Write;

use serde::Serialize;

use crate::load::Summary;

/// One server under one case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The application.
    pub case: &'static str,
    /// How it was reached.
    pub transport: &'static str,
    /// The server.
    pub server: &'static str,
    /// What the load generator saw.
    #[serde(flatten)]
    pub load: Summary,
    /// CPU time of the whole process tree for each good response, in microseconds.
    pub cpu_us_per_request: Option<f64>,
    /// Memory of the whole process tree after the load, in bytes.
    pub pss_bytes: u64,
}

const HEADINGS: [&str; 11] = [
    "case",
    "via",
    "server",
    "req/s",
    "x puma",
    "p50 ms",
    "p99 ms",
    "errors",
    "CPU us/req",
    "x puma",
    "PSS MB",
];

/// The rows as a Markdown table with ratios to Puma: how many times its requests per second, and
/// how many times its requests per CPU second.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let lines: Vec<[String; 11]> = rows
        .iter()
        .map(|row| {
            let puma = rows.iter().find(|other| {
                (other.server, other.case, other.transport) == ("puma", row.case, row.transport)
            });
            cells(row, puma)
        })
        .collect();
    let widths: [usize; 11] = std::array::from_fn(|column| {
        let cells = lines.iter().map(|line| line[column].len());
        cells.chain([HEADINGS[column].len()]).max().unwrap_or_default()
    });
    let mut text = String::new();
    push_line(&mut text, &HEADINGS.map(str::to_owned), &widths);
    let rules = std::array::from_fn(|column| match column {
        0..3 => "-".repeat(widths[column]),
        _ => format!("{}:", "-".repeat(widths[column] - 1)),
    });
    push_line(&mut text, &rules, &widths);
    for line in &lines {
        push_line(&mut text, line, &widths);
    }
    text
}

fn cells(row: &Row, puma: Option<&Row>) -> [String; 11] {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let decimal = |number: u64, unit: f64| format!("{:.1}", number as f64 / unit);
    let ratio = |ratio: Option<f64>| {
        ratio
            .filter(|ratio| ratio.is_finite())
            .map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    let speed = puma.map(|puma| row.load.requests_per_second / puma.load.requests_per_second);
    let thrift = puma
        .and_then(|puma| puma.cpu_us_per_request)
        .zip(row.cpu_us_per_request)
        .map(|(theirs, ours)| theirs / ours);
    #[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
    let milliseconds = |us: u64| format!("{:.2}", us as f64 / 1e3);
    [
        row.case.to_owned(),
        row.transport.to_owned(),
        row.server.to_owned(),
        format!("{:.0}", row.load.requests_per_second),
        ratio(speed),
        milliseconds(row.load.p50_us),
        milliseconds(row.load.p99_us),
        row.load.errors.to_string(),
        row.cpu_us_per_request.map_or("-".to_owned(), |us| format!("{us:.0}")),
        ratio(thrift),
        decimal(row.pss_bytes, 1e6),
    ]
}

fn push_line(text: &mut String, cells: &[String; 11], widths: &[usize; 11]) {
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let written = match column {
            0..3 => write!(text, "| {cell:<width$} "),
            _ => write!(text, "| {cell:>width$} "),
        };
        written.expect("writing to a String never fails");
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Outcome;

    fn row(server: &'static str, requests: u64, cpu: Option<f64>) -> Row {
        let mut outcome = Outcome { elapsed: Duration::from_secs(2), ..Outcome::default() };
        for _ in 0..requests {
            outcome.latencies.record(Duration::from_micros(1500));
        }
        Row {
            case: "hello",
            transport: "unix",
            server,
            load: outcome.summary(),
            cpu_us_per_request: cpu,
            pss_bytes: 12_345_678,
        }
    }

    #[test]
    fn ratios_are_to_puma_on_the_same_case() {
        let text = render(&[row("rackrs", 300, Some(50.0)), row("puma", 100, Some(200.0))]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        let cells: Vec<&str> = lines[2].split('|').map(str::trim).collect();
        assert_eq!(&cells[3..6], ["rackrs", "150", "3.00"]);
        assert_eq!(&cells[8..12], ["0", "50", "4.00", "12.3"]);
    }

    #[test]
    fn without_puma_there_are_no_ratios() {
        let text = render(&[row("thin", 0, None)]);
        let cells: Vec<&str> = text.lines().nth(2).unwrap().split('|').map(str::trim).collect();
        assert_eq!((cells[5], cells[10]), ("-", "-"));
    }
}
