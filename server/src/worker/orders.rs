//! What the master says to a worker, and what the worker does about it besides serving.

use std::{cell::Cell, os::fd::OwnedFd, rc::Rc};

use rackrs_ruby::fork::Private;
use rackrs_sys::channel::Channel;
use tokio::sync::{Notify, watch};

use super::confession::Confession;
use crate::{
    config::Config,
    http::Manner,
    master::reopen_logs,
    telemetry::{chain, events},
    wire::{AsyncChannel, BACKTRACES_BYTES_MAX, Delivery, FromWorker, ToWorker},
};

/// What a worker is given to become the mold.
#[derive(Debug)]
pub(crate) struct Promotion {
    /// To the master.
    pub(crate) channel: Private<Channel>,
    /// For the workers that it will fork.
    pub(crate) listeners: Vec<Private<OwnedFd>>,
    /// The generation that it brings.
    pub(crate) generation: u32,
}

/// The end of the channel that belongs to a worker, and what it needs to obey.
pub(super) struct Ears {
    pub(super) channel: Rc<AsyncChannel>,
    pub(super) config: Rc<Config>,
    pub(super) confession: Confession,
}

impl Ears {
    /// Hears the master out until it is gone. How serving is to end goes to `drain`, what the
    /// worker is to be afterwards to `promotion`.
    pub(super) async fn hear(
        mut self,
        drain: watch::Sender<Option<Manner>>,
        promotion: Rc<Cell<Option<Promotion>>>,
    ) {
        let leave = |manner| drain.send_modify(|last| *last = (*last).max(Some(manner)));
        loop {
            match self.channel.next::<ToWorker>().await {
                Ok(Some(Delivery { message: ToWorker::Drain(manner), .. })) => leave(manner),
                Ok(Some(Delivery { message: ToWorker::Promote { generation }, descriptors })) => {
                    promotion.set(promoted(generation, descriptors));
                    leave(Manner::Gently);
                }
                Ok(Some(Delivery { message, .. })) => {
                    if message == ToWorker::Confess {
                        // It is about to be killed: who comes now is for the others to serve.
                        leave(Manner::Promptly);
                    }
                    self.obey(&message).await;
                }
                Ok(None) => {
                    tracing::debug!("the master is gone");
                    return leave(Manner::Promptly);
                }
                Err(error) => {
                    events::complain(&chain(&error));
                    return leave(Manner::Promptly);
                }
            }
        }
    }

    async fn obey(&mut self, message: &ToWorker) {
        match message {
            ToWorker::Confess => {
                self.confession.force().await;
                self.say(&FromWorker::Confessed);
            }
            ToWorker::Backtraces => {
                if let Some(mut text) = self.confession.ask().await {
                    text.truncate(text.floor_char_boundary(BACKTRACES_BYTES_MAX));
                    self.say(&FromWorker::Backtraces { text });
                }
            }
            ToWorker::ReopenLogs => {
                if let Err(error) = reopen_logs(&self.config) {
                    events::complain(&chain(&error));
                }
            }
            ToWorker::Drain(_) | ToWorker::Promote { .. } => {}
        }
    }

    fn say(&self, word: &FromWorker) {
        if let Err(error) = self.channel.send(word, &[]) {
            events::complain(&chain(&error));
        }
    }
}

fn promoted(generation: u32, descriptors: Vec<OwnedFd>) -> Option<Promotion> {
    let mut descriptors = descriptors.into_iter();
    let channel = Private::new(Channel::from_fd(descriptors.next()?));
    Some(Promotion { channel, listeners: descriptors.map(Private::new).collect(), generation })
}

/// The next order to drain that is stronger than `last`; the worker's own TERM is one too.
pub(super) async fn next_manner(
    told: &mut watch::Receiver<Option<Manner>>,
    last: Option<Manner>,
    own: &Notify,
) -> Manner {
    let stronger = async {
        match told.wait_for(|manner| *manner > last).await {
            Ok(manner) => manner.unwrap_or(Manner::Promptly),
            // The ears are gone, so everything has been said.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        manner = stronger => manner,
        () = own.notified() => Manner::Promptly,
    }
}
