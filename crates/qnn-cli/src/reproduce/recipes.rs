//! The named recipes: which networks are trained, for how long, and what the paper says of each. No training here.

use qnn_core::spec::{Bits, Levels, NetworkSpec, Normalization, Optimizer, Preset, Rounding};

/// Epochs of the runs that compare settings on 784-512-512-10.
const COMPARISON_EPOCHS: u32 = 8;
/// Bit widths of the grid.
pub const GRID_BITS: [u8; 5] = [1, 2, 4, 8, 32];
/// Bit widths of the gradients that the grid is trained with.
pub const GRID_GRADIENT_BITS: [u8; 2] = [32, 6];

/// Some runs that answer one question.
pub struct Recipe {
    pub name: &'static str,
    /// What it asks, for the report's heading.
    pub title: &'static str,
    /// What stands below the heading.
    pub about: &'static str,
    pub runs: Vec<Run>,
}

/// A network to be trained.
pub struct Run {
    /// What sets it apart within its recipe.
    pub label: String,
    pub spec: NetworkSpec,
    pub epochs: u32,
    pub published: Option<Published>,
}

/// A figure to stand beside ours.
#[derive(Clone, Copy)]
pub struct Published {
    /// Test error, percent.
    pub test_error: f64,
    pub source: &'static str,
}

const THEANO: Published = Published {
    test_error: 0.96,
    source: "paper, Theano, 1000 epochs",
};
const TORCH7: Published = Published {
    test_error: 1.40,
    source: "paper, Torch7",
};
const BREVITAS: Published = Published {
    test_error: 1.12,
    source: "brevitas LFC 1W1A, 1-bit pixels, 1000 epochs",
};
const BINARY_CONNECT: Published = Published {
    test_error: 1.29,
    source: "BinaryConnect paper, deterministic, ReLU",
};

