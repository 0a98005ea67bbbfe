//! A report as a person reads it.

use std::fmt;

use super::report::{Phase, Report};

/// The headings of the clients' table.
const HEADINGS: [&str; 9] = [
    "client",
    "requests",
    "answered",
    "lost",
    "refused",
    "closed idle",
    "p99 ms",
    "max ms",
    "gap ms",
];

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_phase(to, "base line, no restart", &self.base_line)?;
        writeln!(to)?;
        write_phase(to, &format!("{} restarts", self.restarts.len()), &self.restarted)?;
        writeln!(to)?;
        let took: Vec<_> = self.restarts.iter().map(|restart| restart.took_s).collect();
        let longest = took.iter().copied().fold(0.0, f64::max);
        writeln!(to, "longest restart: {longest:.2} s")?;
        writeln!(to, "gap above the base line's: {:.1} ms", self.gap_above_base_line_ms())?;
        let markers = &self.markers;
        let rule = if markers.monotonic { "faults" } else { "allowed" };
        writeln!(
            to,
            "releases: {} too old, {} late, {} early; {} steps back ({rule})",
            markers.older, markers.late, markers.early, markers.steps_back,
        )?;
        write_list(to, &markers.first)?;
        match self.faults().as_slice() {
            [] => write!(to, "no fault"),
            faults => write!(to, "FAULTS\n  {}", faults.join("\n  ")),
        }
    }
}

fn write_phase(to: &mut fmt::Formatter<'_>, name: &str, phase: &Phase) -> fmt::Result {
    writeln!(
        to,
        "{name}: {:.1} s, {} requests, {} lost, {} refused",
        phase.seconds, phase.requests, phase.lost, phase.refused,
    )?;
    let fast = &phase.fast;
    writeln!(
        to,
        "fast GETs: {} answered, p99 {:.1} ms, max {:.1} ms, longest gap {:.1} ms at {:.3} s",
        fast.answered, fast.p99_ms, fast.longest_ms, fast.gap_ms, fast.gap_at_s,
    )?;
    let pid_file = &phase.pid_file;
    writeln!(
        to,
        "pid file: {} looks, {} faults (longest {:.1} ms), {} processes, longest blink {:.1} ms",
        pid_file.looks,
        pid_file.faults,
        pid_file.longest_fault_ms,
        pid_file.processes,
        pid_file.longest_blink_ms,
    )?;
    write_list(to, &pid_file.first_faults)?;
    write_clients(to, phase)?;
    write_list(to, &phase.first_failures)
}

fn write_clients(to: &mut fmt::Formatter<'_>, phase: &Phase) -> fmt::Result {
    let lines = phase.clients.iter().map(|client| {
        [
            client.name.clone(),
            client.requests.to_string(),
            client.answered.to_string(),
            client.lost.to_string(),
            client.refused.to_string(),
            client.closed_idle.to_string(),
            format!("{:.1}", client.p99_ms),
            format!("{:.1}", client.longest_ms),
            format!("{:.1}", client.gap_ms),
        ]
    });
    let lines: Vec<_> = [HEADINGS.map(str::to_owned)].into_iter().chain(lines).collect();
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].len()).max().unwrap_or_default()
    });
    for line in &lines {
        write!(to, "  {:<width$}", line[0], width = widths[0])?;
        for (cell, width) in line.iter().zip(widths).skip(1) {
            write!(to, "  {cell:>width$}")?;
        }
        writeln!(to)?;
    }
    Ok(())
}

fn write_list(to: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(to, "  - {line}"))
}
