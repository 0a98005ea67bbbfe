//! Many random lives of a fleet in a world that fails in every way, and what must hold in all of
//! them.

use super::*;

/// A world in which processes load, serve, hang and die by chance.
struct World {
    story: Story,
    seed: u64,
    molds: BTreeMap<GenerationId, bool>,
    /// Workers that were asked for, and their pids once they were forked.
    processes: BTreeMap<WorkerId, Option<i32>>,
    proving: bool,
    finished: bool,
    /// Slots were served, and nobody has died by chance since.
    unharmed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let workers = u16::try_from(seed % 3 + 1).unwrap();
        let mut world = Self {
            story: Story::new(workers),
            seed,
            molds: BTreeMap::new(),
            processes: BTreeMap::new(),
            proving: false,
            finished: false,
            unharmed: false,
        };
        world.give(Event::Tick);
        world
    }

    /// A number below `limit`, by a linear congruential generator (Knuth's MMIX constants).
    fn chance(&mut self, limit: u64) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % limit
    }

    fn give(&mut self, event: Event) {
        let actions = self.story.on(event);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            // What comes of a mold that ends at once may overtake the giving up of its workers.
            let is_late = self.finished && !matches!(action, Action::Disown(_));
            assert!(!is_late, "{action:?} after the end");
            match action {
                Action::SpawnMold(generation) => {
                    assert_eq!(self.molds.insert(generation, false), None, "two molds");
                }
                Action::DismissMold(generation) | Action::KillMold(generation) => {
                    // It may take its time.
                    if self.chance(2) == 0 && self.molds.remove(&generation).is_some() {
                        self.give(Event::MoldExited(generation, failure()));
                    }
                }
                Action::AskForFork(worker) => {
                    self.processes.insert(worker, None);
                }
                Action::Promote(worker, generation) => {
                    self.processes.remove(&worker);
                    self.molds.insert(generation, false);
                }
                Action::Kill(worker, pid, _) => {
                    assert_eq!(self.processes.get(&worker), Some(&Some(pid)), "a stranger");
                }
                Action::Prove => self.proving = true,
                Action::KillProof => self.proving = false,
                Action::Become => {
                    let text = serde_json::to_string(&self.story.fleet).unwrap();
                    self.story.fleet = serde_json::from_str(&text).unwrap();
                    let mut actions = Vec::new();
                    self.story.fleet.become_done(PLAN, self.story.now, &mut actions);
                    self.carry_out(actions);
                }
                Action::AnnounceServing => self.unharmed = true,
                Action::Finish(_) => self.finished = true,
                // It comes too late, or not at all.
                Action::Disown(worker) => {
                    let process = self.processes.remove(&worker).flatten();
                    assert_eq!(process, None, "it was born, and would serve unseen");
                }
                Action::Drain(..) | Action::AskForConfession(..) | Action::Forget(_) => {}
                Action::RestartBegun(..) | Action::RestartEnded(_) => {}
            }
        }
    }

    fn some_worker(&mut self) -> Option<WorkerId> {
        let count = u64::try_from(self.processes.len()).unwrap();
        let place = usize::try_from(self.chance(count.max(1))).unwrap();
        self.processes.keys().nth(place).copied()
    }

    fn live(&mut self) {
        match self.chance(12) {
            0..=3 => self.worker_goes_on(),
            4 => self.mold_goes_on(),
            5 => self.proof_goes_on(),
            6 => {
                let kinds = [Kind::Full, Kind::Phased, Kind::Refork];
                let kind = kinds[usize::try_from(self.chance(3)).unwrap()];
                let (_, actions) = self.story.ask(kind);
                self.carry_out(actions);
            }
            7 => {
                let seconds = self.chance(40);
                self.story.now += Duration::from_secs(seconds);
                self.give(Event::Tick);
            }
            8 if self.chance(4) == 0 => self.accident(),
            9 => {
                if let Some(worker) = self.some_worker() {
                    self.give(Event::Recycle(worker));
                }
            }
            10 if self.chance(8) == 0 => {
                let by = 1;
                let changes = [WorkersChange::More(by), WorkersChange::Fewer { by, least: 1 }];
                let change = changes[usize::try_from(self.chance(2)).unwrap()];
                if self.story.fleet.slots_wanted() < 5 {
                    self.give(Event::Workers(change));
                }
            }
            _ => {}
        }
    }

    /// A worker is forked, serves, or leaves if it was told to.
    fn worker_goes_on(&mut self) {
        let Some(id) = self.some_worker() else { return };
        let state = self.story.fleet.worker(id).map(|view| view.state);
        match (self.processes.get(&id).copied().flatten(), state) {
            (None, _) => {
                self.processes.insert(id, Some(pid(id)));
                self.give(Event::Worker(id, worker_state::Event::Forked { pid: pid(id) }));
            }
            (Some(_), Some(worker_state::State::Booting { .. })) => {
                self.give(Event::Worker(id, worker_state::Event::ReportedReady));
            }
            (Some(_), Some(worker_state::State::Ready { .. })) => {}
            (Some(_), _) => self.worker_dies(id, true),
        }
    }

    fn worker_dies(&mut self, worker: WorkerId, clean: bool) {
        self.processes.remove(&worker);
        self.give(Event::WorkerExited { worker, clean, failure: None });
    }

    fn mold_goes_on(&mut self) {
        let Some((generation, loaded)) = self.molds.iter().next_back().map(|(a, b)| (*a, *b))
        else {
            return;
        };
        if !loaded {
            if self.chance(3) > 0 {
                self.molds.insert(generation, true);
                return self.give(Event::MoldLoaded(generation));
            }
            self.molds.remove(&generation);
            self.give(Event::MoldExited(generation, failure()));
        }
    }

    fn proof_goes_on(&mut self) {
        if std::mem::take(&mut self.proving) {
            let is_good = self.chance(3) > 0;
            self.give(if is_good { Event::Proved } else { Event::NotProved(failure()) });
        }
    }

    /// Somebody is killed.
    fn accident(&mut self) {
        self.unharmed = false;
        if self.chance(3) == 0
            && let Some(generation) = self.molds.keys().next().copied()
        {
            self.molds.remove(&generation);
            return self.give(Event::MoldExited(generation, failure()));
        }
        if let Some(worker) = self.some_worker() {
            if self.processes.get(&worker).copied().flatten().is_some() {
                self.worker_dies(worker, false);
            } else {
                self.processes.remove(&worker);
                self.give(Event::Worker(worker, worker_state::Event::Lost));
            }
        }
    }

    /// Everybody who is told to leave leaves in the end.
    fn end(&mut self) {
        self.give(Event::StopGracefully);
        for _ in 0..20 {
            if self.finished {
                return;
            }
            self.story.now += Duration::from_mins(2);
            self.give(Event::Tick);
            for (generation, _) in std::mem::take(&mut self.molds) {
                self.give(Event::MoldExited(generation, failure()));
            }
            for (worker, pid) in std::mem::take(&mut self.processes) {
                let lost = Event::Worker(worker, worker_state::Event::Lost);
                let exited = Event::WorkerExited { worker, clean: true, failure: None };
                self.give(if pid.is_some() { exited } else { lost });
            }
        }
        panic!("it does not end: {:?}", self.story.fleet);
    }
}

/// Slots that a restart, a recycling or a refork touches are served at every moment: only a death
/// by accident may leave one empty.
#[test]
fn nothing_but_an_accident_empties_a_slot() {
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        let mut was_served = 0;
        for step in 0..400 {
            world.live();
            let served = world.story.served().len();
            let wanted = usize::from(world.story.fleet.slots_wanted());
            let context = format!("seed {seed}, step {step}: {:?}", world.story.fleet);
            assert!(world.molds.len() <= 2, "molds pile up: {context}");
            if world.unharmed {
                assert!(served >= was_served.min(wanted), "{context}");
            }
            was_served = if world.unharmed { served.min(wanted) } else { 0 };
            if !world.unharmed && served == wanted {
                world.unharmed = true;
            }
            if world.finished {
                break;
            }
        }
    }
}

/// Whatever has happened, a stop leads to the end, once.
#[test]
fn every_life_can_be_ended() {
    for seed in 0..1_000 {
        let mut world = World::new(seed);
        for _ in 0..seed % 300 {
            if world.finished {
                break;
            }
            world.live();
        }
        if !world.finished {
            world.end();
        }
    }
}
