//! Data-parallel training: ranks that share the images of each batch and the units of each layer, and exchange packed
//! integers so that together they are one trainer, bit for bit. How bytes get from rank to rank is a [`Communicator`]'s
//! business; what is computed is the trainer's.
//!
//! How one step is shared, `[rows, columns]` of each matrix:
//! - A rank owns consecutive units of each layer: only it has their latent weights and optimizer state. It sends their
//!   quantized weights, `[own units, inputs]`, to all.
//! - A rank owns consecutive images of the batch. It computes their outputs and sends their quantized activations,
//!   `[own images, units]`, to all. Pixels do not travel: each rank has the data.
//! - Batch normalization's sums over the batch are taken up where the rank before left them, so floats are added in the
//!   order of one process. What it learns, `[units]`, is the same on all ranks.
//! - The gradient to the sums of a unit is quantized by the largest magnitude of the whole batch, which does not depend on
//!   an order; each rank sends `[units of the other, own images]` to each other. With all activations that makes the
//!   gradient to the weights of its own units: sums of integers, which depend on no order either.
//!
//! What has no integers (32 bits, and logarithmic levels of 5 bits and more) travels as float32, exact as well.

use std::borrow::Cow;
use std::ops::{AddAssign, Range};

use serde::Serialize;

use crate::bits::TILE_ROWS;
use crate::layers::{Form, NotFinite, Operand, float_bytes, floats, travelling_bytes};
use crate::spec::NetworkSpec;

/// A way from rank to rank. All ranks call the same operations in the same order. What fails ends the process: no rank can
/// go on alone.
pub trait Communicator: Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;
    /// Number of ranks.
    fn size(&self) -> usize;
    /// Sends `bytes` to another rank, which receives them.
    fn send(&self, to: usize, bytes: &[u8]);
    /// Fills `bytes` with what another rank sends.
    fn receive(&self, from: usize, bytes: &mut [u8]);
    /// Fills `bytes` on all ranks with those of one.
    fn broadcast(&self, from: usize, bytes: &mut [u8]);
    /// The bytes of all ranks, one rank's after the other's; `lengths` says how many each gives.
    fn all_gather(&self, own: &[u8], lengths: &[usize]) -> Vec<u8>;
    /// Sends consecutive parts of `bytes` to the ranks, as many bytes as `to` says, and gives what they sent to this one,
    /// one rank's after the other's, as many as `from` says.
    fn all_to_all(&self, bytes: &[u8], to: &[usize], from: &[usize]) -> Vec<u8>;
}

/// Bytes that ranks have sent to other ranks. What goes to several ranks counts once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Quantized gradients to the sums of the layers.
    pub gradients: u64,
    /// Quantized activations.
    pub activations: u64,
    /// Quantized weights.
    pub weights: u64,
    /// Sums and largest magnitudes of units, logits, and whether all is finite.
    pub statistics: u64,
    /// Latent weights and optimizer state, for a checkpoint or an evaluation.
    pub state: u64,
}

/// What ranks have exchanged to train together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    pub ranks: usize,
    pub steps: u32,
    /// What all ranks together have sent.
    pub sent: Traffic,
    /// The same for an average step, but for the state.
    pub sent_per_step: u64,
    /// What they would have sent in a step for the sums of float32 gradients to the weights alone; see
    /// [`float_all_reduce_bytes`].
    pub float_all_reduce_per_step: u64,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gradients,
    Activations,
    Weights,
    Statistics,
    State,
}

/// What is cut into a consecutive share for each rank.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shared {
    /// The images of a batch of so many.
    Images(usize),
    /// The units of a layer of so many; bands of tiles stay whole.
    Units(usize),
}

/// The ranks that train a network together, seen from one of them; or this process alone, which shares nothing.
pub struct Ranks<'a> {
    communicator: Option<&'a dyn Communicator>,
    traffic: Traffic,
}

impl Shared {
    /// The share of each of `size` ranks.
    fn shares(self, size: usize) -> Vec<Range<usize>> {
        let (count, band) = match self {
            Shared::Images(count) => (count, 1),
            Shared::Units(count) => (count, TILE_ROWS),
        };
        let bands = count.div_ceil(band);
        let bound = |rank: usize| count.min(bands * rank / size * band);
        (0..size).map(|rank| bound(rank)..bound(rank + 1)).collect()
    }
}

