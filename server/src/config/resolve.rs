//! From what every source said to the checked [`Config`].

use std::path::{Path, PathBuf};

use super::{
    Bind, Config, ConfigError, ConfigFile, Environment, Given, Limits, Listen, Redirect, Row,
    Settings, Source, Threads, Upkeep, bind,
    layers::{apply_environment, apply_rackup_options},
    setting::Setting,
    settings::{LimitSettings, UpkeepSettings},
    show,
    value::{WORKERS_MAX, Workers, absolute},
};
use crate::control::socket_of;

/// The configuration with what is to be said about it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the server will do.
    pub config: Config,
    /// One sentence each, for the operator to read before the server starts.
    pub warnings: Vec<String>,
    /// Every value with its source, for `--show-config`.
    pub rows: Vec<Row>,
}

/// Adds the layers below the flags to `settings`, which the flags have set, and checks the whole.
///
/// # Errors
///
/// The first setting that cannot be obeyed, named with its source.
pub(crate) fn resolve(
    mut settings: Settings,
    environment: &Environment,
) -> Result<Resolved, ConfigError> {
    apply_environment(&mut settings, environment)?;
    let directory = directory(&settings.directory, environment)?;
    let rackup = absolute(&directory, &settings.rackup.value);
    let mut warnings = apply_rackup_options(&mut settings, &rackup)?;
    warnings.extend(unread_config_file(&settings, &directory));
    let config = config(&settings, environment, &directory)?;
    let rows = show::rows(&settings, &config);
    Ok(Resolved { config, warnings, rows })
}

fn config(
    settings: &Settings,
    environment: &Environment,
    directory: &Path,
) -> Result<Config, ConfigError> {
    let here = |path: &PathBuf| absolute(directory, path);
    // Taken apart in full, so that a new setting cannot be forgotten.
    let Settings {
        rackup,
        directory: _,
        environment: name,
        binds,
        workers,
        threads_min,
        threads_max,
        pid_file,
        tag,
        load_paths,
        preload,
        daemon,
        log,
        log_requests,
        redirect_stdout,
        redirect_stderr,
        redirect_append,
        yjit,
        early_hints,
        script_name,
        config_file: _,
        personality,
        activated_sockets,
        control,
        state_file,
        upkeep,
        limits,
    } = settings;
    Ok(Config {
        rackup: here(&rackup.value),
        directory: directory.to_owned(),
        environment: name.value.clone(),
        binds: listeners(&binds.value, environment, directory)?,
        default_binds: binds.source == Source::Default,
        activated_sockets: activated_sockets.value,
        workers: worker_count(workers.value, environment),
        threads: threads(threads_min, threads_max)?,
        pid_file: here(&pid_file.value),
        tag: tag.value.clone().unwrap_or_else(|| name_of(directory)),
        load_paths: load_paths.value.iter().map(here).collect(),
        preload: preload.value,
        daemon: daemon.value,
        log: log.value,
        log_requests: log_requests.value,
        redirect: Redirect {
            stdout: redirect_stdout.value.as_ref().map(here),
            stderr: redirect_stderr.value.as_ref().map(here),
            append: redirect_append.value,
        },
        yjit: yjit.value,
        early_hints: early_hints.value,
        script_name: script_name.value.clone(),
        personality: personality.value,
        control: control.value.as_ref().map_or_else(|| socket_of(&here(&pid_file.value)), here),
        state_file: state_file.value.as_ref().map(here),
        upkeep: upkeep_of(upkeep),
        limits: limits_of(limits),
    })
}

/// The working directory, absolute and through symlinks as it was named.
fn directory(
    setting: &Setting<Option<PathBuf>>,
    environment: &Environment,
) -> Result<PathBuf, ConfigError> {
    let start = environment.working_directory.as_deref();
    let directory = match (&setting.value, start) {
        (Some(named), Some(start)) => absolute(start, named),
        (Some(named), None) if named.is_absolute() => named.clone(),
        (None, Some(start)) => start.to_owned(),
        (Some(_) | None, None) => return Err(ConfigError::NoDirectory),
    };
    let text = directory.to_string_lossy();
    let given = Given { name: "dir", text: &text, source: setting.source };
    if directory.to_str().is_none() {
        // The configuration travels to the mold as JSON.
        return Err(given.refuse("the path is not UTF-8; use a link with a plain name"));
    }
    if !directory.is_dir() {
        return Err(given.refuse("there is no such directory"));
    }
    Ok(directory)
}

