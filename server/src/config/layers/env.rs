//! Settings from environment variables: the table of those that are read.

use crate::config::{ConfigError, Environment, Given, Settings, Source, value};

/// One environment variable that sets something.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// The setting, by its flag's long name where it has one.
    pub(crate) setting: &'static str,
    pub(crate) help: &'static str,
    apply: fn(&mut Settings, &Given<'_>) -> Result<(), ConfigError>,
}

/// What is read, the weaker of two names for one setting first (Puma's `Configuration`). `PORT` and
/// `RAILS_MAX_THREADS` are not here: with Puma it is the generated config file that reads them.
pub(crate) const VARIABLES: &[Variable] = &[
    Variable {
        name: "PWD",
        setting: "dir",
        help: "as entered, through symlinks, if we are there",
        // Read where the surroundings are: `Environment::of_process`.
        apply: |_, _| Ok(()),
    },
    Variable {
        name: "RAILS_ENV",
        setting: "environment",
        help: "used when neither APP_ENV nor RACK_ENV is set",
        apply: |settings, given| given.fill(&mut settings.environment, value::word),
    },
    Variable {
        name: "RACK_ENV",
        setting: "environment",
        help: "used when APP_ENV is not set",
        apply: |settings, given| given.fill(&mut settings.environment, value::word),
    },
    Variable {
        name: "APP_ENV",
        setting: "environment",
        help: "the name; before RACK_ENV and RAILS_ENV",
        apply: |settings, given| given.fill(&mut settings.environment, value::word),
    },
    Variable {
        name: "WEB_CONCURRENCY",
        setting: "workers",
        help: "a number of workers, or auto",
        apply: |settings, given| given.fill(&mut settings.workers, value::workers),
    },
    Variable {
        name: "MIN_THREADS",
        setting: "threads",
        help: "the minimum, when PUMA_MIN_THREADS is not set",
        apply: |settings, given| given.fill(&mut settings.threads_min, value::thread_count),
    },
    Variable {
        name: "PUMA_MIN_THREADS",
        setting: "threads",
        help: "the minimum",
        apply: |settings, given| given.fill(&mut settings.threads_min, value::thread_count),
    },
    Variable {
        name: "MAX_THREADS",
        setting: "threads",
        help: "the maximum, when PUMA_MAX_THREADS is not set",
        apply: |settings, given| given.fill(&mut settings.threads_max, value::thread_count),
    },
    Variable {
        name: "PUMA_MAX_THREADS",
        setting: "threads",
        help: "the maximum",
        apply: |settings, given| given.fill(&mut settings.threads_max, value::thread_count),
    },
    Variable {
        name: "PUMA_PERSISTENT_TIMEOUT",
        setting: "persistent-timeout",
        help: "seconds",
        apply: |settings, given| {
            given.fill(&mut settings.limits.persistent_timeout, value::seconds)
        },
    },
    Variable {
        name: "RUBY_YJIT_ENABLE",
        setting: "yjit",
        help: "1, true, yes or on, as Ruby reads it",
        apply: |settings, given| given.fill(&mut settings.yjit, |text| Ok(value::ruby_truth(text))),
    },
    Variable {
        name: "SCRIPT_NAME",
        setting: "script-name",
        help: "where the application is mounted, such as /shop",
        apply: |settings, given| given.fill(&mut settings.script_name, value::script_name),
    },
];

