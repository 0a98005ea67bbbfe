//! What is the same for every request of a worker: env constants, keys, the kind of failure pages.

use magnus::{Error, Ruby};
use rb_sys::VALUE;

use super::{
    header_keys::HeaderKeys,
    raw::{Raw, protected},
};
use crate::load::RackVersion;

/// The settings that env and failure pages depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Settings {
    /// `rack.multithread`: another thread of this process may call the application meanwhile.
    pub multithread: bool,
    /// `rack.multiprocess`: another process may.
    pub multiprocess: bool,
    /// Whether failure pages show the exception and its backtrace to the client.
    pub development: bool,
    /// Whether `rack.early_hints` is offered (Puma's `--early-hints`).
    pub early_hints: bool,
    /// `SERVER_SOFTWARE`.
    pub software: String,
    /// `SCRIPT_NAME`: empty, or starts with `/` and does not end with it.
    pub script_name: String,
}

/// Rack 3.0: a server may ask a body for `to_ary`.
const TO_ARY_SINCE: RackVersion = RackVersion { major: 3, minor: 0 };

/// Rack 3.1: `HTTP_VERSION` is no longer a key of the server's (as Puma reads it).
const NO_HTTP_VERSION_SINCE: RackVersion = RackVersion { major: 3, minor: 1 };

/// The constants of a worker. Made once, after Rack is loaded; shared by its threads; its strings
/// stay until the process ends.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Context {
    pub(super) development: bool,
    pub(super) early_hints: bool,
    /// Whether a body may be asked for `to_ary`.
    pub(super) has_to_ary: bool,
    /// Whether env has `HTTP_VERSION`.
    pub(super) has_http_version: bool,
    /// `PATH_INFO` may not be `*`.
    pub(super) path_info_needs_slash: bool,
    pub(super) header_keys: HeaderKeys,
    pub(super) keys: Keys,
    pub(super) values: Values,
}

/// Keys of env, interned and frozen.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) request_method: VALUE,
    pub(super) script_name: VALUE,
    pub(super) path_info: VALUE,
    pub(super) request_path: VALUE,
    pub(super) request_uri: VALUE,
    pub(super) query_string: VALUE,
    pub(super) server_name: VALUE,
    pub(super) server_port: VALUE,
    pub(super) server_protocol: VALUE,
    pub(super) server_software: VALUE,
    pub(super) gateway_interface: VALUE,
    pub(super) remote_addr: VALUE,
    pub(super) content_type: VALUE,
    pub(super) content_length: VALUE,
    pub(super) https: VALUE,
    pub(super) http_host: VALUE,
    pub(super) http_version: VALUE,
    pub(super) rack_version: VALUE,
    pub(super) url_scheme: VALUE,
    pub(super) errors: VALUE,
    pub(super) input: VALUE,
    pub(super) is_hijack: VALUE,
    pub(super) hijack: VALUE,
    pub(super) multithread: VALUE,
    pub(super) multiprocess: VALUE,
    pub(super) run_once: VALUE,
    pub(super) after_reply: VALUE,
    pub(super) response_finished: VALUE,
    pub(super) early_hints: VALUE,
    pub(super) request_body_wait: VALUE,
    pub(super) mark_as_io_bound: VALUE,
}

/// Values of env that are the same in every request; frozen, as Puma's are.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) rack_version: VALUE,
    pub(super) empty: VALUE,
    pub(super) script_name: VALUE,
    pub(super) software: VALUE,
    pub(super) gateway: VALUE,
    pub(super) http_1_0: VALUE,
    pub(super) http_1_1: VALUE,
    pub(super) http: VALUE,
    pub(super) https: VALUE,
    pub(super) port_80: VALUE,
    pub(super) port_443: VALUE,
    pub(super) localhost: VALUE,
    pub(super) loopback: VALUE,
    pub(super) multithread: VALUE,
    pub(super) multiprocess: VALUE,
    pub(super) mark_as_io_bound: VALUE,
}

