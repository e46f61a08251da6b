//! Sessions that train on the GPU, natively: on whatever adapter there is, of software at least.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use qnn_core::spec::{Bits, NetworkSpec};
use qnn_gpu::{Gpu, GpuError, Request};
use qnn_protocol::{DataSource, FromEngine, GpuState, ToEngine};

use crate::session::{Pace, Session};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session as the worker runs it.
struct Driven {
    session: Session,
    gpu: Rc<Gpu>,
    heard: Vec<FromEngine>,
    begun: Instant,
}

impl Driven {
    /// On procedural digits, with a small network, training.
    fn new() -> Driven {
        let gpu = pollster::block_on(Gpu::open(Request::default()));
        let gpu = Rc::new(gpu.expect("an adapter, of software at least"));
        let mut session = Session::default();
        session.receive(ToEngine::Configure {
            network: 0,
            spec: spec(),
        });
        session.receive(ToEngine::UseData {
            source: DataSource::Procedural,
        });
        session.gpu_opened(Ok(gpu.clone()));
        session.gpu_ready(Ok(None));
        session.receive(ToEngine::Train);
        Driven {
            session,
            gpu,
            heard: Vec::new(),
            begun: Instant::now(),
        }
    }

    fn tell(&mut self, message: ToEngine) {
        self.session.receive(message);
    }

    /// Works until `is_there`.
    fn until(&mut self, what: &str, mut is_there: impl FnMut(&Driven) -> bool) {
        let begun = Instant::now();
        while !is_there(self) {
            assert!(begun.elapsed() < PATIENCE, "still waiting: {what}");
            self.turn();
        }
    }

    /// What the worker does between two turns of its event loop.
    fn turn(&mut self) {
        if let Some(made) = self.session.begin_move() {
            let (network, made) = made;
            let made = pollster::block_on(made);
            self.session.end_move(network, made);
        }
        let start = self.begun;
        let now = || start.elapsed().as_secs_f64() * 1e3;
        match self.session.turn_to_gpu(now()) {
            Pace::Busy => self.session.work(&now),
            Pace::Waiting => std::thread::sleep(Duration::from_millis(1)),
        }
        self.heard.extend(self.session.take_messages());
    }

    fn on_gpu(&self) -> bool {
        let told = |message: &FromEngine| match message {
            FromEngine::Backend { on_gpu, .. } => Some(*on_gpu),
            _ => None,
        };
        self.heard.iter().rev().find_map(told).unwrap_or(false)
    }

    /// The steps that were told, in their order.
    fn steps(&self) -> Vec<u32> {
        self.points().map(|(step, _)| step).collect()
    }

    fn points(&self) -> impl Iterator<Item = (u32, f32)> {
        let progress = self.heard.iter().filter_map(|message| match message {
            FromEngine::Progress { steps, .. } => Some(steps),
            _ => None,
        });
        progress.flatten().map(|point| (point.step, point.loss))
    }

    fn last_step(&self) -> u32 {
        self.points().last().map_or(0, |(step, _)| step)
    }

    fn move_to_gpu(&mut self) {
        self.until("some steps", |driven| driven.last_step() >= 3);
        self.tell(ToEngine::UseGpu { wanted: true });
        self.until("the GPU", Driven::on_gpu);
        let from = self.last_step();
        self.until("steps there", |driven| driven.last_step() > from + 3);
    }

    /// Why the GPU is not used any more, as told last.
    fn refusal(&self) -> String {
        let told = |message: &FromEngine| match message {
            FromEngine::Backend {
                message,
                wants_gpu: false,
                ..
            } => message.clone(),
            _ => None,
        };
        self.heard.iter().rev().find_map(told).unwrap_or_default()
    }

    /// Step and training of the last state told.
    fn state(&self) -> (u32, bool) {
        let told = |message: &FromEngine| match message {
            FromEngine::State { step, training, .. } => Some((*step, *training)),
            _ => None,
        };
        self.heard.iter().rev().find_map(told).unwrap()
    }
}

fn spec() -> NetworkSpec {
    NetworkSpec {
        hidden: vec![32],
        ..NetworkSpec::default()
    }
}

fn are_in_order(steps: &[u32]) -> bool {
    steps
        .iter()
        .zip(1..)
        .all(|(step, expected)| *step == expected)
}

#[test]
fn training_moves_to_the_gpu_and_back_and_what_was_learned_stays() {
    let mut driven = Driven::new();
    driven.move_to_gpu();
    driven.until("a test of what the GPU has learned", |driven| {
        let is_later = |message: &FromEngine| {
            matches!(message, FromEngine::Evaluated { step, .. } if *step > 60)
        };
        driven.heard.iter().any(is_later)
    });
    driven.tell(ToEngine::UseGpu { wanted: false });
    driven.until("the processor", |driven| !driven.on_gpu());
    let from = driven.last_step();
    driven.until("steps there", |driven| driven.last_step() > from + 5);
    assert!(are_in_order(&driven.steps()), "{:?}", driven.steps());
    let losses: Vec<f32> = driven.points().map(|(_, loss)| loss).collect();
    assert!(losses[losses.len() - 1] < losses[0] / 2.0);
}

#[test]
fn a_pause_and_single_steps_bring_back_all_that_was_learned() {
    let mut driven = Driven::new();
    driven.move_to_gpu();
    driven.tell(ToEngine::Pause);
    driven.until("rest", |driven| !driven.session.has_work());
    let step = driven.last_step();
    assert_eq!(driven.session.trained_steps(), step);
    assert_eq!(driven.state(), (step, false), "the last state told");
    driven.tell(ToEngine::Step);
    driven.until("rest", |driven| !driven.session.has_work());
    assert_eq!(driven.last_step(), step + 1);
    assert_eq!(driven.session.trained_steps(), step + 1);
    assert!(driven.on_gpu() && are_in_order(&driven.steps()));
}

