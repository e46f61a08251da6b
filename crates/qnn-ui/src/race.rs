//! The networks of the race as the page knows them: what each is to be, what was measured of it, and which one the visitor
//! has chosen. No markup, and nothing of the engine.

use std::cell::RefCell;
use std::rc::Rc;

use qnn_protocol::spec::{Bits, NetworkSpec, Normalization};
use qnn_protocol::{DrawnAnswer, MAX_NETWORKS, NetworkId};
use yew::AttrValue;

use crate::address::Address;
use crate::controls::Form;
use crate::engine::Checkpoint;
use crate::history::History;
use crate::language::text;

/// A network of the race.
pub struct Contender {
    pub id: NetworkId,
    /// Its colour's number, below [`MAX_NETWORKS`].
    pub colour: usize,
    pub form: Form,
    pub history: Rc<RefCell<History>>,
    pub run: Run,
    /// The last checkpoint, and whether the engine was told to restore it and has not done so yet.
    pub checkpoint: Option<Checkpoint>,
    pub restoring: bool,
    pub answer: Option<DrawnAnswer>,
    /// Test images of each class and answer at the last test, `[class, answer]`.
    pub confusion: Option<Rc<[u32]>>,
}

/// How far a network is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    pub step: u32,
    pub epoch: f32,
    pub images_per_second: Option<f32>,
    pub test_accuracy: Option<f32>,
}

impl Contender {
    fn new(id: NetworkId, colour: usize, spec: NetworkSpec) -> Contender {
        Contender {
            id,
            colour,
            form: Form::of(spec),
            history: Rc::default(),
            run: Run::default(),
            checkpoint: None,
            restoring: false,
            answer: None,
            confusion: None,
        }
    }

    pub fn spec(&self) -> &NetworkSpec {
        self.form.in_force()
    }

    /// What it is called: `1-bit`, `W 1, A 2`, `float32`.
    pub fn name(&self) -> AttrValue {
        name(self.spec())
    }

    /// The network is a new one.
    pub fn begin_anew(&mut self) {
        self.checkpoint = None;
        self.run = Run::default();
        self.confusion = None;
    }
}

/// What a network of `spec` is called: by the bits of its weights and activations, and by what else is seldom.
pub fn name(spec: &NetworkSpec) -> AttrValue {
    let (weights, activations) = (spec.weight_bits, spec.activation_bits);
    let mut name = if weights != activations {
        text!("race.name", weights = weights, activations = activations)
    } else if weights.is_float() {
        text!("race.float")
    } else {
        text!("race.bits", bits = weights)
    };
    if !spec.gradient_bits.is_float() {
        name = text!(
            "race.with_gradients",
            name = name,
            bits = spec.gradient_bits
        );
    }
    if spec.normalization == Normalization::ShiftBatchNorm {
        name = text!("race.with_shifts", name = name);
    }
    name
}

/// All of them, and the one that the visitor has chosen.
pub struct Race {
    contenders: Vec<Contender>,
    chosen: NetworkId,
    next: NetworkId,
}

impl Race {
    /// Networks of these specs, the first one chosen. There must be one.
    pub fn of(specs: Vec<NetworkSpec>) -> Race {
        let ids = 0..specs.len() as NetworkId;
        let contenders = ids
            .zip(specs)
            .map(|(id, spec)| Contender::new(id, id as usize, spec))
            .collect::<Vec<_>>();
        Race {
            chosen: 0,
            next: contenders.len() as NetworkId,
            contenders,
        }
    }

    /// What every visit begins with: a network of one bit, and the float one to beat.
    pub fn first() -> Race {
        let spec = NetworkSpec::default();
        Race::of(vec![spec.clone(), floats(spec)])
    }

    /// The race of an address, or the first one where it names none.
    pub fn of_address(address: &Address) -> Race {
        if address.specs.is_empty() {
            return Race::first();
        }
        let mut race = Race::of(address.specs.clone());
        race.choose(address.chosen as NetworkId);
        race
    }

    pub fn all(&self) -> &[Contender] {
        &self.contenders
    }

    pub fn all_mut(&mut self) -> &mut [Contender] {
        &mut self.contenders
    }

    /// The one that the visitor has chosen.
    pub fn chosen(&self) -> &Contender {
        &self.contenders[self.place()]
    }

    pub fn chosen_mut(&mut self) -> &mut Contender {
        let place = self.place();
        &mut self.contenders[place]
    }

    /// The place of the chosen one.
    pub fn place(&self) -> usize {
        let place = self.contenders.iter().position(|one| one.id == self.chosen);
        place.unwrap_or(0)
    }

    pub fn choose(&mut self, id: NetworkId) {
        self.chosen = id;
    }

    /// The network of this number, unless it was taken out.
    pub fn get_mut(&mut self, id: NetworkId) -> Option<&mut Contender> {
        self.contenders.iter_mut().find(|one| one.id == id)
    }