impl Context {
    /// Makes the constants.
    ///
    /// # Errors
    ///
    /// The exception, if Ruby has no memory for them.
    pub fn new(ruby: &Ruby, settings: &Settings, rack: RackVersion) -> Result<Self, Error> {
        super::define(ruby)?;
        Ok(Self {
            development: settings.development,
            early_hints: settings.early_hints,
            has_to_ary: rack >= TO_ARY_SINCE,
            has_http_version: rack < NO_HTTP_VERSION_SINCE,
            path_info_needs_slash: rack.major < 3,
            header_keys: HeaderKeys::new(ruby)?,
            keys: Keys::new(ruby)?,
            values: Values::new(ruby, settings)?,
        })
    }
}

fn text(ruby: &Ruby, text: &str) -> Result<VALUE, Error> {
    protected(ruby, |raw: &Raw| {
        let text = raw.interned(raw.utf8(text.as_bytes()));
        raw.keep(text);
        text
    })
}

fn flag(flag: bool) -> VALUE {
    if flag { rb_sys::Qtrue as VALUE } else { rb_sys::Qfalse as VALUE }
}

impl Keys {
    fn new(ruby: &Ruby) -> Result<Self, Error> {
        let key = |name| text(ruby, name);
        Ok(Self {
            request_method: key("REQUEST_METHOD")?,
            script_name: key("SCRIPT_NAME")?,
            path_info: key("PATH_INFO")?,
            request_path: key("REQUEST_PATH")?,
            request_uri: key("REQUEST_URI")?,
            query_string: key("QUERY_STRING")?,
            server_name: key("SERVER_NAME")?,
            server_port: key("SERVER_PORT")?,
            server_protocol: key("SERVER_PROTOCOL")?,
            server_software: key("SERVER_SOFTWARE")?,
            gateway_interface: key("GATEWAY_INTERFACE")?,
            remote_addr: key("REMOTE_ADDR")?,
            content_type: key("CONTENT_TYPE")?,
            content_length: key("CONTENT_LENGTH")?,
            https: key("HTTPS")?,
            http_host: key("HTTP_HOST")?,
            http_version: key("HTTP_VERSION")?,
            rack_version: key("rack.version")?,
            url_scheme: key("rack.url_scheme")?,
            errors: key("rack.errors")?,
            input: key("rack.input")?,
            is_hijack: key("rack.hijack?")?,
            hijack: key("rack.hijack")?,
            multithread: key("rack.multithread")?,
            multiprocess: key("rack.multiprocess")?,
            run_once: key("rack.run_once")?,
            after_reply: key("rack.after_reply")?,
            response_finished: key("rack.response_finished")?,
            early_hints: key("rack.early_hints")?,
            request_body_wait: key("puma.request_body_wait")?,
            mark_as_io_bound: key("puma.mark_as_io_bound")?,
        })
    }
}

impl Values {
    fn new(ruby: &Ruby, settings: &Settings) -> Result<Self, Error> {
        let value = |name| text(ruby, name);
        Ok(Self {
            rack_version: rack_version(ruby)?,
            empty: value("")?,
            script_name: value(&settings.script_name)?,
            software: value(&settings.software)?,
            gateway: value("CGI/1.2")?,
            http_1_0: value("HTTP/1.0")?,
            http_1_1: value("HTTP/1.1")?,
            http: value("http")?,
            https: value("https")?,
            port_80: value("80")?,
            port_443: value("443")?,
            localhost: value("localhost")?,
            loopback: value("127.0.0.1")?,
            multithread: flag(settings.multithread),
            multiprocess: flag(settings.multiprocess),
            mark_as_io_bound: mark_as_io_bound(ruby)?,
        })
    }
}

/// Puma 8 gives a lambda by which a request asks not to count against the threads. Applications call
/// it without asking; here it changes nothing.
fn mark_as_io_bound(ruby: &Ruby) -> Result<VALUE, Error> {
    use magnus::rb_sys::AsRawValue;
    let lambda: magnus::Value = ruby.eval("->() {}.freeze")?;
    ruby.gc_register_mark_object(lambda);
    Ok(lambda.as_raw())
}

/// `[1, 6]`: the interface version that Puma gives under every Rack; Rack 2 requires one.
fn rack_version(ruby: &Ruby) -> Result<VALUE, Error> {
    use magnus::rb_sys::AsRawValue;
    let one = ruby.integer_from_i64(1).as_raw();
    let six = ruby.integer_from_i64(6).as_raw();
    protected(ruby, |raw| {
        let version = raw.array();
        raw.push(version, one);
        raw.push(version, six);
        raw.keep(raw.freeze(version));
        version
    })
}
