//! A value together with the source it came from, and the refusal that names both.

use std::fmt;

use super::ConfigError;

/// Where a value came from; shown by `rackrs --show-config` and in every error about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The environment variable of this name.
    Environment(&'static str),
    /// The `#\` line, first in the rackup file (Rack 2, `Rack::Builder.load_file`).
    OptionLine,
    /// The flag of this long name, written without dashes.
    Flag(&'static str),
    /// The word on the command line that is no flag: the rackup file.
    Argument,
}

impl Source {
    /// Strength: the default is the weakest, a flag the strongest.
    pub(crate) const fn level(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Environment(_) => 1,
            Self::OptionLine => 2,
            Self::Flag(_) | Self::Argument => 3,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::Environment(name) => write!(f, "${name}"),
            Self::OptionLine => f.write_str("line 1 of the rackup file"),
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Argument => f.write_str("the argument"),
        }
    }
}

/// A value and the source it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) source: Source,
}

impl<T> Setting<T> {
    pub(crate) const fn default(value: T) -> Self {
        Self { value, source: Source::Default }
    }

    /// Takes `value` unless the present one comes from a stronger source. Within one level the
    /// later one wins, so that the layers may be applied in any order.
    pub(crate) fn set(&mut self, value: T, source: Source) {
        if source.level() >= self.source.level() {
            *self = Self { value, source };
        }
    }
}

impl<T> Setting<Vec<T>> {
    /// Adds within one level; a stronger level replaces what a weaker one listed.
    pub(crate) fn add(&mut self, value: T, source: Source) {
        if source.level() == self.source.level() && source != Source::Default {
            self.value.push(value);
        } else {
            self.set(vec![value], source);
        }
    }
}

/// A text as some source gave it, on its way to becoming the value of a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    /// The setting, by the long name of its flag where it has one.
    pub(crate) name: &'static str,
    pub(crate) text: &'a str,
    pub(crate) source: Source,
}

impl Given<'_> {
    /// The error that says why this text cannot be the value.
    pub(crate) fn refuse(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Refused {
            name: self.name,
            value: self.text.to_owned(),
            from: self.source,
            reason: reason.into(),
        }
    }

    /// The text as a value; the parser's error is the reason of the refusal.
    pub(crate) fn read<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        parse(self.text).map_err(|reason| self.refuse(reason))
    }

    /// Reads the text into `setting`.
    pub(crate) fn fill<T>(
        &self,
        setting: &mut Setting<T>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<(), ConfigError> {
        setting.set(self.read(parse)?, self.source);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Source; 4] =
        [Source::Default, Source::Environment("X"), Source::OptionLine, Source::Flag("x")];

    #[test]
    fn a_stronger_source_replaces_a_weaker_one_in_any_order() {
        for (i, first) in ALL.into_iter().enumerate() {
            for (j, second) in ALL.into_iter().enumerate() {
                let mut setting = Setting { value: "first", source: first };
                setting.set("second", second);
                assert_eq!(setting.value, if j >= i { "second" } else { "first" });
            }
        }
    }

    #[test]
    fn lists_accumulate_inside_one_level_only() {
        let mut list = Setting::default(vec![0]);
        list.add(1, Source::Flag("bind"));
        list.add(2, Source::Flag("port"));
        list.add(3, Source::OptionLine);
        assert_eq!(list.value, [1, 2]);
        assert_eq!(list.source, Source::Flag("bind"));
    }

    #[test]
    fn a_refusal_names_the_value_and_its_source() {
        let refuse =
            |source| Given { name: "workers", text: "x", source }.refuse("why").to_string();
        assert_eq!(refuse(Source::Flag("workers")), "cannot use --workers = x (the flag): why");
        assert_eq!(
            refuse(Source::Environment("WEB_CONCURRENCY")),
            "cannot use workers = x ($WEB_CONCURRENCY): why"
        );
        assert_eq!(
            refuse(Source::OptionLine),
            "cannot use workers = x (line 1 of the rackup file): why"
        );
        assert_eq!(refuse(Source::Default), "cannot use workers = x (the default): why");
    }
}
