//! Networks that the tests make files of.

use qnn_core::data::{DIGITS, DataSet};
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::train::Trainer;

pub fn classes(count: usize) -> Vec<String> {
    (0..count)
        .map(|class| format!("class \"{class}\""))
        .collect()
}

/// A network that has learned a little, with gammas of both signs.
pub fn trained(spec: NetworkSpec, data: &DataSet) -> Trainer {
    let mut trainer = Trainer::new(spec, data.test.image_size(), DIGITS).unwrap();
    for _ in 0..3 {
        trainer.step(&data.train).unwrap();
    }
    trainer.take_up(trainer.progress(), |_, state| {
        let gammas = state.gamma[0].iter_mut().step_by(3);
        gammas.for_each(|gamma| *gamma = -*gamma);
    });
    trainer
}

pub fn spec(weights: u8, activations: u8, hidden: Vec<usize>) -> NetworkSpec {
    NetworkSpec {
        hidden,
        weight_bits: Bits::new(weights).unwrap(),
        activation_bits: Bits::new(activations).unwrap(),
        batch_size: 20,
        ..NetworkSpec::default()
    }
}
