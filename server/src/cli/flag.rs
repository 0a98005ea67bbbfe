//! What the table says of one flag.

use crate::config::{ConfigError, Given, Settings, ShowFormat};

/// One flag, written once; see the modules of `flags`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Without dashes; also the name of the setting in messages.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// Other long names.
    pub(crate) aliases: &'static [&'static str],
    /// Other letters.
    pub(crate) short_aliases: &'static [char],
    pub(crate) takes: Takes,
    pub(crate) heading: Heading,
    /// One line for `-h`, without a full stop.
    pub(crate) help: &'static str,
    /// Sentences that `--help`, the man page and the reference add; may be empty.
    pub(crate) more: &'static str,
    /// Each further one adds to the list; else the last one wins.
    pub(crate) repeatable: bool,
    pub(crate) effect: Effect,
}

impl Flag {
    /// The parts that a flag need not write.
    pub(crate) const PLAIN: Self = Self {
        long: "",
        short: None,
        aliases: &[],
        short_aliases: &[],
        takes: Takes::Nothing,
        heading: Heading::About,
        help: "",
        more: "",
        repeatable: false,
        effect: Effect::Accepted,
    };

    /// The line of `-h`.
    pub(crate) fn short_help(&self) -> String {
        let repeatable = if self.repeatable { " (repeatable)" } else { "" };
        format!("{}{repeatable}", self.help)
    }

    /// The line, and what there is to add.
    pub(crate) fn long_help(&self) -> String {
        let line = self.short_help();
        if self.more.is_empty() { line } else { format!("{line}. {}", self.more) }
    }

    /// `--threads <MIN:MAX>`, as a person types it.
    pub(crate) fn usage(&self) -> String {
        match self.takes {
            Takes::Nothing => format!("--{}", self.long),
            Takes::Value(name, _) => format!("--{} <{name}>", self.long),
            Takes::Optional { name, .. } => format!("--{}[=<{name}>]", self.long),
        }
    }
}

/// The value behind a flag.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Takes {
    Nothing,
    /// The name in the help, and what it is.
    Value(&'static str, Kind),
    /// As `--flag=VALUE`, or `-fVALUE` where there is a letter; `missing` stands for the flag alone.
    Optional {
        name: &'static str,
        missing: &'static str,
        kind: Kind,
    },
}

/// What a value is, for completions, and for the parser where it is one of some words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    File,
    Directory,
    OneOf(&'static [&'static str]),
}

/// The groups of the help, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heading {
    Listening,
    Application,
    Workers,
    Running,
    Log,
    Upkeep,
    Limits,
    /// Puma's words that change nothing here.
    Accepted,
    /// Puma's words that wait for a later version.
    NotYet,
    About,
}

impl Heading {
    pub(crate) const ALL: [Self; 10] = [
        Self::Listening,
        Self::Application,
        Self::Workers,
        Self::Running,
        Self::Log,
        Self::Upkeep,
        Self::Limits,
        Self::Accepted,
        Self::NotYet,
        Self::About,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Listening => "Listening",
            Self::Application => "Application",
            Self::Workers => "Workers and threads",
            Self::Running => "Running",
            Self::Log => "Log",
            Self::Upkeep => "Watching and replacing workers",
            Self::Limits => "Limits",
            Self::Accepted => "Accepted for Puma",
            Self::NotYet => "Puma's, not yet here",
            Self::About => "About",
        }
    }

    /// Whether `-h` shows the group; `--help` shows all.
    pub(crate) const fn in_short_help(self) -> bool {
        !matches!(self, Self::Accepted | Self::NotYet)
    }
}

/// What a flag does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// Sets something.
    Set(fn(&mut Settings, &Given<'_>) -> Result<(), ConfigError>),
    /// Asks for something other than serving.
    Act(fn(&str) -> Action),
    Help,
    Version,
    /// What it asks for is always so.
    Accepted,
    /// Harmless to leave out, for this reason, which the operator is told.
    Ignored(&'static str),
    /// Cannot be honoured by this version, for this reason.
    NotYet(&'static str),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Serve,
    Check,
    Show(ShowFormat),
    Generate(Product),
}

/// What can be generated from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Man,
    Bash,
    Zsh,
    Fish,
    Markdown,
}

impl Product {
    /// The words of `--generate`, each with its product.
    pub(crate) const ALL: [(&'static str, Self); 5] = [
        ("man", Self::Man),
        ("complete-bash", Self::Bash),
        ("complete-zsh", Self::Zsh),
        ("complete-fish", Self::Fish),
        ("markdown", Self::Markdown),
    ];
}
