//! `lazaret run`: starts everything in order, watches over it, stops it in order.
//!
//! Recovery comes before the first worker, the workers before the listeners;
//! stopping goes the other way round, so that nothing comes in that nobody will
//! take on. The supervisor is one loop over one closed set of events. It must
//! never block on a message.

use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use lazaret_delivery::TransportConfig;
use lazaret_envelope::Timestamp;
use lazaret_intake::{DropWatcher, IntakeGate, Listener, ListenerHandle, Pause, SizeMax};
use lazaret_spool::{Owner, Spool};
use lazaret_worker::Backlog;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tracing::{error, info, warn};

use crate::config::{self, Config};
use crate::control::{self, Answer, Asked, Part, Request};
use crate::engine::{Engine, OnBroken, Prepared};
use crate::exit::{self, Failure};
use crate::pressure::PressureWatch;
use crate::queue::{QueueNotes, QueueWatch};
use crate::service;
use crate::status::Status;
use crate::waiting::{LongestWait, Notice, Waiting};
use crate::watcher::Watcher;

mod reload;

/// Everything that the supervisor hears of.
enum Event {
    /// SIGTERM or SIGINT.
    Stop(i32),
    /// SIGHUP.
    Reload,
    /// The spool can keep its promises no longer.
    Broken(String),
    /// An operator's command.
    Asked(Asked),
}

/// How often the traces of finished messages are made durable: the window in
/// which a power cut can bring a delivered message back. `queue-layout.md`
/// promises 100 ms.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

/// How often a draining daemon looks whether it is done.
const DRAIN_EVERY: Duration = Duration::from_millis(50);

/// How long sessions may take to finish a message when the daemon stops.
const SESSION_GRACE: Duration = Duration::from_secs(2);

/// `lazaret run`
pub fn run(config: Config, drain: bool) -> Result<ExitCode, Failure> {
    for warning in config::warnings(&config) {
        warn!("configuration: {warning}");
    }
    let owner = Owner::take(Spool::create(&config.spool)?)?;
    if let Some(doubt) = lazaret_spool::doubt(&config.spool) {
        warn!("the spool {} is on {doubt}", config.spool.display());
    }
    let deferred_before = owner.spool().count()?.deferred;
    owner.recover()?;
    let mut daemon = Daemon::start(config, owner)?;
    let ended = if drain { daemon.drain()? } else { daemon.serve()? };
    let owner = daemon.owner.clone();
    daemon.stop();
    match ended {
        Ended::Broken(error) => Err(Failure::new(
            exit::BROKEN,
            format!("stopped: {error}; see to the disk before the next start, which accounts for all mail"),
        )),
        Ended::Failed(failure) => {
            owner.stop_cleanly()?;
            Err(failure)
        }
        Ended::Asked | Ended::Drained => {
            owner.stop_cleanly()?;
            info!("stopped cleanly");
            let counts = owner.spool().count()?;
            let left = drain && (counts.waiting > 0 || counts.deferred > deferred_before);
            Ok(if left { ExitCode::from(exit::LEFT_OVER) } else { ExitCode::SUCCESS })
        }
    }
}

/// Why the supervisor's loop ended.
enum Ended {
    Asked,
    Drained,
    /// The spool can't be relied on any more.
    Broken(String),
    /// Something else that can't be done without; the spool is in order.
    Failed(Failure),
}

