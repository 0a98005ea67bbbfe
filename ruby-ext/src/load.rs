//! Loading the application by `Rack::Builder`, the way every Rack server does.

mod error;

use std::{fmt, path::Path};

use magnus::{
    Error, Module, RArray, RHash, RModule, Ruby, Value,
    r_hash::ForEach,
    value::{Opaque, ReprValue},
};

pub use error::{LoadError, LoadErrorKind};

use crate::vm::Vm;

/// A loaded Rack application. It is never collected: a process loads one and keeps it.
#[derive(Clone)]
pub struct Loaded {
    app: Opaque<Value>,
    rackup_options: Vec<(String, String)>,
    rack_version: RackVersion,
}

/// The version of the Rack library that the application uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RackVersion {
    /// 2 or 3.
    pub major: u32,
    /// The number behind the first dot.
    pub minor: u32,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loaded")
            .field("rackup_options", &self.rackup_options)
            .field("rack_version", &self.rack_version)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Takes an object that answers `call`, and roots it for the life of the process.
    #[must_use]
    pub fn new(ruby: &Ruby, app: Value, rack_version: RackVersion) -> Self {
        ruby.gc_register_mark_object(app);
        Self { app: app.into(), rackup_options: Vec::new(), rack_version }
    }

    /// The object that answers `call(env)`.
    #[must_use]
    pub fn get(&self, ruby: &Ruby) -> Value {
        ruby.get_inner(self.app)
    }

    /// The options of the `#\` line of a config.ru, by their long names (Rack 2; Rack 3 has none).
    #[must_use]
    pub fn rackup_options(&self) -> &[(String, String)] {
        &self.rackup_options
    }

    /// The Rack that it was built with.
    #[must_use]
    pub fn rack_version(&self) -> RackVersion {
        self.rack_version
    }
}

/// Loads the application of `rackup`: a config.ru, or a `.rb` file whose class has its name.
///
/// # Errors
///
/// [`LoadError`], with the text that Ruby would print. `exit!` ends the process here: nothing can
/// catch it.
pub fn load_application(vm: &Vm, rackup: &Path) -> Result<Loaded, LoadError> {
    let ruby = vm.ruby();
    // Rack would say ENOENT with a backtrace of its own; the operator needs the name only.
    std::fs::File::open(rackup).map_err(|source| LoadError::unreadable(rackup, source))?;
    require_rack(ruby).map_err(|error| LoadError::rack_missing(ruby, rackup, error))?;
    build(ruby, rackup).map_err(|error| LoadError::raised(ruby, rackup, error))
}

/// The version of the Rack library, which is loaded if it is not yet.
///
/// # Errors
///
/// What Ruby raised, as when there is no Rack.
pub fn rack_version(ruby: &Ruby) -> Result<RackVersion, Error> {
    require_rack(ruby)?;
    let release: String = rack(ruby)?.funcall("release", ())?;
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0));
    Ok(RackVersion { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) })
}

fn require_rack(ruby: &Ruby) -> Result<(), Error> {
    // Through the method of every object, which RubyGems replaces; `Kernel.require` and the C
    // function stay as they were and know no gems.
    require(ruby, "rack")
}

fn require(ruby: &Ruby, library: &str) -> Result<(), Error> {
    let required: Result<Value, _> = ruby.class_object().funcall("require", (library,));
    required.map(drop)
}

fn rack(ruby: &Ruby) -> Result<RModule, Error> {
    ruby.class_object().const_get("Rack")
}

fn build(ruby: &Ruby, rackup: &Path) -> Result<Loaded, Error> {
    let rack_version = rack_version(ruby)?;
    // Puma has loaded it, so applications and Rack 2's Lint use it without a require of their own.
    require(ruby, "uri")?;
    let builder: Value = rack(ruby)?.const_get("Builder")?;
    let parsed: Value = builder.funcall("parse_file", (builder_path(ruby, rackup),))?;
    // Rack 2 answers `[app, options]`, Rack 3 the application; an application is no Array, for
    // that has no `call`.
    let (app, options) = match RArray::from_value(parsed) {
        Some(pair) => (pair.entry(0)?, RHash::from_value(pair.entry(1)?)),
        None => (parsed, None),
    };
    if !app.respond_to("call", false)? {
        let class = app.class();
        let message = format!("the application is a {class} and does not answer `call`");
        return Err(Error::new(ruby.exception_type_error(), message));
    }
    let mut application = Loaded::new(ruby, app, rack_version);
    if let Some(options) = options {
        application.rackup_options = read_options(options)?;
    }
    Ok(application)
}

/// Rack evaluates a `.ru` file under the path given, which becomes its `__FILE__`, and requires
/// anything else, which needs an absolute path.
fn builder_path(ruby: &Ruby, rackup: &Path) -> Value {
    let is_rackup = rackup.extension().is_some_and(|extension| extension == "ru");
    let path = match std::path::absolute(rackup) {
        Ok(absolute) if !is_rackup => absolute,
        Ok(_) | Err(_) => rackup.to_owned(),
    };
    // A Ruby string in the encoding of file names, as `Dir` and `ARGV` give it.
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    ruby.enc_str_new(bytes, ruby.filesystem_encindex()).as_value()
}

fn read_options(options: RHash) -> Result<Vec<(String, String)>, Error> {
    let mut read = Vec::new();
    options.foreach(|name: Value, value: Value| {
        read.push((name.to_r_string()?.to_string()?, value.to_r_string()?.to_string()?));
        Ok(ForEach::Continue)
    })?;
    Ok(read)
}
