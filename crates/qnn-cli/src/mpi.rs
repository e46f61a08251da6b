//! Training among the processes of an MPI program: a `Communicator` over the MPI library of the system, and how what fails
//! on one rank ends all. What ranks exchange is `qnn_core::parallel`'s business.

use std::hash::{DefaultHasher, Hash, Hasher};

use ::mpi::collective::{CommunicatorCollectives, Root};
use ::mpi::datatype::{Partition, PartitionMut};
use ::mpi::point_to_point::{Destination, Source};
use ::mpi::topology::{Communicator as _, SimpleCommunicator};
use ::mpi::{Count, Rank, Threading};
use anyhow::{Context, Result, ensure};
use qnn_core::data::TrainingData;
use qnn_core::parallel::{Communicator, Ranks};
use rayon::ThreadPool;

use crate::exit;
use crate::train::{self, Begun, Train};

/// All processes that mpirun has started.
struct World;

/// Trains as `train` does, among all processes. An error ends all of them, with its message once.
pub fn train(arguments: &Train) -> Result<()> {
    // The thread that trains is not the main one, but no other calls MPI meanwhile.
    let (_universe, threading) = ::mpi::initialize_with_threading(Threading::Serialized)
        .context("MPI cannot be started twice.")?;
    let begun = begin(arguments, threading);
    let is_fine = World.all_gather(&[u8::from(begun.is_ok())], &vec![1; World.size()]);
    let first_failed = is_fine.iter().position(|is_fine| *is_fine == 0);
    let (threads, begun) = match (begun, first_failed) {
        (Ok(begun), None) => begun,
        (outcome, failed) => end(outcome.err().filter(|_| failed == Some(World.rank()))),
    };
    let outcome = threads.install(|| {
        ensure_same(&begun)?;
        train::train_among(arguments, begun, Ranks::new(&World))
    });
    // What fails from here on fails on all ranks, or on the first one, which alone prints and writes.
    outcome.or_else(|error| end((World.rank() == 0).then_some(error)))
}

fn begin(arguments: &Train, threading: Threading) -> Result<(ThreadPool, Begun)> {
    ensure!(
        threading >= Threading::Serialized,
        "This MPI library serves one thread alone: take one that was built for several."
    );
    let threads = crate::threads(arguments.output.threads)?;
    let begun = threads.install(|| train::begin(arguments))?;
    Ok((threads, begun))
}

/// Whether all ranks begin with the same network and data.
fn ensure_same(begun: &Begun) -> Result<()> {
    let Begun {
        trainer,
        data,
        other,
        state,
        until,
    } = begun;
    let mut hasher = DefaultHasher::new();
    trainer.checkpoint().hash(&mut hasher);
    (until, serde_json::to_string(state)?).hash(&mut hasher);
    let test = &other.as_ref().unwrap_or(data).test;
    (&test.pixels, &test.labels).hash(&mut hasher);
    if let TrainingData::Images(images) | TrainingData::Repeated(images, _) = &data.train {
        (&images.pixels, &images.labels).hash(&mut hasher);
    }
    let own = hasher.finish().to_le_bytes();
    let all = World.all_gather(&own, &vec![own.len(); World.size()]);
    ensure!(
        all.chunks_exact(own.len()).all(|other| other == own),
        "The ranks have different settings or files: give all of them the same."
    );
    Ok(())
}

/// Ends all processes: prints the error, or waits for the rank that does.
fn end(error: Option<anyhow::Error>) -> ! {
    if let Some(error) = error {
        exit::tell(&error);
        SimpleCommunicator::world().abort(exit::code(&error).into());
    }
    loop {
        std::thread::park();
    }
}

impl Communicator for World {
    fn rank(&self) -> usize {
        SimpleCommunicator::world().rank() as usize
    }

    fn size(&self) -> usize {
        SimpleCommunicator::world().size() as usize
    }

    fn send(&self, to: usize, bytes: &[u8]) {
        let world = SimpleCommunicator::world();
        world.process_at_rank(to as Rank).send(bytes);
    }

    fn receive(&self, from: usize, bytes: &mut [u8]) {
        let world = SimpleCommunicator::world();
        world.process_at_rank(from as Rank).receive_into(bytes);
    }

    fn broadcast(&self, from: usize, bytes: &mut [u8]) {
        let world = SimpleCommunicator::world();
        world.process_at_rank(from as Rank).broadcast_into(bytes);
    }

    fn all_gather(&self, own: &[u8], lengths: &[usize]) -> Vec<u8> {
        let mut all = room(lengths);
        let (counts, places) = counts(lengths);
        let mut into = PartitionMut::new(all.as_mut_slice(), counts, places);
        SimpleCommunicator::world().all_gather_varcount_into(in_memory(own), &mut into);
        all
    }

    fn all_to_all(&self, bytes: &[u8], to: &[usize], from: &[usize]) -> Vec<u8> {
        let mut all = room(from);
        let (to_counts, to_places) = counts(to);
        let (from_counts, from_places) = counts(from);
        let out = Partition::new(in_memory(bytes), to_counts, to_places);
        let mut into = PartitionMut::new(all.as_mut_slice(), from_counts, from_places);
        SimpleCommunicator::world().all_to_all_varcount_into(&out, &mut into);
        all
    }
}

/// The same bytes, but not at the address 1 where there are none, as Rust has it: that is Open MPI's `MPI_IN_PLACE`.
fn in_memory(bytes: &[u8]) -> &[u8] {
    if bytes.is_empty() { &[0][..0] } else { bytes }
}

/// Bytes to be filled with such parts, in memory even where there are none.
fn room(lengths: &[usize]) -> Vec<u8> {
    let length = lengths.iter().sum();
    let mut room = Vec::with_capacity(length + 1);
    room.resize(length, 0);
    room
}

/// The lengths of parts and where they begin, in MPI's integers: no layer is so large that 31 bits would not do.
fn counts(lengths: &[usize]) -> (Vec<Count>, Vec<Count>) {
    let counts: Vec<Count> = lengths.iter().map(|length| *length as Count).collect();
    let places = counts.iter().scan(0, |end, count| {
        let begin = *end;
        *end += count;
        Some(begin)
    });
    let places = places.collect();
    (counts, places)
}