/// The parts that run.
struct Daemon {
    config: Config,
    owner: Owner,
    since: Timestamp,
    backlog: Arc<Backlog>,
    engine: Engine,
    gate: Arc<IntakeGate>,
    size_max: SizeMax,
    longest_wait: LongestWait,
    /// To whoever looks after `waiting/`, once there is somebody.
    hurry: Option<Sender<Notice>>,
    listeners: Vec<ListenerHandle>,
    /// While mail comes in.
    pressure: Option<PressureWatch>,
    /// To whoever counts the queue, while mail comes in.
    queue: Option<QueueNotes>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

impl Daemon {
    /// Starts what works on the queue; nothing comes in yet.
    fn start(config: Config, owner: Owner) -> Result<Self, Failure> {
        let (sender, events) = unbounded();
        watch_signals(sender.clone())?;
        let backlog = Arc::new(Backlog::new(owner.clone()));
        let engine = Prepared::new(&config, &owner, None, on_broken(&sender))?.start(Arc::clone(&backlog))?;
        let report = sender.clone();
        let gate = Arc::new(IntakeGate::new(config.intake.reserve(), move |error| {
            drop(report.send(Event::Broken(error.to_string())))
        }));
        let mut daemon = Self {
            since: owner.spool().now(),
            size_max: config.workers.max_size.0.into(),
            longest_wait: LongestWait::new(config.retry.max),
            config,
            owner,
            backlog,
            engine,
            gate,
            hurry: None,
            listeners: Vec::new(),
            pressure: None,
            queue: None,
            stop: Arc::default(),
            threads: Vec::new(),
            events,
            sender,
        };
        daemon.keep_flushing()?;
        Ok(daemon)
    }

    /// Makes the traces of finished messages durable, again and again.
    fn keep_flushing(&mut self) -> Result<(), Failure> {
        let (owner, stop, sender) = (self.owner.clone(), Arc::clone(&self.stop), self.sender.clone());
        let flush = move || {
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = owner.flush() {
                    return drop(sender.send(Event::Broken(error.to_string())));
                }
                thread::sleep(FLUSH_EVERY);
            }
        };
        self.threads.push(thread::Builder::new().name("flush".into()).spawn(flush)?);
        Ok(())
    }

    /// Takes mail in and works until asked to stop.
    fn serve(&mut self) -> Result<Ended, Failure> {
        self.watch_directories()?;
        self.pressure = Some(PressureWatch::start(&self.config.intake, Arc::clone(&self.gate))?);
        let sender = self.sender.clone();
        control::listen(self.owner.spool(), move |asked| drop(sender.send(Event::Asked(asked))))?;
        for config in &self.config.listen {
            let listener = Listener::bind(
                config,
                self.owner.spool().clone(),
                self.config.hostname.clone(),
                self.size_max.clone(),
                Arc::clone(&self.gate),
            );
            let bound = listener.and_then(Listener::start);
            let failed =
                |error| Failure::new(exit::OS, format!("failed to listen on {}: {error}", config.address));
            match bound.map_err(failed) {
                Ok(listener) => self.listeners.push(listener),
                Err(failure) => return Ok(Ended::Failed(failure)),
            }
        }
        exit::print(self.banner())?;
        service::ready();
        let (events, heartbeat) = (self.events.clone(), service::heartbeat());
        loop {
            select! {
                recv(events) -> event => {
                    let Ok(event) = event else { return Ok(Ended::Asked) };
                    if let Some(ended) = self.handle(event) {
                        return Ok(ended);
                    }
                }
                recv(heartbeat) -> _ => service::alive(),
            }
        }
    }

    /// Works off what is there.
    fn drain(&mut self) -> Result<Ended, Failure> {
        self.owner.mark_full(false)?;
        let mut waiting = self.waiting();
        waiting.wake_due()?;
        let mut drop_watcher = self.drop_watcher();
        while drop_watcher.sweep(&|| true)?.more {}
        loop {
            match self.events.recv_timeout(DRAIN_EVERY) {
                Ok(event) => {
                    if let Some(ended) = self.handle(event) {
                        return Ok(ended);
                    }
                }
                Err(_) if self.engine.is_drained()? => return Ok(Ended::Drained),
                Err(_) => {}
            }
        }
    }

    fn waiting(&self) -> Waiting {
        Waiting::new(self.owner.clone(), self.longest_wait.clone())
    }

