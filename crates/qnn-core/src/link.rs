//! A race as a link carries it: the specs of its networks in few letters, each as a preset's name and what differs from it,
//! as in `mnist-512~mnist-512_w32_a32_h128.64`. No other part of an address is known here.

use std::str::FromStr;

use thiserror::Error;

use crate::spec::{
    Bits, LearningRateScale, Levels, Loss, NetworkSpec, Normalization, Optimizer, PRESETS, Preset,
    Rounding, SpecError,
};

/// What stands between two networks, between two settings of one, and between the widths of layers.
const NETWORKS: char = '~';
const SETTINGS: char = '_';
const WIDTHS: char = '.';

/// Why a link cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// No preset has this name.
    #[error("The link names a preset that there is not: {0}.")]
    Preset(String),
    /// A setting that is unknown or has no such value.
    #[error("The link has a setting that makes no sense: {0}.")]
    Setting(String),
    /// The settings of a network do not go together.
    #[error("The link describes a network that makes no sense: {0}")]
    Spec(SpecError),
    /// There are more networks than so many.
    #[error("The link describes too many networks: at most {0} race.")]
    TooMany(usize),
    /// It is longer than any link that is written.
    #[error("The link is too long.")]
    TooLong,
}

/// A setting: its letters, and how it is written and read.
struct Setting {
    letters: &'static str,
    write: fn(&NetworkSpec) -> String,
    read: fn(&mut NetworkSpec, &str) -> Option<()>,
}

/// A setting whose value is written as it is displayed.
macro_rules! plain {
    ($letters:literal, $field:ident) => {
        Setting {
            letters: $letters,
            write: |spec| spec.$field.to_string(),
            read: |spec, text| read_into(&mut spec.$field, text),
        }
    };
}

/// A setting of few values, each with a word.
macro_rules! words {
    ($letters:literal, $field:ident, $($word:literal => $value:expr),+) => {
        Setting {
            letters: $letters,
            write: |spec| match spec.$field {
                $(value if value == $value => $word.into(),)+
                _ => String::new(),
            },
            read: |spec, text| {
                spec.$field = match text {
                    $($word => $value,)+
                    _ => return None,
                };
                Some(())
            },
        }
    };
}

/// A setting of bits.
macro_rules! bits {
    ($letters:literal, $field:ident) => {
        Setting {
            letters: $letters,
            write: |spec| spec.$field.to_string(),
            read: |spec, text| {
                spec.$field = Bits::new(text.parse().ok()?).ok()?;
                Some(())
            },
        }
    };
}

/// All settings. Letters are never given another meaning: links live long.
const ALL: [Setting; 20] = [
    bits!("w", weight_bits),
    bits!("a", activation_bits),
    bits!("g", gradient_bits),
    words!("wl", weight_levels, "lin" => Levels::Linear, "log" => Levels::Logarithmic),
    words!("al", activation_levels, "lin" => Levels::Linear, "log" => Levels::Logarithmic),
    words!("gl", gradient_levels, "lin" => Levels::Linear, "log" => Levels::Logarithmic),
    words!("wr", weight_rounding, "det" => Rounding::Deterministic, "sto" => Rounding::Stochastic),
    words!("ar", activation_rounding, "det" => Rounding::Deterministic, "sto" => Rounding::Stochastic),
    words!("gr", gradient_rounding, "det" => Rounding::Deterministic, "sto" => Rounding::Stochastic),
    Setting {
        letters: "h",
        write: |spec| {
            let widths: Vec<String> = spec.hidden.iter().map(usize::to_string).collect();
            widths.join(&WIDTHS.to_string())
        },
        read: |spec, text| {
            let widths = text.split(WIDTHS).map(|width| width.parse().ok());
            spec.hidden = widths.collect::<Option<_>>()?;
            Some(())
        },
    },
    words!("n", normalization, "batch" => Normalization::BatchNorm, "shift" => Normalization::ShiftBatchNorm),
    plain!("di", input_dropout),
    plain!("dh", hidden_dropout),
    words!("l", loss, "hinge" => Loss::SquaredHinge, "cross" => Loss::CrossEntropy),
    Setting {
        letters: "o",
        write: |spec| match spec.optimizer {
            Optimizer::Adam => "adam".into(),
            Optimizer::AdaMax => "adamax".into(),
            Optimizer::ShiftAdaMax => "shift".into(),
            Optimizer::Sgd { momentum } => format!("sgd{momentum}"),
        },
        read: |spec, text| {
            spec.optimizer = match text {
                "adam" => Optimizer::Adam,
                "adamax" => Optimizer::AdaMax,
                "shift" => Optimizer::ShiftAdaMax,
                _ => Optimizer::Sgd {
                    momentum: text.strip_prefix("sgd")?.parse().ok()?,
                },
            };
            Some(())
        },
    },
    plain!("r", learning_rate),
    plain!("rd", learning_rate_decay),
    plain!("re", decay_epochs),
    words!("rs", learning_rate_scale, "equal" => LearningRateScale::Equal, "glorot" => LearningRateScale::Glorot),
    plain!("b", batch_size),
];
/// The seed stands apart, as presets leave it to the visitor.
const SEED: Setting = plain!("s", seed);

