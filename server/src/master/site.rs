//! What a master is made of, new or left by an earlier program of its process.

use std::{collections::BTreeMap, rc::Rc, time::SystemTime};

use rackrs_sys::shared_words::SharedError;
use tokio::sync::mpsc;

use super::{
    children::{Children, Report},
    command::StopEnding,
    fleet::{Fleet, GenerationId, Plan},
    listeners::Listeners,
    moment::Moment,
    restart_log::RestartLog,
    rows::Rows,
};
use crate::{config::Config, control::ControlServer};

/// What a master is made of: new, or what an earlier program of this process has left.
pub(super) struct Site {
    pub(super) fleet: Fleet,
    pub(super) configs: BTreeMap<GenerationId, Rc<Config>>,
    pub(super) children: Children,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) listeners: Listeners,
    pub(super) control: Option<ControlServer>,
    pub(super) restarts: RestartLog,
    pub(super) started: SystemTime,
    pub(super) ending: StopEnding,
}

impl Site {
    /// One where nothing is yet.
    pub(super) fn new(
        config: &Rc<Config>,
        listeners: Listeners,
        workers: u16,
    ) -> Result<Self, SharedError> {
        let (children, reports) = Children::new(Rows::new()?);
        let fleet = Fleet::new(plan(config, workers), Moment::now());
        Ok(Self {
            configs: BTreeMap::from([(fleet.serving(), Rc::clone(config))]),
            fleet,
            children,
            reports,
            listeners,
            control: None,
            restarts: RestartLog::default(),
            started: SystemTime::now(),
            ending: StopEnding::Success,
        })
    }
}

/// What a configuration means for a generation.
pub(super) fn plan(config: &Config, workers: u16) -> Plan {
    Plan {
        load: config.limits.load_timeout,
        boot: config.limits.boot_timeout,
        drain: config.limits.shutdown_timeout,
        workers,
        batch: config.upkeep.restart_batch,
    }
}