    fn drop_watcher(&self) -> DropWatcher {
        DropWatcher::new(self.owner.clone(), Arc::clone(&self.gate), self.size_max.clone())
    }

    fn watch_directories(&mut self) -> Result<(), Failure> {
        let (waiting, notices) = unbounded();
        self.hurry = Some(waiting.clone());
        let (dropped, knocks) = bounded(1);
        let sender = self.sender.clone();
        let waiting_thread = self.waiting().start(notices, Arc::clone(&self.stop), move |error| {
            drop(sender.send(Event::Broken(error.to_string())));
        });
        self.threads.push(waiting_thread?);
        let sender = self.sender.clone();
        let (queue, counter) =
            QueueWatch::start(self.owner.clone(), self.config.intake.queue_length, move |error| {
                drop(sender.send(Event::Broken(error.to_string())));
            })?;
        self.threads.push(counter);
        self.queue = Some(queue.clone());
        let watcher = Watcher { backlog: Arc::clone(&self.backlog), waiting, dropped, queue };
        let sender = self.sender.clone();
        let watcher = watcher.start(self.owner.spool(), Arc::clone(&self.stop), move |error| {
            drop(sender.send(Event::Broken(error.to_string())));
        });
        self.threads.push(watcher?);
        let (mut drop_watcher, stop, sender) =
            (self.drop_watcher(), Arc::clone(&self.stop), self.sender.clone());
        let sweep = move || {
            let go_on = || !stop.load(Ordering::Relaxed);
            while go_on() {
                match drop_watcher.sweep(&go_on) {
                    Err(error) => return drop(sender.send(Event::Broken(error.to_string()))),
                    Ok(sweep) if sweep.more => {}
                    // The watcher's end is the end of its notices.
                    Ok(_) if knocks.recv().is_err() => return,
                    Ok(_) => {}
                }
            }
        };
        self.threads.push(thread::Builder::new().name("drop".into()).spawn(sweep)?);
        Ok(())
    }

    /// Acts on an event; says if it was the last.
    fn handle(&mut self, event: Event) -> Option<Ended> {
        match event {
            Event::Stop(signal) => {
                info!(signal, "asked to stop");
                Some(Ended::Asked)
            }
            Event::Broken(error) => {
                error!(%error, "the spool can't be trusted any more; stopping");
                Some(Ended::Broken(error))
            }
            Event::Reload => self.reload_told().1,
            Event::Asked((request, answer)) => {
                let (done, ended) = match request {
                    Request::Status => (Answer::Status(Box::new(self.status())), None),
                    Request::Release(id) => (control::release(&self.owner, &self.engine.pool, id), None),
                    Request::Delete(id) => (control::delete(&self.owner, id), None),
                    Request::Bounce(id) => (control::give_up(&self.owner, &self.config, id), None),
                    Request::Repair(trouble, place) => (control::repair(&self.owner, trouble, &place), None),
                    Request::Pause(part) => (self.pause(part), None),
                    Request::Resume(part) => (self.resume(part), None),
                    Request::Reload => self.reload_told(),
                    Request::Retry => (self.retry(), None),
                };
                // Fails only when the command has given up waiting.
                let _ = answer.send(done);
                ended
            }
        }
    }

    /// Has all mail that waits tried now, whatever its next hops were like.
    fn retry(&self) -> Answer {
        self.engine.delivery.hasten();
        // Fails only when the other side has ended.
        let _ = self.hurry.as_ref().map(|waiting| waiting.send(Notice::Hurry));
        Answer::Done
    }

    fn pause(&self, part: Part) -> Answer {
        match part {
            Part::Intake => drop(self.gate.pause(Pause::Operator)),
            Part::Routing => self.backlog.pause(),
        }
        info!(?part, "paused by an operator");
        Answer::Part(self.hindrance(part))
    }