fn read_into<T: FromStr>(value: &mut T, text: &str) -> Option<()> {
    *value = text.parse().ok()?;
    Some(())
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    ALL.iter().chain([&SEED])
}

/// The networks as a link carries them: letters, digits, `-`, `.`, `_`, `~`.
pub fn to_link(specs: &[NetworkSpec]) -> String {
    let networks: Vec<String> = specs.iter().map(written).collect();
    networks.join(&NETWORKS.to_string())
}

/// A spec by the preset that it is nearest to.
fn written(spec: &NetworkSpec) -> String {
    let by = |preset: &Preset| {
        let base = preset.spec();
        let mut text = preset.name.to_string();
        for setting in settings() {
            let value = (setting.write)(spec);
            if value != (setting.write)(&base) {
                text.push(SETTINGS);
                text.push_str(setting.letters);
                text.push_str(&value);
            }
        }
        text
    };
    let all = PRESETS.iter().map(by);
    // The name alone says the most.
    all.min_by_key(|text| (text.contains(SETTINGS), text.len()))
        .unwrap_or_default()
}

/// The specs of a link, `most` at most. What is claimed is checked before it is taken.
pub fn from_link(link: &str, most: usize) -> Result<Vec<NetworkSpec>, LinkError> {
    let networks = link.split(NETWORKS);
    if networks.clone().count() > most {
        return Err(LinkError::TooMany(most));
    }
    networks.map(read).collect()
}