/// All recipes.
pub fn recipes() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "mnist-1024",
            title: "Three hidden layers of 1024, 1-bit weights and activations",
            about: "Adam, squared hinge loss, batch 100, dropout of a fifth of the pixels.",
            runs: vec![run("1/1 bits", preset("mnist-1024"), 60, Some(BREVITAS))],
        },
        Recipe {
            name: "mnist-2048",
            title: "The paper's Torch7 network: three hidden layers of 2048",
            about: "Stochastic activations in training, shift-based batch normalization and AdaMax, the learning rate \
                    halved every 10 epochs; the authors' code trains without end. The first run instead leaves out a \
                    fifth of the pixels, with ordinary batch normalization and Adam.",
            runs: vec![
                run(
                    "6-bit gradients, pixels left out",
                    integer_gradients(NetworkSpec {
                        hidden: vec![2048; 3],
                        ..preset("mnist-1024")
                    }),
                    60,
                    Some(TORCH7),
                ),
                run(
                    "6-bit gradients",
                    integer_gradients(preset("paper-torch7")),
                    100,
                    Some(TORCH7),
                ),
                run("paper-torch7", preset("paper-torch7"), 100, Some(TORCH7)),
            ],
        },
        Recipe {
            name: "mnist-4096",
            title: "The paper's Theano network: three hidden layers of 4096",
            about: "Dropout of 0.2 of the pixels and half the activations, Glorot learning rates from 0.003 down to \
                    3e-7 over 1000 epochs. The first run instead leaves out pixels alone, with equal learning rates \
                    and twice the batch.",
            runs: vec![
                run(
                    "6-bit gradients, pixels left out",
                    integer_gradients(NetworkSpec {
                        hidden: vec![4096; 3],
                        batch_size: 200,
                        learning_rate_decay: 0.9,
                        ..preset("mnist-1024")
                    }),
                    45,
                    Some(THEANO),
                ),
                run(
                    "6-bit gradients, 100 epochs",
                    hundred_epochs(preset("paper-theano")),
                    100,
                    Some(THEANO),
                ),
                run("paper-theano", preset("paper-theano"), 1000, Some(THEANO)),
            ],
        },
        Recipe {
            name: "bit-grid",
            title: "Every pair of bit widths on 784-512-512-10",
            about: "Linear quantizers, deterministic; gradients of 32 bits and of 6 (linear, stochastic rounding). The \
                    paper has no such table for MNIST.",
            runs: grid(),
        },
        Recipe {
            name: "gradient-bits",
            title: "6-bit gradients against float ones, three seeds",
            about: "1-bit weights and activations on 784-512-512-10; the gradients are all that differs.",
            runs: (1..=3)
                .flat_map(|seed| {
                    [32, 6].map(|gradient_bits| {
                        let spec = NetworkSpec {
                            gradient_bits: bits(gradient_bits),
                            seed,
                            ..small()
                        };
                        let label = format!("{gradient_bits}-bit gradients, seed {seed}");
                        run(&label, spec, COMPARISON_EPOCHS, None)
                    })
                })
                .collect(),
        },
        Recipe {
            name: "gradient-forms",
            title: "How few bits a gradient may have, linear and logarithmic",
            about: "1-bit weights and activations on 784-512-512-10.",
            runs: [2, 3, 4, 6, 8]
                .into_iter()
                .flat_map(|gradient_bits| {
                    [Levels::Linear, Levels::Logarithmic].map(|gradient_levels| {
                        let spec = NetworkSpec {
                            gradient_bits: bits(gradient_bits),
                            gradient_levels,
                            ..small()
                        };
                        let label = format!("{gradient_bits} bits, {gradient_levels}");
                        run(&label, spec, COMPARISON_EPOCHS, None)
                    })
                })
                .collect(),
        },
        Recipe {
            name: "binary-connect",
            title: "BinaryConnect: 1-bit weights, float activations",
            about: "On 784-512-512-10, and on the shape of the BinaryConnect paper, three hidden layers of 1024; its \
                    activations were ReLU, ours are clipped to [-1, 1].",
            runs: vec![
                run("2 x 512", binary_connect(small()), COMPARISON_EPOCHS, None),
                run(
                    "3 x 1024",
                    binary_connect(preset("mnist-1024")),
                    20,
                    Some(BINARY_CONNECT),
                ),
            ],
        },
        Recipe {
            name: "stochastic",
            title: "Stochastic against deterministic binarization",
            about: "1-bit weights and activations on 784-512-512-10. Networks with stochastic weights are tested with \
                    their deterministic weights and as the mean of 16 networks of sampled weights.",
            runs: [
                (
                    "deterministic",
                    Rounding::Deterministic,
                    Rounding::Deterministic,
                ),
                (
                    "stochastic activations",
                    Rounding::Deterministic,
                    Rounding::Stochastic,
                ),
                (
                    "stochastic weights",
                    Rounding::Stochastic,
                    Rounding::Deterministic,
                ),
                (
                    "both stochastic",
                    Rounding::Stochastic,
                    Rounding::Stochastic,
                ),
            ]
            .map(|(label, weight_rounding, activation_rounding)| {
                let spec = NetworkSpec {
                    weight_rounding,
                    activation_rounding,
                    ..small()
                };
                run(label, spec, COMPARISON_EPOCHS, None)
            })
            .into(),
        },
        Recipe {
            name: "shift-based",
            title: "Shift-based normalization and AdaMax against ordinary ones",
            about: "1-bit weights and activations on 784-512-512-10; the last run has 6-bit gradients too, so that no \
                    matrix product of its training step is one of floats. Adam starts at 0.03 and decays by 0.7 an \
                    epoch; AdaMax, of either kind, starts at 2^-6 times Glorot's factor and is halved every 2 epochs.",
            runs: shift_based(),
        },
        Recipe {
            name: "logarithmic",
            title: "Logarithmic against linear levels",
            about: "Weights and activations of the same bits on 784-512-512-10.",
            runs: [2, 3, 4]
                .into_iter()
                .flat_map(|count| {
                    [Levels::Linear, Levels::Logarithmic].map(|levels| {
                        let spec = NetworkSpec {
                            weight_bits: bits(count),
                            activation_bits: bits(count),
                            weight_levels: levels,
                            activation_levels: levels,
                            ..small()
                        };
                        let label = format!("{count} bits, {levels}");
                        run(&label, spec, COMPARISON_EPOCHS, None)
                    })
                })
                .collect(),
        },
    ]
}

