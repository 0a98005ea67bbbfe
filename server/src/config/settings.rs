//! What the sources said, one [`Setting`] for each word, before anything is checked against another.

use std::{path::PathBuf, time::Duration};

use super::{
    ActivatedSockets, Limits, LogLevel, Personality, Upkeep,
    setting::{Setting, Source},
    value::Workers,
};

/// Where Cloud 66's proxy looks for the application.
pub(crate) const DEFAULT_BIND: &str = "unix:///tmp/web_server.sock";
/// Where Cloud 66's process manager looks for the master's pid.
pub(crate) const DEFAULT_PID_FILE: &str = "/tmp/web_server.pid";

/// A place to listen as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Puma's `-b`.
    Uri(String),
    /// Puma's `-p`: every address of the machine.
    Port(u16),
}

/// Puma's config file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigFile {
    /// Where Puma would look for it.
    Search,
    /// `-C -` or `--no-config`: not wanted.
    Unwanted,
}

/// Every setting with its source. A new field breaks the build in `resolve` and in `show`, which
/// take the struct apart.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) rackup: Setting<PathBuf>,
    /// `None` for the directory the process was started in.
    pub(crate) directory: Setting<Option<PathBuf>>,
    pub(crate) environment: Setting<String>,
    /// Each with its own source, since `--bind` and `--port` share a level.
    pub(crate) binds: Setting<Vec<Setting<Listen>>>,
    pub(crate) workers: Setting<Workers>,
    pub(crate) threads_min: Setting<u16>,
    pub(crate) threads_max: Setting<u16>,
    pub(crate) pid_file: Setting<PathBuf>,
    /// `None` for the name of the directory.
    pub(crate) tag: Setting<Option<String>>,
    pub(crate) load_paths: Setting<Vec<PathBuf>>,
    pub(crate) preload: Setting<bool>,
    pub(crate) daemon: Setting<bool>,
    pub(crate) log: Setting<LogLevel>,
    pub(crate) log_requests: Setting<bool>,
    pub(crate) redirect_stdout: Setting<Option<PathBuf>>,
    pub(crate) redirect_stderr: Setting<Option<PathBuf>>,
    pub(crate) redirect_append: Setting<bool>,
    pub(crate) yjit: Setting<bool>,
    pub(crate) early_hints: Setting<bool>,
    pub(crate) script_name: Setting<String>,
    pub(crate) config_file: Setting<ConfigFile>,
    pub(crate) personality: Setting<Personality>,
    pub(crate) activated_sockets: Setting<ActivatedSockets>,
    /// `None` for the place that follows from the pid file.
    pub(crate) control: Setting<Option<PathBuf>>,
    pub(crate) state_file: Setting<Option<PathBuf>>,
    pub(crate) upkeep: UpkeepSettings,
    pub(crate) limits: LimitSettings,
}

/// What keeps the workers healthy; see [`Upkeep`].
#[derive(Clone, Debug)]
pub(crate) struct UpkeepSettings {
    pub(crate) restart_batch: Setting<u16>,
    pub(crate) warmup: Setting<Vec<String>>,
    pub(crate) warmup_timeout: Setting<Duration>,
    pub(crate) worker_timeout: Setting<Option<Duration>>,
    pub(crate) request_timeout: Setting<Option<Duration>>,
    pub(crate) requests_max: Setting<Option<u64>>,
    pub(crate) requests_jitter: Setting<u64>,
    pub(crate) resident_bytes_max: Setting<Option<u64>>,
    pub(crate) proportional_bytes_max: Setting<Option<u64>>,
    pub(crate) refork_after: Setting<Option<u64>>,
}

/// The limits that can be set. The two that are Puma's constants (memory of a body, size of a head)
/// are in [`Limits`] only.
#[derive(Clone, Debug)]
pub(crate) struct LimitSettings {
    pub(crate) first_data_timeout: Setting<Duration>,
    pub(crate) persistent_timeout: Setting<Duration>,
    pub(crate) max_keep_alive: Setting<u32>,
    pub(crate) write_timeout: Setting<Duration>,
    pub(crate) request_body_bytes_max: Setting<u64>,
    pub(crate) queue_max: Setting<usize>,
    pub(crate) connections_max: Setting<usize>,
    pub(crate) load_timeout: Setting<Duration>,
    pub(crate) boot_timeout: Setting<Duration>,
    pub(crate) shutdown_timeout: Setting<Duration>,
    pub(crate) drain_idle_timeout: Setting<Duration>,
}

impl Settings {
    /// Adds a place to listen.
    pub(crate) fn listen(&mut self, place: Listen, source: Source) {
        self.binds.add(Setting { value: place, source }, source);
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rackup: Setting::default("config.ru".into()),
            directory: Setting::default(None),
            environment: Setting::default("development".to_owned()),
            binds: Setting::default(vec![Setting::default(Listen::Uri(DEFAULT_BIND.to_owned()))]),
            workers: Setting::default(Workers::Count(0)),
            threads_min: Setting::default(0),
            threads_max: Setting::default(5),
            pid_file: Setting::default(DEFAULT_PID_FILE.into()),
            tag: Setting::default(None),
            load_paths: Setting::default(Vec::new()),
            preload: Setting::default(true),
            daemon: Setting::default(false),
            log: Setting::default(LogLevel::Normal),
            log_requests: Setting::default(false),
            redirect_stdout: Setting::default(None),
            redirect_stderr: Setting::default(None),
            redirect_append: Setting::default(false),
            yjit: Setting::default(false),
            early_hints: Setting::default(false),
            script_name: Setting::default(String::new()),
            config_file: Setting::default(ConfigFile::Search),
            personality: Setting::default(Personality::Puma),
            activated_sockets: Setting::default(ActivatedSockets::Named),
            control: Setting::default(None),
            state_file: Setting::default(None),
            upkeep: UpkeepSettings::default(),
            limits: LimitSettings::default(),
        }
    }
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        let upkeep = Upkeep::default();
        Self {
            restart_batch: Setting::default(upkeep.restart_batch),
            warmup: Setting::default(upkeep.warmup),
            warmup_timeout: Setting::default(upkeep.warmup_timeout),
            worker_timeout: Setting::default(upkeep.worker_timeout),
            request_timeout: Setting::default(upkeep.request_timeout),
            requests_max: Setting::default(upkeep.requests_max),
            requests_jitter: Setting::default(upkeep.requests_jitter),
            resident_bytes_max: Setting::default(upkeep.resident_bytes_max),
            proportional_bytes_max: Setting::default(upkeep.proportional_bytes_max),
            refork_after: Setting::default(upkeep.refork_after),
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            first_data_timeout: Setting::default(limits.first_data_timeout),
            persistent_timeout: Setting::default(limits.persistent_timeout),
            max_keep_alive: Setting::default(limits.max_keep_alive),
            write_timeout: Setting::default(limits.write_timeout),
            request_body_bytes_max: Setting::default(limits.request_body_bytes_max),
            queue_max: Setting::default(limits.queue_max),
            connections_max: Setting::default(limits.connections_max),
            load_timeout: Setting::default(limits.load_timeout),
            boot_timeout: Setting::default(limits.boot_timeout),
            shutdown_timeout: Setting::default(limits.shutdown_timeout),
            drain_idle_timeout: Setting::default(limits.drain_idle_timeout),
        }
    }
}