impl Traffic {
    /// The bytes of each kind, in the order of [`Kind`].
    fn kinds_mut(&mut self) -> [&mut u64; 5] {
        [
            &mut self.gradients,
            &mut self.activations,
            &mut self.weights,
            &mut self.statistics,
            &mut self.state,
        ]
    }

    fn kinds(mut self) -> [u64; 5] {
        self.kinds_mut().map(|bytes| *bytes)
    }

    /// Bytes that a step sends, of all kinds.
    pub fn of_steps(&self) -> u64 {
        self.gradients + self.activations + self.weights + self.statistics
    }

    /// What all of `size` ranks together send in a step on `batch` images of `inputs` pixels in `classes` classes.
    pub fn of_step(
        spec: &NetworkSpec,
        (inputs, classes): (usize, usize),
        batch: usize,
        size: usize,
    ) -> Traffic {
        let (ranks, others) = (size as u64, size as u64 - 1);
        let bytes = |encoding, count| travelling_bytes(encoding, count) as u64;
        let images = Shared::Images(batch).shares(size);
        let mut traffic = Traffic {
            statistics: others * bytes(None, batch * classes),
            ..Traffic::default()
        };
        for (layer, (inputs, units)) in spec.layer_shapes(inputs, classes).into_iter().enumerate() {
            let shares = Shared::Units(units).shares(size);
            for own in &shares {
                traffic.weights += others * bytes(spec.weights().encoding(), own.len() * inputs);
            }
            for (from, images) in images.iter().enumerate() {
                if layer < spec.hidden.len() {
                    let encoding = spec.input_encoding(layer + 1, true);
                    traffic.activations += others * bytes(encoding, images.len() * units);
                }
                for (to, units) in shares.iter().enumerate() {
                    if from != to {
                        let count = images.len() * units.len();
                        traffic.gradients += bytes(spec.gradients().encoding(), count);
                    }
                }
            }
            // Four sums go from rank to rank and back to all, the largest magnitudes from each to each.
            traffic.statistics += 4 * 2 * others * bytes(None, units);
            traffic.statistics += ranks * others * bytes(None, units);
            let inputs = spec.input_encoding(layer, true);
            if inputs.and(spec.gradients().encoding()).is_none() {
                // So does whether the gradients to the weights are finite, where they are products of floats.
                traffic.statistics += ranks * others;
            }
        }
        traffic
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        for (kind, bytes) in self.kinds_mut().into_iter().zip(other.kinds()) {
            *kind += bytes;
        }
    }
}

/// What `size` ranks together send at least to add up `count` float32 numbers for all of them: each number once to be added,
/// once as a sum, by all ranks but one (as an all-reduce in a ring does).
pub fn float_all_reduce_bytes(count: usize, size: usize) -> u64 {
    2 * (size as u64 - 1) * travelling_bytes(None, count) as u64
}

