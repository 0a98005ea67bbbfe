//! Saying to the world that all workers serve: pid file, state file, the launcher of a daemon.

use std::{
    mem,
    path::{Path, PathBuf},
    rc::Rc,
};

use rackrs_sys::{
    daemon::ReadyNotifier,
    pid_file::{Claim, PidFile},
};

use super::{
    logs::leave_terminal,
    run::{Announce, Announced},
    state_file,
};
use crate::{
    config::Config,
    telemetry::{chain, events::Events},
    wire::Failure,
};

/// The pid file on its way.
pub(super) enum PidFileStage {
    /// Nobody else has it; it is not written.
    Claimed(Claim),
    /// It names this master.
    Written(PidFile),
    /// It could not be written, or has been taken away.
    None,
}

/// In place of a pid file that was removed or replaced while this master had it: a deploy that
/// moves the folder, a cleaner of old files. Another master's is left alone.
pub(super) fn write_again(path: &Path, events: &Events) -> PidFileStage {
    match PidFile::claim(path).and_then(|claim| claim.write(nix::unistd::getpid())) {
        Ok(pid_file) => PidFileStage::Written(pid_file),
        Err(error) => {
            events.error(&error);
            PidFileStage::None
        }
    }
}

/// Says to the world that all workers serve; dropped at the end, it takes the pid file away.
pub(super) struct Announcement<'a> {
    pub(super) config: Rc<Config>,
    pub(super) events: &'a Events,
    pub(super) pid_file: PidFileStage,
    pub(super) notifier: &'a mut Option<ReadyNotifier>,
    /// The one that is written.
    pub(super) state_file: Option<PathBuf>,
}

impl Announcement<'_> {
    fn write_state_file(&mut self) {
        let wanted = self.config.state_file.clone();
        if self.state_file != wanted {
            self.remove_state_file();
        }
        if let Some(path) = wanted {
            match state_file::write(&path, &self.config) {
                Ok(()) => self.state_file = Some(path),
                // Tools that read it do not work; the site does.
                Err(error) => self.events.error(&error),
            }
        }
    }

    fn remove_state_file(&mut self) {
        if let Some(path) = self.state_file.take()
            && let Err(error) = state_file::remove(&path)
        {
            self.events.error(&error);
        }
    }

    /// The settings may name another pid file now. The old one goes when the new one is there.
    fn move_pid_file(&mut self) {
        let PidFileStage::Written(old) = &self.pid_file else { return };
        if old.path() == self.config.pid_file {
            return;
        }
        let written = PidFile::claim(&self.config.pid_file)
            .and_then(|claim| claim.write(nix::unistd::getpid()));
        let former = match written {
            Ok(new) => mem::replace(&mut self.pid_file, PidFileStage::Written(new)),
            Err(error) => return self.events.error(&error),
        };
        if let PidFileStage::Written(old) = former
            && let Err(error) = old.remove()
        {
            self.events.error(&error);
        }
    }
}

impl Announce for Announcement<'_> {
    fn serving(&mut self) -> Announced {
        // The pid file is the last to be written: who waits for it finds everything else.
        self.write_state_file();
        if let PidFileStage::Claimed(claim) = mem::replace(&mut self.pid_file, PidFileStage::None) {
            match claim.write(nix::unistd::getpid()) {
                Ok(pid_file) => self.pid_file = PidFileStage::Written(pid_file),
                Err(error) => {
                    let status = error.exit_code();
                    return Announced::Refuse(Failure { reason: chain(&error), status });
                }
            }
        }
        Announced::GoOn
    }

    fn told_manager(&mut self) {
        if let Some(notifier) = self.notifier.take() {
            leave_terminal(&self.config);
            // A launcher that was killed meanwhile waits for nothing.
            let _ = notifier.ready();
        } else {
            self.events.serving();
        }
    }

    fn restarted(&mut self, config: &Config) {
        self.config = Rc::new(config.clone());
        self.move_pid_file();
        self.write_state_file();
    }

    fn pid_file(&self) -> Option<&PidFile> {
        match &self.pid_file {
            PidFileStage::Written(pid_file) => Some(pid_file),
            PidFileStage::Claimed(_) | PidFileStage::None => None,
        }
    }
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.remove_state_file();
        if let PidFileStage::Written(pid_file) =
            mem::replace(&mut self.pid_file, PidFileStage::None)
            && let Err(error) = pid_file.remove()
        {
            self.events.error(&error);
        }
    }
}

/// Notes that the application loaded.
pub(super) struct Check<'a> {
    pub(super) loaded: &'a mut bool,
}

impl Announce for Check<'_> {
    fn serving(&mut self) -> Announced {
        *self.loaded = true;
        Announced::Stop
    }

    fn told_manager(&mut self) {}

    fn restarted(&mut self, _config: &Config) {}

    fn pid_file(&self) -> Option<&PidFile> {
        None
    }
}
