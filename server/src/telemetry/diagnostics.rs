//! Warnings and errors of the parts that only know `tracing`: one line each on standard error.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::events;

/// Writes events of [`Level::WARN`] and above; spans and everything below cost nothing.
#[derive(Debug)]
struct Diagnostics;

/// From now on, and in every fork of this process, warnings and errors reach standard error.
///
/// In a process that has a subscriber already, such as a test's, that one stays.
pub fn install() {
    let _ = tracing::subscriber::set_global_default(Diagnostics);
}

impl Subscriber for Diagnostics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // A greater level is a more talkative one.
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        events::complain(&line.finish());
    }

    // Spans are never enabled, so their numbers mean nothing.
    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

/// `message (name: value, name: value)`; a line break in a value does not break the line.
#[derive(Debug, Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn finish(self) -> String {
        let Self { message, fields } = self;
        let line = if fields.is_empty() { message } else { format!("{message} ({fields})") };
        line.replace(['\r', '\n'], " ")
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let (text, name) = match field.name() {
            "message" => (&mut self.message, ""),
            name => (&mut self.fields, name),
        };
        let comma = if text.is_empty() { "" } else { ", " };
        let colon = if name.is_empty() { "" } else { ": " };
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{name}{colon}{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps the lines that [`Diagnostics`] would write.
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            Diagnostics.enabled(metadata)
        }
        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            self.0.lock().unwrap().push(line.finish());
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            Diagnostics.new_span(span)
        }
        fn record(&self, _span: &Id, _values: &Record<'_>) {}
        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
        fn enter(&self, _span: &Id) {}
        fn exit(&self, _span: &Id) {}
    }

    #[test]
    fn a_warning_is_one_line_with_its_fields_and_less_is_nothing() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::with_default(Kept(Arc::clone(&lines)), || {
            let error = "no room\nleft";
            tracing::error!(%error, errno = 24, text = "x", "cannot accept connections");
            tracing::warn!("a response body is longer than its content-length");
            tracing::info!("not told");
            tracing::info_span!("nor this").in_scope(|| tracing::debug!("nor that"));
        });
        assert_eq!(
            *lines.lock().unwrap(),
            [
                "cannot accept connections (error: no room left, errno: 24, text: x)",
                "a response body is longer than its content-length",
            ]
        );
    }
}
