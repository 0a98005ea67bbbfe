//! `--show-config`: every value with the source it came from.

use std::{fmt::Display, path::Path, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    Config, LogLevel, Settings, Source,
    bind::unix_url,
    setting::Setting,
    settings::{ConfigFile, LimitSettings, UpkeepSettings},
};

/// How `--show-config` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowFormat {
    /// Aligned columns for a person.
    Table,
    /// One JSON object: name to `{"value": ..., "source": ...}`.
    Json,
}

/// One value and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The long name of the flag that sets it, or the setting's own name where there is no flag.
    pub name: &'static str,
    /// As it will be used: paths absolute, `auto` counted.
    pub value: Value,
    /// `s`, `bytes`, or empty.
    pub unit: &'static str,
    /// Where it came from.
    pub source: Source,
}

impl Row {
    fn new<T>(name: &'static str, value: impl Into<Value>, from: &Setting<T>) -> Self {
        Self { name, value: value.into(), unit: "", source: from.source }
    }

    fn time(name: &'static str, setting: &Setting<Duration>) -> Self {
        Self { unit: "s", ..Self::new(name, seconds(setting.value), setting) }
    }

    fn time_or_none(name: &'static str, setting: &Setting<Option<Duration>>) -> Self {
        match setting.value {
            Some(limit) => Self { unit: "s", ..Self::new(name, seconds(limit), setting) },
            None => Self::new(name, Value::Null, setting),
        }
    }

    fn bytes<T>(name: &'static str, value: impl Into<Value>, from: &Setting<T>) -> Self {
        Self { unit: "bytes", ..Self::new(name, value, from) }
    }

    fn text(&self) -> String {
        let text = match &self.value {
            Value::String(text) if text.is_empty() => "(none)".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(list) if list.is_empty() => "(none)".to_owned(),
            Value::Array(list) => {
                let words: Vec<_> = list.iter().map(|item| item.as_str().unwrap_or("")).collect();
                words.join(", ")
            }
            Value::Bool(true) => "yes".to_owned(),
            Value::Bool(false) => "no".to_owned(),
            Value::Null => "(none)".to_owned(),
            other @ (Value::Number(_) | Value::Object(_)) => other.to_string(),
        };
        if self.unit.is_empty() { text } else { format!("{text} {}", self.unit) }
    }
}

/// The rows as text, with a line break at the end.
pub(crate) fn print(rows: &[Row], format: ShowFormat) -> String {
    match format {
        ShowFormat::Table => table(rows),
        ShowFormat::Json => json(rows),
    }
}

fn table(rows: &[Row]) -> String {
    let cells: Vec<_> =
        rows.iter().map(|row| (row.name, row.text(), row.source.to_string())).collect();
    let width =
        |cell: fn(&(&str, String, String)) -> usize| cells.iter().map(cell).max().unwrap_or(0);
    let names = width(|cell| cell.0.chars().count());
    let values = width(|cell| cell.1.chars().count());
    let lines: Vec<_> = cells
        .iter()
        .map(|(name, value, source)| format!("{name:names$}  {value:values$}  {source}\n"))
        .collect();
    lines.concat()
}

fn json(rows: &[Row]) -> String {
    let object: Map<String, Value> = rows
        .iter()
        .map(|row| {
            let cell = json!({ "value": row.value, "source": row.source.to_string() });
            (row.name.to_owned(), cell)
        })
        .collect();
    format!("{:#}\n", Value::Object(object))
}

/// Every setting: the value from `config`, the source from `settings`.
pub(crate) fn rows(settings: &Settings, config: &Config) -> Vec<Row> {
    // Taken apart in full, so that a new setting cannot be forgotten.
    let Settings {
        rackup,
        directory,
        environment,
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
        config_file,
        personality,
        activated_sockets,
        control,
        state_file,
        upkeep,
        limits,
    } = settings;
    let redirect = &config.redirect;
    let mut rows = vec![
        Row::new("bind", each(&config.binds), binds),
        Row::new("rackup", path(&config.rackup), rackup),
        Row::new("dir", path(&config.directory), directory),
        Row::new("environment", config.environment.as_str(), environment),
        Row::new("script-name", config.script_name.as_str(), script_name),
        Row::new("include", each(config.load_paths.iter().map(|dir| dir.display())), load_paths),
        Row::new("preload", config.preload, preload),
        Row::new("yjit", config.yjit, yjit),
        Row::new("early-hints", config.early_hints, early_hints),
        Row::new("workers", config.workers, workers),
        Row::new("threads-min", config.threads.min, threads_min),
        Row::new("threads-max", config.threads.max, threads_max),
        Row::new("daemon", config.daemon, daemon),
        Row::new("pidfile", path(&config.pid_file), pid_file),
        Row::new("tag", config.tag.as_str(), tag),
        Row::new("silent", config.log == LogLevel::Silent, log),
        Row::new("log-requests", config.log_requests, log_requests),
        Row::new("redirect-stdout", redirect.stdout.as_deref().map(path), redirect_stdout),
        Row::new("redirect-stderr", redirect.stderr.as_deref().map(path), redirect_stderr),
        Row::new("redirect-append", redirect.append, redirect_append),
        Row::new("compat", config.personality.name(), personality),
        Row::new("bind-to-activated-sockets", config.activated_sockets.name(), activated_sockets),
        Row::new("control-url", unix_url(&config.control), control),
        Row::new("state", config.state_file.as_deref().map(path), state_file),
        Row::new("no-config", config_file.value == ConfigFile::Unwanted, config_file),
    ];
    rows.extend(upkeep_rows(upkeep, config));
    rows.extend(limit_rows(limits, config));
    rows
}