fn read(network: &str) -> Result<NetworkSpec, LinkError> {
    let mut parts = network.split(SETTINGS);
    let name = parts.next().unwrap_or_default();
    let preset = Preset::named(name).ok_or_else(|| LinkError::Preset(name.into()))?;
    let mut spec = preset.spec();
    for part in parts {
        // Two letters may begin with the one of another setting: the longest that can be read is meant.
        let is_it = |setting: &&Setting| part.starts_with(setting.letters);
        let mut candidates: Vec<&Setting> = settings().filter(is_it).collect();
        candidates.sort_by_key(|setting| std::cmp::Reverse(setting.letters.len()));
        let read = candidates
            .iter()
            .find_map(|setting| (setting.read)(&mut spec, &part[setting.letters.len()..]));
        read.ok_or_else(|| LinkError::Setting(part.into()))?;
    }
    spec.validate().map_err(LinkError::Spec)?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    #[test]
    fn presets_are_their_names() {
        let specs: Vec<NetworkSpec> = PRESETS.iter().map(Preset::spec).collect();
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let link = to_link(&specs);
        assert_eq!(link, names.join("~"));
        assert_eq!(from_link(&link, 7), Ok(specs));
    }

    #[test]
    fn a_link_says_what_differs() {
        let spec = NetworkSpec {
            weight_bits: Bits::FLOAT,
            hidden: vec![128, 64],
            ..NetworkSpec::default()
        };
        let link = to_link(std::slice::from_ref(&spec));
        assert_eq!(link, "mnist-512_w32_h128.64");
        assert_eq!(from_link(&link, 1), Ok(vec![spec]));
    }

    #[test]
    fn links_that_make_no_sense_are_refused() {
        for (link, error) in [
            ("", LinkError::Preset("".into())),
            ("mnist-513", LinkError::Preset("mnist-513".into())),
            ("mnist-512_w9", LinkError::Setting("w9".into())),
            ("mnist-512_z1", LinkError::Setting("z1".into())),
            ("mnist-512_h1..2", LinkError::Setting("h1..2".into())),
            ("a~a~a", LinkError::TooMany(2)),
        ] {
            assert_eq!(from_link(link, 2), Err(error), "{link}");
        }
        for link in ["mnist-512_h99999", "mnist-512_rNaN", "mnist-512_b1"] {
            assert!(
                matches!(from_link(link, 2), Err(LinkError::Spec(_))),
                "{link}"
            );
        }
    }

    fn spec() -> impl Strategy<Value = NetworkSpec> {
        let bits = || select(Bits::ALL.to_vec());
        let levels = || select(vec![Levels::Linear, Levels::Logarithmic]);
        let rounding = || select(vec![Rounding::Deterministic, Rounding::Stochastic]);
        let optimizer = prop_oneof![
            Just(Optimizer::Adam),
            Just(Optimizer::AdaMax),
            Just(Optimizer::ShiftAdaMax),
            (0.0f32..1.0).prop_map(|momentum| Optimizer::Sgd { momentum }),
        ];
        let quantizers = (
            (bits(), bits(), select(Bits::ALL[1..].to_vec())),
            (levels(), levels(), levels()),
            (rounding(), rounding(), rounding()),
        );
        let shape = prop::collection::vec(1usize..=8192, 1..=8);
        let rates = (1e-6f32..10.0, 1e-6f32..=1.0, 1u32..1000);
        let rest = (
            (
                0.0f32..1.0,
                0.0f32..1.0,
                any::<bool>(),
                any::<bool>(),
                any::<bool>(),
            ),
            2usize..=1000,
            any::<u32>(),
        );
        (quantizers, shape, optimizer, rates, rest).prop_map(
            |((bits, levels, rounding), hidden, optimizer, rates, (others, batch_size, seed))| {
                let (input_dropout, hidden_dropout, shifts, cross, glorot) = others;
                NetworkSpec {
                    hidden,
                    weight_bits: bits.0,
                    activation_bits: bits.1,
                    gradient_bits: bits.2,
                    weight_levels: levels.0,
                    activation_levels: levels.1,
                    gradient_levels: levels.2,
                    weight_rounding: rounding.0,
                    activation_rounding: rounding.1,
                    gradient_rounding: rounding.2,
                    normalization: if shifts {
                        Normalization::ShiftBatchNorm
                    } else {
                        Normalization::BatchNorm
                    },
                    loss: if cross {
                        Loss::CrossEntropy
                    } else {
                        Loss::SquaredHinge
                    },
                    learning_rate_scale: if glorot {
                        LearningRateScale::Glorot
                    } else {
                        LearningRateScale::Equal
                    },
                    input_dropout,
                    hidden_dropout,
                    optimizer,
                    learning_rate: rates.0,
                    learning_rate_decay: rates.1,
                    decay_epochs: rates.2,
                    batch_size,
                    seed,
                    ..NetworkSpec::default()
                }
            },
        )
    }

    /// What settings in a link are made of.
    const LETTERS: &[char] = &[
        'a', 'b', 'c', 'd', 'e', 'h', 'l', 'n', 'o', 'r', 's', 'w', 'x', 'z', '0', '1', '2', '3',
        '9', '.', '_', '~', '-',
    ];

    proptest! {
        #[test]
        fn what_is_written_is_read(specs in prop::collection::vec(spec(), 1..=5)) {
            let link = to_link(&specs);
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._~".contains(letter);
            prop_assert!(link.chars().all(is_plain), "{}", link);
            prop_assert_eq!(from_link(&link, 5), Ok(specs));
        }

        #[test]
        fn no_text_panics(
            // Not by a regular expression: without std, as on wasm, proptest has none.
            text in prop::collection::vec(any::<char>(), 0..60).prop_map(String::from_iter),
            settings in prop::collection::vec(prop::sample::select(LETTERS), 0..40).prop_map(String::from_iter),
        ) {
            let _ = from_link(&text, 5);
            let _ = from_link(&format!("mnist-512_{settings}"), 5);
        }
    }
}