#[test]
fn a_lost_device_costs_little_and_training_goes_on() {
    let mut driven = Driven::new();
    driven.move_to_gpu();
    driven.until("what was learned", |driven| {
        driven.session.trained_steps() > 5
    });
    let kept = driven.session.trained_steps();
    driven.gpu.destroy();
    driven.until("the processor", |driven| !driven.on_gpu());
    let told = driven.heard.iter().rev().find_map(|message| match message {
        FromEngine::Backend {
            message, wants_gpu, ..
        } => Some((message.clone()?, *wants_gpu)),
        _ => None,
    });
    let (message, wants_gpu) = told.unwrap();
    assert!(
        message.contains("was lost") && message.contains("goes on with the processor"),
        "{message}"
    );
    assert!(!wants_gpu);
    let (step, training) = driven.state();
    assert!(step >= kept && training, "{step} {kept}");
    driven.until("steps there", |driven| {
        let last = driven.last_step();
        driven.heard.last().is_some() && last > step && last < step + 1000
    });
    // Another one can be opened.
    assert!(
        driven
            .session
            .receive(ToEngine::UseGpu { wanted: true })
            .is_some()
    );
}

#[test]
fn settings_and_data_change_in_the_middle_of_it() {
    let mut driven = Driven::new();
    driven.move_to_gpu();
    let changed = NetworkSpec {
        weight_bits: Bits::ALL[1],
        batch_size: 50,
        ..spec()
    };
    driven
        .heard
        .retain(|message| matches!(message, FromEngine::Progress { .. }));
    driven.tell(ToEngine::Configure {
        network: 0,
        spec: changed,
    });
    let left = Cell::new(false);
    driven.until("the GPU again", |driven| {
        let told = driven.heard.iter().filter_map(|message| match message {
            FromEngine::Backend { on_gpu, .. } => Some(*on_gpu),
            _ => None,
        });
        let told: Vec<bool> = told.collect();
        left.set(told.contains(&false));
        left.get() && told.last() == Some(&true)
    });
    let from = driven.last_step();
    driven.until("steps there", |driven| driven.last_step() > from + 5);
    assert!(are_in_order(&driven.steps()));
    // Digits of another seed, and a new network.
    driven.tell(ToEngine::Configure {
        network: 0,
        spec: NetworkSpec { seed: 9, ..spec() },
    });
    driven.heard.clear();
    driven.until("the new one on the GPU", Driven::on_gpu);
    let from = driven.last_step();
    driven.until("steps there", |driven| driven.last_step() > from + 5);
    assert!(are_in_order(&driven.steps()));
}

#[test]
fn a_gpu_that_takes_no_network_is_said_and_the_processor_trains_on() {
    let mut driven = Driven::new();
    driven.until("a step", |driven| driven.last_step() > 0);
    driven.tell(ToEngine::UseGpu { wanted: true });
    let (network, made) = driven.session.begin_move().unwrap();
    driven.gpu.destroy();
    let made = pollster::block_on(made);
    assert!(made.is_err());
    driven.session.end_move(network, made);
    let from = driven.last_step();
    driven.until("steps", |driven| driven.last_step() > from + 5);
    assert!(driven.refusal().contains("was lost"));
    assert!(!driven.on_gpu() && are_in_order(&driven.steps()));
    // So does one whose tiles cannot race.
    let error = GpuError::Program("it makes no sense".into());
    driven.session.gpu_opened(Ok(driven.gpu.clone()));
    driven.session.gpu_ready(Err(error));
    driven.turn();
    assert!(driven.refusal().contains("it makes no sense"));
}

#[test]
fn training_that_diverges_on_the_gpu_pauses_before_the_step_that_failed() {
    let mut driven = Driven::new();
    driven.until("some steps", |driven| driven.last_step() >= 3);
    driven.tell(ToEngine::Pause);
    driven.until("rest", |driven| !driven.session.has_work());
    driven.session.spoil();
    // It moves in a pause, too.
    driven.tell(ToEngine::UseGpu { wanted: true });
    driven.until("the GPU", Driven::on_gpu);
    driven.tell(ToEngine::Train);
    let refused = |message: &FromEngine| match message {
        FromEngine::Refused { message } => Some(message.clone()),
        _ => None,
    };
    driven.until("a sentence", |driven| {
        driven
            .heard
            .iter()
            .any(|message| refused(message).is_some())
    });
    driven.until("rest", |driven| !driven.session.has_work());
    let sentence = driven.heard.iter().find_map(refused).unwrap();
    let (step, training) = driven.state();
    assert!(
        !training && sentence.contains(&format!("step {}", step + 1)),
        "{sentence} {step}"
    );
    assert!(are_in_order(&driven.steps()) && driven.last_step() == step);
    assert_eq!(driven.session.trained_steps(), step);
}

#[test]
fn no_gpu_is_said_and_nothing_else_changes() {
    let mut driven = Driven::new();
    driven.session.gpu_opened(Err(GpuState::NoWebGpu));
    driven.until("steps", |driven| driven.last_step() > 3);
    let said = |message: &FromEngine| {
        matches!(
            message,
            FromEngine::Gpu {
                state: GpuState::NoWebGpu
            }
        )
    };
    assert!(driven.heard.iter().any(said));
}