/// Takes what the environment says. A blank variable counts as not set.
///
/// # Errors
///
/// The first variable that cannot be obeyed.
pub(crate) fn apply(settings: &mut Settings, environment: &Environment) -> Result<(), ConfigError> {
    for variable in VARIABLES {
        let Some(value) = environment.filled(variable.name) else { continue };
        let source = Source::Environment(variable.name);
        let shown = value.to_string_lossy();
        let given = Given { name: variable.setting, text: &shown, source };
        if value.to_str().is_none() && variable.name != "PWD" {
            return Err(given.refuse("it is not UTF-8"));
        }
        (variable.apply)(settings, &given)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, num::NonZero, os::unix::ffi::OsStringExt, time::Duration};

    use super::*;
    use crate::config::value::Workers;

    fn with(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(k, v)| (k.into(), v.into())).collect(),
            working_directory: None,
            cpus: NonZero::<usize>::MIN,
            ipv6: false,
        }
    }

    fn applied(variables: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        apply(&mut settings, &with(variables)).unwrap();
        settings
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        apply(&mut Settings::default(), &with(variables)).unwrap_err().to_string()
    }

    #[test]
    fn the_first_of_three_names_wins() {
        let all = [("RAILS_ENV", "c"), ("RACK_ENV", "b"), ("APP_ENV", "a")];
        assert_eq!(applied(&all).environment.value, "a");
        assert_eq!(applied(&all[..2]).environment.value, "b");
        assert_eq!(applied(&all[..1]).environment.value, "c");
        assert_eq!(applied(&[]).environment.value, "development");
        let blank = applied(&[("APP_ENV", ""), ("RACK_ENV", "production")]);
        assert_eq!(blank.environment.value, "production");
        assert_eq!(blank.environment.source, Source::Environment("RACK_ENV"));
    }

    #[test]
    fn threads_come_from_two_pairs_of_names() {
        let both = applied(&[
            ("MIN_THREADS", "1"),
            ("PUMA_MIN_THREADS", "2"),
            ("MAX_THREADS", "9"),
            ("PUMA_MAX_THREADS", "8"),
        ]);
        assert_eq!((both.threads_min.value, both.threads_max.value), (2, 8));
        let plain = applied(&[("MIN_THREADS", "1"), ("MAX_THREADS", "9")]);
        assert_eq!((plain.threads_min.value, plain.threads_max.value), (1, 9));
    }

    #[test]
    fn web_concurrency_may_be_blank_or_auto() {
        assert_eq!(applied(&[("WEB_CONCURRENCY", "4")]).workers.value, Workers::Count(4));
        assert_eq!(applied(&[("WEB_CONCURRENCY", " ")]).workers.value, Workers::Count(0));
        assert_eq!(applied(&[("WEB_CONCURRENCY", "auto")]).workers.value, Workers::Auto);
        assert!(refused(&[("WEB_CONCURRENCY", "many")]).starts_with(
            "cannot use workers = many ($WEB_CONCURRENCY): it must be a whole number"
        ));
    }

    #[test]
    fn yjit_needs_a_true_word() {
        assert!(applied(&[("RUBY_YJIT_ENABLE", "1")]).yjit.value);
        assert!(!applied(&[("RUBY_YJIT_ENABLE", "0")]).yjit.value);
    }

    #[test]
    fn the_rest_is_read() {
        let settings = applied(&[("PUMA_PERSISTENT_TIMEOUT", "20"), ("SCRIPT_NAME", "/shop")]);
        assert_eq!(settings.limits.persistent_timeout.value, Duration::from_secs(20));
        assert_eq!(settings.script_name.value, "/shop");
        assert!(refused(&[("SCRIPT_NAME", "shop")]).contains("must begin with a slash"));
    }

    #[test]
    fn what_puma_leaves_to_its_config_file_is_not_read() {
        let settings = applied(&[("PORT", "3000"), ("RAILS_MAX_THREADS", "3")]);
        assert_eq!(settings.binds.source, Source::Default);
        assert_eq!(settings.threads_max.source, Source::Default);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let mut environment = with(&[]);
        environment.variables.insert("APP_ENV".into(), OsString::from_vec(vec![0xff]));
        let error = apply(&mut Settings::default(), &environment).unwrap_err();
        assert!(error.to_string().ends_with("($APP_ENV): it is not UTF-8"), "{error}");
        assert_eq!(error.exit_code(), 78);
    }
}