/// Puma's `tag`: the directory's own name, empty for the root.
fn name_of(directory: &Path) -> String {
    directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn listeners(
    places: &[Setting<Listen>],
    environment: &Environment,
    directory: &Path,
) -> Result<Vec<Bind>, ConfigError> {
    let mut binds: Vec<Bind> = Vec::with_capacity(places.len());
    for Setting { value, source } in places {
        let (text, listener) = match value {
            Listen::Uri(uri) => (uri.clone(), bind::parse(uri, directory)),
            Listen::Port(port) => (port.to_string(), Ok(every_address(*port, environment.ipv6))),
        };
        let name = if matches!(value, Listen::Port(_)) { "port" } else { "bind" };
        let given = Given { name, text: &text, source: *source };
        let listener = given.read(|_| listener)?;
        if binds.iter().any(|other| same_address(other, &listener)) {
            return Err(given.refuse("the same address is given twice"));
        }
        binds.push(listener);
    }
    Ok(binds)
}

/// Puma 8: `[::]`, which takes IPv4 too, where the machine has IPv6, else `0.0.0.0`.
fn every_address(port: u16, ipv6: bool) -> Bind {
    let host = if ipv6 { "::" } else { "0.0.0.0" };
    Bind::Tcp { host: host.to_owned(), port, backlog: bind::BACKLOG_DEFAULT }
}

/// True when the second could only fail with "address in use". Port 0 is a new port each time.
fn same_address(one: &Bind, other: &Bind) -> bool {
    match (one, other) {
        (Bind::Tcp { host, port, .. }, Bind::Tcp { host: other, port: other_port, .. }) => {
            *port != 0 && (host, port) == (other, other_port)
        }
        (Bind::Unix { path, .. }, Bind::Unix { path: other, .. }) => path == other,
        (Bind::Abstract { name, .. }, Bind::Abstract { name: other, .. }) => name == other,
        _ => false,
    }
}

fn worker_count(workers: Workers, environment: &Environment) -> u16 {
    match workers {
        Workers::Count(count) => count,
        Workers::Auto => u16::try_from(environment.cpus.get()).unwrap_or(u16::MAX).min(WORKERS_MAX),
    }
}

fn threads(min: &Setting<u16>, max: &Setting<u16>) -> Result<Threads, ConfigError> {
    let pair = format!("{}:{}", min.value, max.value);
    let stronger = if min.source.level() > max.source.level() { min.source } else { max.source };
    let given = Given { name: "threads", text: &pair, source: stronger };
    if max.value == 0 {
        return Err(given.refuse("at least one thread is needed"));
    }
    if min.value <= max.value {
        return Ok(Threads { min: min.value, max: max.value });
    }
    Err(given.refuse(if min.source == max.source {
        "the minimum is above the maximum".to_owned()
    } else {
        format!("the minimum ({}) is above the maximum ({}); give both", min.source, max.source)
    }))
}

fn upkeep_of(settings: &UpkeepSettings) -> Upkeep {
    let UpkeepSettings {
        restart_batch,
        warmup,
        warmup_timeout,
        worker_timeout,
        request_timeout,
        requests_max,
        requests_jitter,
        resident_bytes_max,
        proportional_bytes_max,
        refork_after,
    } = settings;
    Upkeep {
        restart_batch: restart_batch.value,
        warmup: warmup.value.clone(),
        warmup_timeout: warmup_timeout.value,
        worker_timeout: worker_timeout.value,
        request_timeout: request_timeout.value,
        requests_max: requests_max.value,
        requests_jitter: requests_jitter.value,
        resident_bytes_max: resident_bytes_max.value,
        proportional_bytes_max: proportional_bytes_max.value,
        refork_after: refork_after.value,
    }
}

fn limits_of(settings: &LimitSettings) -> Limits {
    let LimitSettings {
        first_data_timeout,
        persistent_timeout,
        max_keep_alive,
        write_timeout,
        request_body_bytes_max,
        queue_max,
        connections_max,
        load_timeout,
        boot_timeout,
        shutdown_timeout,
        drain_idle_timeout,
    } = settings;
    Limits {
        first_data_timeout: first_data_timeout.value,
        persistent_timeout: persistent_timeout.value,
        max_keep_alive: max_keep_alive.value,
        write_timeout: write_timeout.value,
        request_body_bytes_max: request_body_bytes_max.value,
        queue_max: queue_max.value,
        connections_max: connections_max.value,
        load_timeout: load_timeout.value,
        boot_timeout: boot_timeout.value,
        shutdown_timeout: shutdown_timeout.value,
        drain_idle_timeout: drain_idle_timeout.value,
        ..Limits::default()
    }
}

/// Puma would have read this file; a host that relies on it must hear that we do not.
fn unread_config_file(settings: &Settings, directory: &Path) -> Option<String> {
    if settings.config_file.value == ConfigFile::Unwanted {
        return None;
    }
    let of_environment = format!("config/puma/{}.rb", settings.environment.value);
    let found = [of_environment.as_str(), "config/puma.rb"]
        .into_iter()
        .find(|file| directory.join(file).is_file())?;
    Some(format!(
        "{found} is not read by this version of rackrs; give its settings as flags, and -C - to \
         say that the file is not wanted"
    ))
}

#[cfg(test)]
mod tests;