fn run(label: &str, spec: NetworkSpec, epochs: u32, published: Option<Published>) -> Run {
    Run {
        label: label.into(),
        spec,
        epochs,
        published,
    }
}

fn preset(name: &str) -> NetworkSpec {
    match Preset::named(name) {
        Some(preset) => preset.spec(),
        None => panic!("there is no preset {name}"),
    }
}

/// The network that settings are compared on.
fn small() -> NetworkSpec {
    preset("mnist-512")
}

/// With gradients of 6 bits, so that every product is one of integers.
fn integer_gradients(spec: NetworkSpec) -> NetworkSpec {
    NetworkSpec {
        gradient_bits: bits(6),
        ..spec
    }
}

/// The Theano run in a tenth of its epochs: twice the batch, and the learning rate falls as far. Integer gradients.
fn hundred_epochs(spec: NetworkSpec) -> NetworkSpec {
    NetworkSpec {
        batch_size: 200,
        learning_rate_decay: 0.912,
        ..integer_gradients(spec)
    }
}

fn binary_connect(spec: NetworkSpec) -> NetworkSpec {
    NetworkSpec {
        activation_bits: Bits::FLOAT,
        ..spec
    }
}

fn grid() -> Vec<Run> {
    let mut runs = Vec::new();
    for gradient_bits in GRID_GRADIENT_BITS {
        for weight_bits in GRID_BITS {
            for activation_bits in GRID_BITS {
                let spec = NetworkSpec {
                    weight_bits: bits(weight_bits),
                    activation_bits: bits(activation_bits),
                    gradient_bits: bits(gradient_bits),
                    ..small()
                };
                let label =
                    format!("{weight_bits}/{activation_bits} bits, {gradient_bits}-bit gradients");
                runs.push(run(&label, spec, COMPARISON_EPOCHS, None));
            }
        }
    }
    runs
}

fn shift_based() -> Vec<Run> {
    let shift_norm = |spec| NetworkSpec {
        normalization: Normalization::ShiftBatchNorm,
        ..spec
    };
    let with = |optimizer| NetworkSpec {
        optimizer,
        gradient_bits: Bits::FLOAT,
        normalization: Normalization::BatchNorm,
        ..preset("all-integer")
    };
    let ordinary = with(Optimizer::AdaMax);
    let shift = with(Optimizer::ShiftAdaMax);
    vec![
        run("batch norm, Adam", small(), COMPARISON_EPOCHS, None),
        run(
            "shift-based batch norm, Adam",
            shift_norm(small()),
            COMPARISON_EPOCHS,
            None,
        ),
        run("batch norm, AdaMax", ordinary, COMPARISON_EPOCHS, None),
        run(
            "batch norm, shift-based AdaMax",
            shift.clone(),
            COMPARISON_EPOCHS,
            None,
        ),
        run(
            "both shift-based",
            shift_norm(shift),
            COMPARISON_EPOCHS,
            None,
        ),
        run(
            "all-integer",
            preset("all-integer"),
            COMPARISON_EPOCHS,
            None,
        ),
    ]
}

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_sound_and_their_names_and_labels_differ() {
        let recipes = recipes();
        let names: std::collections::HashSet<_> =
            recipes.iter().map(|recipe| recipe.name).collect();
        assert_eq!(names.len(), recipes.len());
        for recipe in recipes {
            let labels: std::collections::HashSet<_> =
                recipe.runs.iter().map(|run| &run.label).collect();
            assert_eq!(labels.len(), recipe.runs.len(), "{}", recipe.name);
            for run in &recipe.runs {
                assert_eq!(run.spec.problems(), [], "{} {}", recipe.name, run.label);
            }
        }
    }
}