fn upkeep_rows(settings: &UpkeepSettings, config: &Config) -> Vec<Row> {
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
    let upkeep = &config.upkeep;
    vec![
        Row::new("restart-batch", upkeep.restart_batch, restart_batch),
        Row::new("warmup", upkeep.warmup.clone(), warmup),
        Row::time("warmup-timeout", warmup_timeout),
        Row::time_or_none("worker-timeout", worker_timeout),
        Row::time_or_none("request-timeout", request_timeout),
        Row::new("max-requests", upkeep.requests_max, requests_max),
        Row::new("max-requests-jitter", upkeep.requests_jitter, requests_jitter),
        Row::new("worker-max-rss", upkeep.resident_bytes_max, resident_bytes_max),
        Row::new("worker-max-pss", upkeep.proportional_bytes_max, proportional_bytes_max),
        Row::new("fork-worker", upkeep.refork_after, refork_after),
    ]
}

fn limit_rows(settings: &LimitSettings, config: &Config) -> Vec<Row> {
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
    let limits = &config.limits;
    let fixed = Setting::default(());
    vec![
        Row::time("first-data-timeout", first_data_timeout),
        Row::time("persistent-timeout", persistent_timeout),
        Row::new("max-keep-alive", limits.max_keep_alive, max_keep_alive),
        Row::time("write-timeout", write_timeout),
        Row::bytes(
            "http-content-length-limit",
            limits.request_body_bytes_max,
            request_body_bytes_max,
        ),
        Row::bytes("request-body-memory", limits.request_body_memory_bytes_max, &fixed),
        Row::bytes("request-head", limits.head_bytes_max, &fixed),
        Row::new("queue-limit", limits.queue_max, queue_max),
        Row::new("connections-limit", limits.connections_max, connections_max),
        Row::time("load-timeout", load_timeout),
        Row::time("worker-boot-timeout", boot_timeout),
        Row::time("worker-shutdown-timeout", shutdown_timeout),
        Row::time("drain-idle-timeout", drain_idle_timeout),
    ]
}

/// A whole number prints as one.
fn seconds(time: Duration) -> Value {
    if time.subsec_nanos() == 0 {
        Value::from(time.as_secs())
    } else {
        Value::from(time.as_secs_f64())
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn each<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, value: impl Into<Value>, unit: &'static str) -> Row {
        Row { name, value: value.into(), unit, source: Source::Flag("tag") }
    }

    #[test]
    fn the_table_is_aligned() {
        let rows = [
            row("tag", "shop", ""),
            row("threads-max", 5, ""),
            row("write-timeout", 0.5, "s"),
            row("include", Vec::<String>::new(), ""),
            row("bind", vec!["a", "b"], ""),
            row("daemon", false, ""),
        ];
        assert_eq!(
            print(&rows, ShowFormat::Table),
            "tag            shop    --tag\n\
             threads-max    5       --tag\n\
             write-timeout  0.5 s   --tag\n\
             include        (none)  --tag\n\
             bind           a, b    --tag\n\
             daemon         no      --tag\n"
        );
    }

    #[test]
    fn json_keeps_the_types() {
        let rows = [row("threads-max", 5, ""), row("include", vec!["lib"], "")];
        let read: Value = serde_json::from_str(&print(&rows, ShowFormat::Json)).unwrap();
        assert_eq!(
            read,
            json!({
                "threads-max": { "value": 5, "source": "--tag" },
                "include": { "value": ["lib"], "source": "--tag" },
            })
        );
    }

    #[test]
    fn times_print_whole_where_they_are_whole() {
        let time = |ms| Row::time("x", &Setting::default(Duration::from_millis(ms))).text();
        assert_eq!(time(30_000), "30 s");
        assert_eq!(time(1_500), "1.5 s");
    }
}