    pub fn is_full(&self) -> bool {
        self.contenders.len() >= MAX_NETWORKS
    }

    /// Lets another network in, and chooses it; where there is room.
    pub fn add(&mut self, spec: NetworkSpec) -> Option<NetworkId> {
        let is_free = |colour: &usize| self.contenders.iter().all(|one| one.colour != *colour);
        let colour = (0..MAX_NETWORKS).find(is_free)?;
        let id = self.next;
        self.next += 1;
        self.contenders.push(Contender::new(id, colour, spec));
        self.chosen = id;
        Some(id)
    }

    /// Takes a network out, unless it is the last one.
    pub fn remove(&mut self, id: NetworkId) -> bool {
        let before = self.contenders.len();
        if before > 1 {
            self.contenders.retain(|one| one.id != id);
        }
        self.contenders.len() < before
    }

    /// A spec like the chosen one's at bits that no network has yet.
    pub fn another(&self) -> NetworkSpec {
        let is_new = |bits: &u8| {
            let mut specs = self.contenders.iter().map(Contender::spec);
            !specs.any(|spec| [spec.weight_bits, spec.activation_bits].map(Bits::get) == [*bits; 2])
        };
        let bits = BITS.into_iter().find(is_new).unwrap_or(1);
        at_bits(self.chosen().spec(), bits, bits)
    }
}

/// Bits that networks are compared at.
pub const BITS: [u8; 5] = [1, 2, 4, 8, 32];

/// `spec` at other bits, which have to be among those that there are.
pub fn at_bits(spec: &NetworkSpec, weights: u8, activations: u8) -> NetworkSpec {
    let bits = |bits| Bits::new(bits).unwrap_or(Bits::ONE);
    NetworkSpec {
        weight_bits: bits(weights),
        activation_bits: bits(activations),
        ..spec.clone()
    }
}

/// `spec` without any quantization.
pub fn floats(spec: NetworkSpec) -> NetworkSpec {
    NetworkSpec {
        weight_bits: Bits::FLOAT,
        activation_bits: Bits::FLOAT,
        gradient_bits: Bits::FLOAT,
        ..spec
    }
}

/// What `other` becomes where a visitor changes `before` to `after` for all networks: the same changes, but for the bits,
/// which are a network's own. The batches are always the same for all.
pub fn followed(
    before: &NetworkSpec,
    after: &NetworkSpec,
    other: &NetworkSpec,
    all: bool,
) -> NetworkSpec {
    let mut other = other.clone();
    other.seed = after.seed;
    other.batch_size = after.batch_size;
    macro_rules! follow {
        ($($field:ident),*) => {
            $(if before.$field != after.$field {
                other.$field = after.$field.clone();
            })*
        };
    }
    if all {
        follow!(
            hidden,
            normalization,
            input_dropout,
            hidden_dropout,
            loss,
            optimizer,
            learning_rate,
            learning_rate_decay,
            decay_epochs,
            learning_rate_scale
        );
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_race_begins_with_one_bit_and_float32() {
        let race = Race::first();
        let bits: Vec<u8> = race
            .all()
            .iter()
            .map(|one| one.spec().weight_bits.get())
            .collect();
        assert_eq!(bits, [1, 32]);
        assert_eq!(race.chosen().id, 0);
    }

    #[test]
    fn colours_are_used_again_and_numbers_never() {
        let mut race = Race::first();
        for expected in [2, 3, 4] {
            assert_eq!(race.add(race.another()), Some(expected));
        }
        assert!(race.is_full() && race.add(race.another()).is_none());
        assert!(race.remove(3));
        let id = race.add(race.another());
        assert_eq!(id, Some(5));
        assert_eq!(race.chosen().colour, 3);
        race.remove(5);
        assert_eq!(race.chosen().id, 0);
        for id in 1..5 {
            race.remove(id);
        }
        assert!(!race.remove(0), "the last one stays");
    }

    #[test]
    fn another_network_has_bits_that_no_other_has() {
        let mut race = Race::first();
        for bits in [2, 4, 8] {
            let spec = race.another();
            assert_eq!(
                (spec.weight_bits.get(), spec.activation_bits.get()),
                (bits, bits)
            );
            race.add(spec);
        }
    }

    #[test]
    fn others_follow_what_changed_and_keep_their_bits() {
        let before = NetworkSpec::default();
        let after = NetworkSpec {
            learning_rate: 0.5,
            weight_bits: Bits::ALL[3],
            seed: 9,
            ..before.clone()
        };
        let other = NetworkSpec {
            learning_rate_decay: 0.1,
            ..floats(before.clone())
        };
        let expected = NetworkSpec {
            learning_rate: 0.5,
            seed: 9,
            ..other.clone()
        };
        assert_eq!(followed(&before, &after, &other, true), expected);
        let alone = NetworkSpec {
            seed: 9,
            ..other.clone()
        };
        assert_eq!(followed(&before, &after, &other, false), alone);
    }
}
