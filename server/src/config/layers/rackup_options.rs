//! Settings from the `#\` line at the top of a rackup file, as Rack 2's `rackup` reads them.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use crate::config::{ConfigError, Given, Listen, Settings, Source, value};

/// A longer first line is cut here.
const OPTION_LINE_BYTES_MAX: u64 = 4096;
/// `rackup`'s port, for a host without a port.
const RACKUP_PORT: u16 = 9292;
/// UTF-8's byte order mark, which Rack drops too.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Takes what the first line of the rackup file says, and gives a warning for each option that is
/// not obeyed. A file that is not there says nothing: the mold reports that better.
///
/// # Errors
///
/// A file that cannot be read, or a value that cannot be obeyed.
pub(crate) fn apply(settings: &mut Settings, rackup: &Path) -> Result<Vec<String>, ConfigError> {
    let line = first_line(rackup)
        .map_err(|source| ConfigError::OptionLine { path: rackup.to_owned(), source })?;
    line.strip_prefix("#\\").map_or(Ok(Vec::new()), |options| obey(settings, options))
}

fn first_line(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(OPTION_LINE_BYTES_MAX).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_start_matches(BYTE_ORDER_MARK).lines().next().unwrap_or_default().to_owned())
}

/// What one word of the line is.
enum Word<'a> {
    Port(Option<&'a str>),
    Host(Option<&'a str>),
    Environment(Option<&'a str>),
    Other,
}

/// Splits `-p9292`, `--port=9292` and a bare `-p` alike.
fn recognise(word: &str) -> Word<'_> {
    let long = |name: &str| match word.strip_prefix(name)? {
        "" => Some(None),
        rest => rest.strip_prefix('=').map(Some),
    };
    let short = |name: &str| word.strip_prefix(name).map(|rest| (!rest.is_empty()).then_some(rest));
    if let Some(value) = long("--port").or_else(|| short("-p")) {
        return Word::Port(value);
    }
    if let Some(value) = long("--host").or_else(|| short("-o")) {
        return Word::Host(value);
    }
    if let Some(value) = long("--env").or_else(|| short("-E")) {
        return Word::Environment(value);
    }
    Word::Other
}

fn obey(settings: &mut Settings, options: &str) -> Result<Vec<String>, ConfigError> {
    let mut words = options.split_whitespace().peekable();
    let mut warnings = Vec::new();
    let (mut host, mut port) = (None, None);
    while let Some(word) = words.next() {
        let known = recognise(word);
        let mut value = |attached: Option<&str>, name: &'static str| match attached
            .map(str::to_owned)
            .or_else(|| words.next().map(str::to_owned))
        {
            Some(value) => Ok(value),
            None => Err(given(name, "").refuse(format!("{word} needs a value"))),
        };
        match known {
            Word::Port(attached) => {
                port = Some(given("port", &value(attached, "port")?).read(value::port)?);
            }
            Word::Host(attached) => host = Some(value(attached, "host")?),
            Word::Environment(attached) => {
                let name = value(attached, "environment")?;
                given("environment", &name).fill(&mut settings.environment, value::word)?;
            }
            Word::Other => {
                warnings.push(format!("{word} in line 1 of the rackup file is ignored"));
                // Its value, if it has one, goes with it.
                words.next_if(|next| !next.starts_with('-'));
            }
        }
    }
    listen(settings, host, port);
    Ok(warnings)
}

fn given<'a>(name: &'static str, text: &'a str) -> Given<'a> {
    Given { name, text, source: Source::OptionLine }
}

fn listen(settings: &mut Settings, host: Option<String>, port: Option<u16>) {
    let place = match (host, port) {
        (None, None) => return,
        (None, Some(port)) => Listen::Port(port),
        (Some(host), port) => {
            let port = port.unwrap_or(RACKUP_PORT);
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            let host = if bare_v6 { format!("[{host}]") } else { host };
            Listen::Uri(format!("tcp://{host}:{port}"))
        }
    };
    settings.listen(place, Source::OptionLine);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::setting::Setting;

    fn read(content: &[u8]) -> Result<(Settings, Vec<String>), ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let rackup = folder.path().join("config.ru");
        fs::write(&rackup, content).unwrap();
        let mut settings = Settings::default();
        let warnings = apply(&mut settings, &rackup)?;
        Ok((settings, warnings))
    }

    fn place(content: &str) -> Listen {
        let (settings, warnings) = read(content.as_bytes()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(settings.binds.source, Source::OptionLine);
        let [Setting { value, .. }] = settings.binds.value.as_slice() else { panic!("one bind") };
        value.clone()
    }

    #[test]
    fn port_host_and_environment_are_obeyed_in_every_spelling() {
        for line in ["#\\ -p 3000", "#\\ -p3000", "#\\--port 3000", "#\\ --port=3000\nrun App"] {
            assert_eq!(place(line), Listen::Port(3000), "{line}");
        }
        assert_eq!(place("#\\ -o ::1 -p 80"), Listen::Uri("tcp://[::1]:80".to_owned()));
        assert_eq!(place("#\\ --host localhost"), Listen::Uri("tcp://localhost:9292".to_owned()));
        let (settings, _) = read(b"#\\ -E staging").unwrap();
        assert_eq!(settings.environment.value, "staging");
        assert_eq!(settings.binds.source, Source::Default);
    }

    #[test]
    fn what_is_not_obeyed_is_warned_of_together_with_its_value() {
        let (settings, warnings) = read(b"#\\ -s puma -w -d -O Max=3 -E test").unwrap();
        let words: Vec<_> = warnings.iter().map(|w| w.split(' ').next().unwrap()).collect();
        assert_eq!(words, ["-s", "-w", "-d", "-O"]);
        assert_eq!(warnings[0], "-s in line 1 of the rackup file is ignored");
        assert_eq!(settings.environment.value, "test");
    }

    #[test]
    fn only_the_first_line_counts_after_a_byte_order_mark_at_most() {
        let (settings, _) = read(b"# hello\n#\\ -E test\n").unwrap();
        assert_eq!(settings.environment.source, Source::Default);
        let (settings, _) = read("\u{feff}#\\ -E test\n".as_bytes()).unwrap();
        assert_eq!(settings.environment.source, Source::OptionLine);
        let (settings, _) = read(b"\xff\xfe run App").unwrap();
        assert_eq!(settings.environment.source, Source::Default);
        let (settings, _) = read(b"").unwrap();
        assert_eq!(settings.environment.source, Source::Default);
    }

    #[test]
    fn wrong_values_name_the_line() {
        let refused = |line: &str| read(line.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            refused("#\\ -p 70000"),
            "cannot use port = 70000 (line 1 of the rackup file): the port must be a number from 0 \
             to 65535"
        );
        assert!(refused("#\\ -E").ends_with("-E needs a value"));
    }

    #[test]
    fn a_missing_file_says_nothing_and_a_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        assert!(apply(&mut settings, &folder.path().join("none.ru")).unwrap().is_empty());
        let error = apply(&mut settings, folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 66);
        assert!(error.to_string().starts_with("cannot read the rackup file /"), "{error}");
    }
}
