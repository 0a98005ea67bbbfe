//! What a test runner asks of a test program: `--list`, `--ignored`, `--exact`, names.

/// What the command line asks for.
pub(crate) struct Request {
    /// Only print the names.
    pub(crate) list: bool,
    /// Only ignored cases, of which there are none.
    ignored: bool,
    /// Names are whole, not parts.
    exact: bool,
    names: Vec<String>,
}

impl Request {
    pub(crate) fn new(arguments: &[String]) -> Self {
        let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
        // `--format terse` is the one flag with a value that runners pass.
        let names = arguments.iter().filter(|word| !word.starts_with('-') && *word != "terse");
        Self {
            list: has("--list"),
            ignored: has("--ignored"),
            exact: has("--exact"),
            names: names.cloned().collect(),
        }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        let is_named =
            |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        !self.ignored && (self.names.is_empty() || self.names.iter().any(is_named))
    }
}
