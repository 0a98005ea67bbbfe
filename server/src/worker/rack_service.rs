//! What the Ruby threads do with a request: the Rack protocol, and what becomes of strays.

use rackrs_ruby::{
    Ruby, RubyError,
    exception::Exception,
    exchange::Request,
    hooks::Hook,
    load::Loaded,
    pool::Serve,
    rack::{self, Context, Settings},
};

use tokio::sync::mpsc;

use crate::{config::Config, hooks, telemetry::events};

/// The environment in which failure pages show the exception.
const DEVELOPMENT: &str = "development";

/// The application with its constants, shared by a worker's Ruby threads.
pub(super) struct RackService {
    application: Loaded,
    context: Context,
    /// Where backtraces go.
    backtraces: mpsc::UnboundedSender<String>,
}

impl RackService {
    /// Prepares the constants of the environment.
    ///
    /// # Errors
    ///
    /// What Ruby raised.
    pub(super) fn new(
        ruby: &Ruby,
        config: &Config,
        application: &Loaded,
        backtraces: mpsc::UnboundedSender<String>,
    ) -> Result<Self, Exception> {
        let settings = Settings {
            multithread: config.threads.max > 1,
            multiprocess: config.workers > 0,
            development: config.environment == DEVELOPMENT,
            early_hints: config.early_hints,
            software: concat!("rackrs ", env!("CARGO_PKG_VERSION")).to_owned(),
            script_name: config.script_name.clone(),
        };
        let context = Context::new(ruby, &settings, application.rack_version())
            .map_err(|error| Exception::read(ruby, &error))?;
        Ok(Self { application: application.clone(), context, backtraces })
    }
}

impl Serve for RackService {
    fn serve(&self, ruby: &Ruby, request: Box<Request>) -> Result<(), RubyError> {
        rack::serve(ruby, &self.application, &self.context, request)
    }

    fn stray(&self, _ruby: &Ruby, exception: &Exception) {
        events::complain(&format!(
            "an exception outside of any request: {}",
            exception.full_message
        ));
    }

    fn hook_failed(&self, _ruby: &Ruby, hook: Hook, exception: &Exception) {
        hooks::complain(hook, exception);
    }

    fn backtraces(&self, text: &str) {
        // An I/O thread that has ended asks no more.
        let _ = self.backtraces.send(text.to_owned());
    }
}