    fn resume(&self, part: Part) -> Answer {
        match part {
            Part::Intake => {
                self.gate.resume(Pause::Operator);
                // Room that was made since the last look counts.
                let _ = self.gate.admit(self.owner.spool(), None);
            }
            Part::Routing => self.backlog.resume(),
        }
        info!(?part, "resumed by an operator");
        Answer::Part(self.hindrance(part))
    }

    /// Why a part of the work stands still.
    fn hindrance(&self, part: Part) -> Option<String> {
        match part {
            Part::Intake => self.gate.closed(self.owner.spool()),
            Part::Routing => self.backlog.paused(),
        }
        .map(str::to_owned)
    }

    fn status(&self) -> Status {
        let repeats = self.engine.pool.repeats();
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since.strftime("%FT%TZ").to_string(),
            oldest_incoming: self.backlog.oldest().map(|time| time.strftime("%FT%TZ").to_string()),
            sessions: self.gate.counters().sessions,
            intake_paused: self.hindrance(Part::Intake),
            routing_paused: self.hindrance(Part::Routing),
            workers_at_full_speed: self.config.workers.workers(),
            workers: self.engine.pool.status().into_iter().map(Into::into).collect(),
            connections: self.engine.delivery.connections() as u64,
            transports: self.engine.delivery.status().into_iter().map(Into::into).collect(),
            repeats_known: repeats.known,
            repeats_on_sight: repeats.on_sight,
            costs: self.engine.pool.costs().into(),
        }
    }

    /// What a newcomer wants to know, and scripts wait for.
    fn banner(&self) -> String {
        let mut text =
            format!("lazaret {}\nspool {}\n", env!("CARGO_PKG_VERSION"), self.config.spool.display());
        for listener in &self.listeners {
            let _ = writeln!(text, "listening for {} on {}", listener.protocol(), listener.local_address());
        }
        for (name, transport) in &self.config.transports {
            let target = match transport {
                TransportConfig::Maildir(maildir) => format!("Maildirs {}", maildir.path),
                TransportConfig::Smtp(smtp) => format!("SMTP to {}", smtp.next_hops.join(", ")),
                TransportConfig::Lmtp(lmtp) => format!("LMTP to {}", lmtp.next_hops.join(", ")),
                TransportConfig::Pipe(pipe) => format!("program {}", pipe.command[0]),
                TransportConfig::Discard(_) => "nowhere".to_owned(),
            };
            let _ = writeln!(text, "delivering by {name}: {target}");
        }
        let config =
            self.config.file.as_ref().map_or(String::new(), |file| format!("--config {} ", file.display()));
        let program = std::env::current_exe().map_or("lazaret".into(), |path| path.display().to_string());
        let _ = writeln!(text, "send a first message:");
        let _ = writeln!(
            text,
            "    printf 'Subject: hello\\n\\nHello.\\n' | {program} submit {config}-f me@example.org you@example.org"
        );
        text + "ready\n"
    }

    /// Stops everything, intake first. What is not finished goes back unmarked.
    fn stop(self) {
        let started = Instant::now();
        service::stopping();
        self.stop.store(true, Ordering::Relaxed);
        self.owner.wait_no_more();
        self.listeners.iter().for_each(ListenerHandle::close);
        for listener in self.listeners {
            listener.stop(SESSION_GRACE.saturating_sub(started.elapsed()));
        }
        self.engine.stop();
        // Who looks after `waiting/`, and who counts, end when nobody can tell them
        // anything any more.
        drop((self.hurry, self.queue));
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a thread had ended by a panic");
            }
        }
        info!(seconds = started.elapsed().as_secs_f32(), "everything has stopped");
    }
}

/// Tells the supervisor that the spool can keep its promises no longer.
fn on_broken(sender: &Sender<Event>) -> OnBroken {
    let sender = sender.clone();
    Arc::new(move |error| drop(sender.send(Event::Broken(error.to_string()))))
}

/// Tells the supervisor of signals.
fn watch_signals(sender: Sender<Event>) -> Result<(), Failure> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop(signal) };
            if sender.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
