//! Layers: which source wins, what is checked across settings, and what is warned of.

use std::{ffi::OsString, fs, num::NonZero, os::unix::ffi::OsStringExt};

use tempfile::TempDir;

use super::*;
use crate::config::{LogLevel, Source};

const FLAG: Source = Source::Flag("threads");

fn folder(rackup: &str) -> (TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.ru"), rackup).unwrap();
    let environment = Environment {
        variables: [].into(),
        working_directory: Some(folder.path().to_owned()),
        cpus: NonZero::new(2).unwrap(),
        ipv6: false,
    };
    (folder, environment)
}

fn set(environment: &mut Environment, name: &str, value: &str) {
    environment.variables.insert(name.into(), value.into());
}

#[test]
fn each_source_is_stronger_than_the_one_below() {
    let (folder, mut environment) = folder("run App");
    let name = |settings: Settings, environment: &Environment| {
        resolve(settings, environment).unwrap().config.environment
    };
    assert_eq!(name(Settings::default(), &environment), "development");
    set(&mut environment, "RACK_ENV", "from-variable");
    assert_eq!(name(Settings::default(), &environment), "from-variable");
    fs::write(folder.path().join("config.ru"), "#\\ -E from-line\n").unwrap();
    assert_eq!(name(Settings::default(), &environment), "from-line");
    let mut settings = Settings::default();
    settings.environment.set("from-flag".to_owned(), Source::Flag("environment"));
    assert_eq!(name(settings, &environment), "from-flag");
}

#[test]
fn a_stronger_list_of_binds_replaces_the_weaker_one() {
    let (_folder, environment) = folder("#\\ -p 3000\n");
    let binds = |settings| resolve(settings, &environment).unwrap().config.binds;
    assert_eq!(binds(Settings::default()), [every_address(3000, false)]);
    let mut settings = Settings::default();
    settings.listen(Listen::Uri("unix://@a".to_owned()), Source::Flag("bind"));
    settings.listen(Listen::Port(4000), Source::Flag("port"));
    let names: Vec<_> = binds(settings).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["unix://@a", "tcp://0.0.0.0:4000"]);
}

#[test]
fn threads_from_two_sources_must_agree() {
    let (_folder, mut environment) = folder("");
    set(&mut environment, "PUMA_MIN_THREADS", "9");
    let error = resolve(Settings::default(), &environment).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot use threads = 9:5 ($PUMA_MIN_THREADS): the minimum ($PUMA_MIN_THREADS) is above the \
         maximum (the default); give both"
    );
    assert_eq!(error.exit_code(), 78);
    // A flag replaces both.
    let mut settings = Settings::default();
    settings.threads_min.set(1, FLAG);
    settings.threads_max.set(2, FLAG);
    assert_eq!(resolve(settings, &environment).unwrap().config.threads, Threads { min: 1, max: 2 });
    set(&mut environment, "PUMA_MAX_THREADS", "16");
    let threads = resolve(Settings::default(), &environment).unwrap().config.threads;
    assert_eq!(threads, Threads { min: 9, max: 16 });
}

#[test]
fn auto_counts_the_cpus_up_to_the_limit() {
    let (_folder, mut environment) = folder("");
    set(&mut environment, "WEB_CONCURRENCY", "auto");
    let workers = |environment: &Environment| {
        resolve(Settings::default(), environment).unwrap().config.workers
    };
    assert_eq!(workers(&environment), 2);
    environment.cpus = NonZero::new(1_000_000).unwrap();
    assert_eq!(workers(&environment), WORKERS_MAX);
}

