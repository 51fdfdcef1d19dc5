//! The daemon takes over another configuration.
//!
//! Everything that can be refused is refused before anything is touched: then
//! the old configuration stays in force. Intake must never pause for it, and no
//! message be marked.

use std::sync::Arc;

use lazaret_delivery::Files;
use lazaret_intake::{Identity, ListenerHandle};
use tracing::{error, warn};

use super::{Daemon, Ended, on_broken};
use crate::config::{self, Config};
use crate::control::Answer;
use crate::differences::differences;
use crate::engine::Prepared;
use crate::exit::{self, Failure};
use crate::pressure::PressureWatch;
use crate::reload::Reloaded;
use crate::service;

/// A configuration that was not refused, and what it takes to put it in force.
struct Next {
    config: Config,
    /// If it differs in anything that the engine at work depends on.
    engine: Option<Prepared>,
    /// What transports name on disk, read anew, if the deliveries at work stay.
    files: Option<Files>,
    /// The certificates of the listeners, in their order, read anew.
    identities: Vec<Option<Identity>>,
    /// If it differs in when intake closes.
    pressure: Option<PressureWatch>,
}

impl Daemon {
    /// Reloads, and has the service manager know.
    pub(super) fn reload_told(&mut self) -> (Answer, Option<Ended>) {
        service::reloading();
        let done = self.reload();
        service::ready();
        done
    }

    /// Reads the configuration again and puts in force what can be. Says what came of
    /// it, and whether that was the daemon's end.
    fn reload(&mut self) -> (Answer, Option<Ended>) {
        let (reloaded, next) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(failure) => {
                warn!(failure = failure.text(), "not reloaded: the configuration stays as it was");
                return (failure.into(), None);
            }
        };
        if let Some(Err(failure)) = next.map(|next| self.take_over(next)) {
            error!(
                failure = failure.text(),
                "stopping: the new configuration was right and can't be put in force"
            );
            return (failure.clone().into(), Some(Ended::Failed(failure)));
        }
        reloaded.log();
        (Answer::Reloaded(Box::new(reloaded)), None)
    }

    /// What there is to be done, if anything.
    fn prepare(&self) -> Result<(Reloaded, Option<Next>), Failure> {
        let running = &self.config;
        let Some(file) = &running.file else { return Ok((Reloaded::default(), None)) };
        let written = config::load_to_run(Some(file))?;
        let config = written.clone().reloaded_into(running);
        let reloaded = Reloaded {
            file: Some(file.display().to_string()),
            in_force: differences(running, &config),
            needs_restart: differences(&config, &written),
            warnings: config::warnings(&written),
        };
        let same_delivery = config.delivery() == running.delivery();
        let same_work = config.workers == running.workers && config.routes == running.routes;
        let identities = self.listeners.iter().map(ListenerHandle::read_identity).collect::<Result<_, _>>();
        let identities = identities.map_err(|error| Failure::new(exit::CONFIG, error.to_string()))?;
        let files = same_delivery.then(|| config.delivery().read_files()).transpose();
        let files = files.map_err(|error| Failure::new(exit::CONFIG, error.to_string()))?;
        let mut next = Next { config, engine: None, files, identities, pressure: None };
        if !same_delivery || !same_work {
            let kept = same_delivery.then(|| Arc::clone(&self.engine.delivery));
            next.engine = Some(Prepared::new(&next.config, &self.owner, kept, on_broken(&self.sender))?);
        }
        if next.config.intake != running.intake && self.pressure.is_some() {
            next.pressure = Some(PressureWatch::start(&next.config.intake, Arc::clone(&self.gate))?);
        }
        Ok((reloaded, Some(next)))
    }

    fn take_over(&mut self, next: Next) -> Result<(), Failure> {
        let Next { config, engine, files, identities, pressure } = next;
        if let Some(engine) = engine {
            self.engine.replace(engine)?;
        }
        if let Some(files) = files {
            self.engine.delivery.use_files(files);
        }
        if pressure.is_some() {
            self.pressure = pressure;
        }
        for (listener, identity) in self.listeners.iter().zip(identities) {
            identity.into_iter().for_each(|identity| listener.replace_identity(identity));
        }
        self.gate.keep_free(config.intake.reserve());
        self.queue.iter().for_each(|queue| queue.limit(config.intake.queue_length));
        self.size_max.set(config.workers.max_size.0);
        self.longest_wait.set(config.retry.max);
        self.config = config;
        Ok(())
    }
}