impl<'a> Ranks<'a> {
    /// This process and no other.
    pub fn alone() -> Ranks<'static> {
        Ranks {
            communicator: None,
            traffic: Traffic::default(),
        }
    }

    /// The ranks that a communicator joins.
    pub fn new(communicator: &'a dyn Communicator) -> Ranks<'a> {
        Ranks {
            communicator: Some(communicator),
            traffic: Traffic::default(),
        }
    }

    /// What this rank has sent so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Whether this is the first rank, which speaks for all.
    pub fn is_first(&self) -> bool {
        self.communicator.is_none_or(|ranks| ranks.rank() == 0)
    }

    /// What all ranks have exchanged in `steps` steps of a network of `weights` weights; all of them are to call this. `None`
    /// where this process is alone.
    pub fn exchange(&self, steps: u32, weights: usize) -> Option<Exchange> {
        let ranks = self.communicator?;
        let mut sent = Traffic::default();
        let own = self.traffic.kinds().map(u64::to_le_bytes).concat();
        let all = ranks.all_gather(&own, &vec![own.len(); ranks.size()]);
        for (place, bytes) in all.as_chunks().0.iter().enumerate() {
            let kinds = sent.kinds_mut();
            let place = place % kinds.len();
            *kinds[place] += u64::from_le_bytes(*bytes);
        }
        Some(Exchange {
            ranks: ranks.size(),
            steps,
            sent,
            sent_per_step: sent.of_steps() / u64::from(steps.max(1)),
            float_all_reduce_per_step: float_all_reduce_bytes(weights, ranks.size()),
        })
    }

    /// Whether this process shares nothing.
    pub fn are_one(&self) -> bool {
        self.communicator.is_none()
    }

    /// This rank's share.
    pub(crate) fn own(&self, shared: Shared) -> Range<usize> {
        match (self.communicator, shared) {
            (None, Shared::Images(count) | Shared::Units(count)) => 0..count,
            (Some(ranks), _) => shared.shares(ranks.size()).swap_remove(ranks.rank()),
        }
    }

    /// The form of an operand that is gathered, or exchanged, into one of `form`.
    pub(crate) fn form_of_own(&self, form: Form) -> Form {
        if self.are_one() { form } else { Form::Integers }
    }

    /// What this rank came to, unless any of them has come upon what is not finite.
    pub(crate) fn agree<T>(&mut self, own: Result<T, NotFinite>) -> Result<T, NotFinite> {
        let Some(ranks) = self.communicator else {
            return own;
        };
        let is_finite = [u8::from(own.is_ok())];
        let all = self.all_gather(ranks, Kind::Statistics, &is_finite, &vec![1; ranks.size()]);
        own.and_then(|own| {
            if all.contains(&0) {
                Err(NotFinite)
            } else {
                Ok(own)
            }
        })
    }

    /// Sums over all images, of which `add` adds those of this rank: in the order of the images, as one process does.
    pub(crate) fn add_in_order<const N: usize>(
        &mut self,
        mut sums: [&mut [f32]; N],
        add: impl FnOnce([&mut [f32]; N]),
    ) {
        let Some(ranks) = self.communicator else {
            return add(sums);
        };
        let (rank, last) = (ranks.rank(), ranks.size() - 1);
        let write = |sums: &[&mut [f32]; N]| sums.each_ref().map(|sums| float_bytes(sums)).concat();
        let read = |sums: &mut [&mut [f32]; N], bytes: &[u8]| {
            let all = sums.iter_mut().flat_map(|sums| sums.iter_mut());
            all.zip(floats(bytes)).for_each(|(sum, sent)| *sum = sent);
        };
        if rank > 0 {
            let mut before = write(&sums);
            ranks.receive(rank - 1, &mut before);
            read(&mut sums, &before);
        }
        add(sums.each_mut().map(|sums| &mut **sums));
        let mut bytes = write(&sums);
        if rank < last {
            self.count(Kind::Statistics, bytes.len());
            ranks.send(rank + 1, &bytes);
        } else {
            self.count(Kind::Statistics, last * bytes.len());
        }
        ranks.broadcast(last, &mut bytes);
        read(&mut sums, &bytes);
    }

    /// The largest magnitude of each unit, `[units]`, in the gradients of all ranks, of which `own`, `[own images, units]`, are
    /// those of this one; NaN where there is one. `None` where this process is alone, which has all at hand.
    pub(crate) fn largest(&mut self, units: usize, own: &[f32]) -> Option<Vec<f32>> {
        let ranks = self.communicator?;
        // As integers, magnitudes are ordered with infinity and NaN above all.
        let largest_of = |rows: &[f32]| -> Vec<f32> {
            let mut largest = vec![0u32; units];
            for row in rows.chunks_exact(units) {
                for (largest, x) in largest.iter_mut().zip(row) {
                    *largest = x.abs().to_bits().max(*largest);
                }
            }
            largest.into_iter().map(f32::from_bits).collect()
        };
        let bytes = float_bytes(&largest_of(own));
        let lengths = vec![bytes.len(); ranks.size()];
        let all = self.all_gather(ranks, Kind::Statistics, &bytes, &lengths);
        Some(largest_of(&floats(&all).collect::<Vec<_>>()))
    }

    /// The numbers of all ranks, `[shared, columns]`, of which `own` are those of this one.
    pub(crate) fn gather_floats<'b>(
        &mut self,
        kind: Kind,
        shared: Shared,
        columns: usize,
        own: &'b [f32],
    ) -> Cow<'b, [f32]> {
        let Some(ranks) = self.communicator else {
            return own.into();
        };
        let shares = shared.shares(ranks.size());
        let lengths = lengths(&shares, |share| travelling_bytes(None, share * columns));
        let all = self.all_gather(ranks, kind, &float_bytes(own), &lengths);
        floats(&all).collect()
    }

    /// The rows of all ranks, `[shared, columns]`, in `form`, of which `own` are those of this one, in
    /// [`form_of_own`](Self::form_of_own) or tiles. Integers are all worth `unit`.
    pub(crate) fn gather(
        &mut self,
        kind: Kind,
        shared: Shared,
        form: Form,
        own: Operand,
        unit: f32,
    ) -> Operand {
        let Some(ranks) = self.communicator else {
            return own;
        };
        let (columns, encoding) = (own.columns(), own.encoding());
        let shares = shared.shares(ranks.size());
        let lengths = lengths(&shares, |share| travelling_bytes(encoding, share * columns));
        let bytes = own.to_bytes(0..own.rows());
        let all = self.all_gather(ranks, kind, &bytes, &lengths);
        Operand::from_rows(
            form,
            encoding,
            columns,
            &parts(&shares, &all, &lengths),
            unit,
        )
    }

    /// Quantized gradients: of all units and this rank's images, `[units, own images]`, to those of this rank's units and
    /// all images, `[own units, batch]`, in `form`. `unit` says what the integers of a unit are worth.
    pub(crate) fn exchange_gradients(
        &mut self,
        (units, batch): (usize, usize),
        form: Form,
        own: Operand,
        unit: impl Fn(usize) -> f32 + Sync,
    ) -> Operand {
        let Some(ranks) = self.communicator else {
            return own;
        };
        let encoding = own.encoding();
        let images = Shared::Images(batch).shares(ranks.size());
        let units = Shared::Units(units).shares(ranks.size());
        let own_units = units[ranks.rank()].clone();
        let to = lengths(&units, |units| {
            travelling_bytes(encoding, units * own.columns())
        });
        let from = lengths(&images, |images| {
            travelling_bytes(encoding, own_units.len() * images)
        });
        let of_units = |share| own.to_bytes(share);
        let bytes = units.into_iter().map(of_units).collect::<Vec<_>>().concat();
        self.count(Kind::Gradients, bytes.len() - to[ranks.rank()]);
        let all = ranks.all_to_all(&bytes, &to, &from);
        let parts = parts(&images, &all, &from);
        Operand::from_columns(form, encoding, own_units.len(), &parts, |row| {
            unit(own_units.start + row)
        })
    }

    fn all_gather(
        &mut self,
        ranks: &dyn Communicator,
        kind: Kind,
        own: &[u8],
        lengths: &[usize],
    ) -> Vec<u8> {
        self.count(kind, own.len() * (ranks.size() - 1));
        ranks.all_gather(own, lengths)
    }

    fn count(&mut self, kind: Kind, bytes: usize) {
        let counter = &mut self.traffic.kinds_mut()[kind as usize];
        **counter += bytes as u64;
    }
}

/// How many bytes go with each share.
fn lengths(shares: &[Range<usize>], bytes: impl Fn(usize) -> usize) -> Vec<usize> {
    shares.iter().map(|share| bytes(share.len())).collect()
}

/// The length of each share, and its part of `all`.
fn parts<'a>(shares: &[Range<usize>], all: &'a [u8], lengths: &[usize]) -> Vec<(usize, &'a [u8])> {
    let mut rest = all;
    let part = |(share, length): (&Range<usize>, &usize)| {
        let (part, others) = rest.split_at(*length);
        rest = others;
        (share.len(), part)
    };
    shares.iter().zip(lengths).map(part).collect()
}