#[test]
fn relative_paths_start_at_dir() {
    let (folder, environment) = folder("");
    fs::create_dir(folder.path().join("app")).unwrap();
    let app = folder.path().join("app");
    let mut settings = Settings::default();
    settings.directory.set(Some("./app".into()), Source::Flag("dir"));
    settings.rackup.set("other.ru".into(), Source::Argument);
    settings.pid_file.set("tmp/a.pid".into(), Source::Flag("pidfile"));
    settings.redirect_stdout.set(Some("log/out".into()), Source::Flag("redirect-stdout"));
    settings.load_paths.add("lib".into(), Source::Flag("include"));
    settings.listen(Listen::Uri("unix://tmp/a.sock".to_owned()), Source::Flag("bind"));
    let config = resolve(settings, &environment).unwrap().config;
    assert_eq!(config.directory, app);
    assert_eq!(config.rackup, app.join("other.ru"));
    assert_eq!(config.pid_file, app.join("tmp/a.pid"));
    assert_eq!(config.redirect.stdout, Some(app.join("log/out")));
    assert_eq!(config.load_paths, [app.join("lib")]);
    assert_eq!(config.binds[0].to_string(), format!("unix://{}/tmp/a.sock", app.display()));
    assert_eq!(config.tag, "app");
}

#[test]
fn the_directory_must_be_there_and_be_text() {
    let (folder, mut environment) = folder("");
    environment.working_directory = None;
    let error = resolve(Settings::default(), &environment).unwrap_err();
    assert!(matches!(error, ConfigError::NoDirectory), "{error}");
    // A full path needs no start.
    let mut settings = Settings::default();
    settings.directory.set(Some(folder.path().to_owned()), Source::Flag("dir"));
    assert!(resolve(settings, &environment).is_ok());
    let strange = folder.path().join(OsString::from_vec(vec![b'a', 0xff]));
    fs::create_dir(&strange).unwrap();
    environment.working_directory = Some(strange);
    let error = resolve(Settings::default(), &environment).unwrap_err();
    assert!(error.to_string().contains("the path is not UTF-8"), "{error}");
}

#[test]
fn a_config_file_that_puma_would_read_is_warned_of() {
    let (folder, mut environment) = folder("");
    let warnings = |settings: &Settings, environment: &Environment| {
        resolve(settings.clone(), environment).unwrap().warnings
    };
    let mut settings = Settings::default();
    assert_eq!(warnings(&settings, &environment), Vec::<String>::new());
    fs::create_dir_all(folder.path().join("config/puma")).unwrap();
    fs::write(folder.path().join("config/puma/production.rb"), "").unwrap();
    assert_eq!(warnings(&settings, &environment), Vec::<String>::new());
    set(&mut environment, "RACK_ENV", "production");
    let said = warnings(&settings, &environment);
    assert!(
        said[0].starts_with("config/puma/production.rb is not read by this version"),
        "{said:?}"
    );
    environment.variables.clear();
    fs::write(folder.path().join("config/puma.rb"), "").unwrap();
    let said = warnings(&settings, &environment);
    assert!(said[0].starts_with("config/puma.rb is not read by this version"), "{said:?}");
    settings.config_file.set(ConfigFile::Unwanted, Source::Flag("no-config"));
    assert_eq!(warnings(&settings, &environment), Vec::<String>::new());
}

#[test]
fn options_of_the_rackup_file_that_are_not_obeyed_are_warned_of() {
    let (_folder, environment) = folder("#\\ -w -s thin\n");
    let warnings = resolve(Settings::default(), &environment).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "-w in line 1 of the rackup file is ignored",
            "-s in line 1 of the rackup file is ignored"
        ]
    );
}

#[test]
fn a_configuration_survives_its_way_to_the_mold() {
    let (_folder, mut environment) = folder("");
    set(&mut environment, "SCRIPT_NAME", "/shop");
    let mut settings = Settings::default();
    settings
        .listen(Listen::Uri("unix://a b?umask=0117&mode=0600".to_owned()), Source::Flag("bind"));
    settings.listen(Listen::Uri("unix://@name".to_owned()), Source::Flag("bind"));
    settings.listen(Listen::Port(80), Source::Flag("port"));
    settings.redirect_stderr.set(Some("log/é".into()), Source::Flag("redirect-stderr"));
    settings.log.set(LogLevel::Silent, Source::Flag("silent"));
    settings.limits.write_timeout.set(std::time::Duration::from_millis(1), FLAG);
    settings.limits.request_body_bytes_max.set(u64::MAX, FLAG);
    let config = resolve(settings, &environment).unwrap().config;
    let travelled: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(travelled, config);
}
