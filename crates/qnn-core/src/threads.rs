//! Work shared among threads: items handed out one by one to whoever is free. A training step is some forty short pieces
//! of work, and a sleeping thread takes longer to wake than most of them last; so a [`team`] of rayon's threads stays
//! awake for as long as there are pieces to come. Which thread does what changes no result.
//!
//! How a team works: the ticket says which items of a job are left. Who takes one off it, in one exchange, has that
//! item, and the job is not over, nor its function gone, before the item is done. The leader takes the first that is
//! left, the others the last: so they mostly come to the same rows as in the job before, which lie in their own cache.
//! Who waits for longer than the gaps in a step last goes to sleep, and leaves the core to who has work.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::LocalKey;

use rayon::prelude::*;

/// Numbers that are worth handing out: a few microseconds of work.
const PIECE: usize = 1 << 12;
/// Turns of waiting before a thread goes to sleep: some 200 microseconds, for longer than one thread alone has something
/// to do within a step. A turn has no pause on wasm.
const PATIENCE: u32 = if cfg!(target_family = "wasm") {
    100_000
} else {
    5_000
};

type Job<'a> = &'a (dyn Fn(usize) + Sync);

/// Threads that wait for jobs.
struct Team {
    /// The first item that nobody has taken, in the upper half, and the end of those.
    ticket: AtomicU64,
    /// Items of the job that are done.
    done: AtomicU32,
    /// How an item of the job panicked, if one did.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    closed: AtomicBool,
    /// How many threads sleep, or are about to, until the bell rings.
    sleepers: AtomicU32,
    bed: Mutex<()>,
    bell: Condvar,
    job: UnsafeCell<Option<Job<'static>>>,
}

// SAFETY: `job` is written by the leader alone, while no item is left or under way, and read only by who has an item.
unsafe impl Sync for Team {}

thread_local! {
    /// The team that this thread leads, unless it is at work on a job.
    static LED: Cell<Option<*const Team>> = const { Cell::new(None) };
    /// Whether this thread is at work on an item.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with a team on all of rayon's threads, which are busy until it ends: what it shares among threads it shares
/// by [`for_each`], as rayon has none left.
pub fn team<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let threads = rayon::current_num_threads();
    if threads == 1 || LED.get().is_some() || BUSY.get() {
        return work();
    }
    let team = Team {
        ticket: AtomicU64::new(0),
        done: AtomicU32::new(0),
        panic: Mutex::new(None),
        closed: AtomicBool::new(false),
        sleepers: AtomicU32::new(0),
        bed: Mutex::new(()),
        bell: Condvar::new(),
        job: UnsafeCell::new(None),
    };
    rayon::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| team.follow());
        }
        let _closing = OnDrop(|| {
            LED.set(None);
            team.closed.store(true, Ordering::SeqCst);
            team.ring();
        });
        LED.set(Some(&team));
        work()
    })
}

/// Does `work` for each of the items, with its number, on all threads.
pub fn for_each<T: Send>(items: impl ExactSizeIterator<Item = T>, work: impl Fn(usize, T) + Sync) {
    if items.len() < 2 || rayon::current_num_threads() == 1 {
        return items
            .enumerate()
            .for_each(|(index, item)| work(index, item));
    }
    let items: Vec<Mutex<Option<T>>> = items.map(|item| Mutex::new(Some(item))).collect();
    run(items.len(), &|index| {
        let item = items[index].lock().ok().and_then(|mut item| item.take());
        if let Some(item) = item {
            work(index, item);
        }
    });
}

/// Does `work` for each row of a matrix of `columns` columns, on all threads where that is worth it.
pub fn for_each_row<T: Send>(
    matrix: &mut [T],
    columns: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let height = rows_per_piece(columns);
    for_each(
        matrix.chunks_mut((height * columns).max(1)),
        |piece, rows| {
            for (row, numbers) in rows.chunks_mut(columns.max(1)).enumerate() {
                work(piece * height + row, numbers);
            }
        },
    );
}

/// Hands `work` a buffer that each thread keeps, with what was left in it: threads that allocate wait for a lock. Within
/// itself, and after a panic, the buffer is another, empty one.
pub fn with_buffer<T, R>(
    buffer: &'static LocalKey<Cell<Vec<T>>>,
    work: impl FnOnce(&mut Vec<T>) -> R,
) -> R {
    let mut lent = buffer.take();
    let result = work(&mut lent);
    buffer.set(lent);
    result
}

/// A new vector of `length` numbers that begin as zeros, filled in pieces on all threads; `beside` gives what belongs to
/// each piece. Who fills a piece also clears it, and so has its memory at hand.
pub fn fill_pieces<T: Copy + Default + Send, B: Send>(
    length: usize,
    piece: usize,
    beside: impl ExactSizeIterator<Item = B>,
    fill: impl Fn(usize, &mut [T], B) + Sync,
) -> Vec<T> {
    assert_eq!(
        beside.len(),
        length.div_ceil(piece),
        "all pieces are filled"
    );
    let mut numbers = Vec::with_capacity(length);
    let pieces = numbers.spare_capacity_mut()[..length].chunks_mut(piece);
    for_each(pieces.zip(beside), |index, (room, beside)| {
        room.fill(MaybeUninit::new(T::default()));
        // SAFETY: all of it was written just now.
        fill(index, unsafe { room.assume_init_mut() }, beside);
    });
    // SAFETY: `for_each` has done all pieces, which are all numbers, and each was written.
    unsafe { numbers.set_len(length) };
    numbers
}

/// A new matrix of `columns` columns that begins as zeros, filled row by row, on all threads where that is worth it.
pub fn fill_rows<T: Copy + Default + Send>(
    rows: usize,
    columns: usize,
    fill: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let height = rows_per_piece(columns);
    let piece = (height * columns).max(1);
    let length = rows * columns;
    let beside = std::iter::repeat_n((), length.div_ceil(piece));
    fill_pieces(length, piece, beside, |index, numbers, ()| {
        for (row, numbers) in numbers.chunks_mut(columns.max(1)).enumerate() {
            fill(index * height + row, numbers);
        }
    })
}

/// Rows of `columns` numbers that are worth handing out, where little is done with each number.
pub fn rows_per_piece(columns: usize) -> usize {
    PIECE.div_ceil(columns.max(1))
}

/// Does `job` for each number below `count`.
fn run(count: usize, job: Job<'_>) {
    match LED.take() {
        Some(team) => {
            let _leading = OnDrop(|| LED.set(Some(team)));
            // SAFETY: the team lives until `team` returns, which takes it out of `LED` before.
            unsafe { &*team }.lead(count as u32, job);
        }
        // Within a job all threads are at work already.
        None if BUSY.get() => (0..count).for_each(job),
        None => (0..count).into_par_iter().for_each(job),
    }
}

impl Team {
    /// Hands out a job and helps with it until all of it is done.
    fn lead(&self, count: u32, job: Job<'_>) {
        // SAFETY: the job before is over, so nobody has an item and reads this. The longer lifetime ends with this
        // function, which waits until all items are done.
        unsafe { *self.job.get() = Some(std::mem::transmute::<Job<'_>, Job<'static>>(job)) };
        self.done.store(0, Ordering::Relaxed);
        self.ticket.store(u64::from(count), Ordering::SeqCst);
        self.ring();
        while self.take_item(true) {}
        self.wait_until(|| self.done.load(Ordering::SeqCst) == count);
        let panic = self
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Does items of jobs until the team is closed.
    fn follow(&self) {
        let is_closed = || self.closed.load(Ordering::SeqCst);
        while !is_closed() {
            if !self.take_item(false) {
                self.wait_until(|| is_closed() || self.items_left().is_some());
            }
        }
    }

    /// Waits awake for a while, then asleep.
    fn wait_until(&self, is_so: impl Fn() -> bool) {
        for _ in 0..PATIENCE {
            if is_so() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted before the last look: who changes something looks for sleepers after.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !is_so() {
            bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes who sleeps, after something has changed.
    fn ring(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.bed.lock());
            self.bell.notify_all();
        }
    }

    /// The first item that is left and the end of those.
    fn items_left(&self) -> Option<(usize, usize)> {
        let ticket = self.ticket.load(Ordering::SeqCst);
        let (first, end) = ((ticket >> 32) as usize, ticket as u32 as usize);
        (first < end).then_some((first, end))
    }

    /// Takes the first or the last item that is left, if one is, and does it.
    fn take_item(&self, is_leader: bool) -> bool {
        let Some((first, end)) = self.items_left() else {
            return false;
        };
        let ticket = (first as u64) << 32 | end as u64;
        let (item, rest) = if is_leader {
            (first, ticket + (1 << 32))
        } else {
            (end - 1, ticket - 1)
        };
        let taken = self
            .ticket
            .compare_exchange(ticket, rest, Ordering::SeqCst, Ordering::Relaxed);
        if taken.is_ok() {
            BUSY.set(true);
            // SAFETY: this thread has an item of the job, so the leader waits and does not write.
            let job = unsafe { *self.job.get() };
            // A panic must not keep the leader from waiting for the other items: they use what is on its stack.
            let outcome = catch_unwind(AssertUnwindSafe(|| job.map(|job| job(item))));
            if let Err(panic) = outcome {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            BUSY.set(false);
            self.done.fetch_add(1, Ordering::SeqCst);
            self.ring();
        }
        true
    }
}

/// Does something when it goes, also in a panic.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    }

    #[test]
    fn every_item_is_done_once() {
        for threads in 1..=4 {
            pool(threads).install(|| {
                team(|| {
                    for count in (0..40).chain([1000]) {
                        let mut numbers = vec![0; count];
                        for_each(numbers.iter_mut(), |index, number| *number += index + 1);
                        assert!(
                            (1..)
                                .zip(&numbers)
                                .all(|(expected, number)| expected == *number)
                        );
                    }
                });
            });
        }
    }

    #[test]
    fn new_numbers_begin_as_zeros_and_are_filled() {
        for threads in [1, 3] {
            for (rows, columns) in [(0, 5), (5, 0), (1, 1), (300, 70)] {
                let filled = pool(threads).install(|| {
                    team(|| {
                        fill_rows(rows, columns, |row, numbers: &mut [usize]| {
                            for (column, number) in numbers.iter_mut().enumerate() {
                                *number += row * columns + column;
                            }
                        })
                    })
                });
                assert!(filled.into_iter().eq(0..rows * columns));
            }
        }
    }

    #[test]
    fn work_within_work_is_done() {
        pool(3).install(|| {
            team(|| {
                let mut rows = vec![vec![0; 100]; 10];
                for_each(rows.iter_mut(), |_, row| {
                    team(|| for_each(row.iter_mut(), |index, number| *number = index));
                });
                assert!(rows.iter().flatten().sum::<usize>() == 10 * 4950);
            });
        });
    }

    #[test]
    fn a_panic_comes_through_after_all_other_items() {
        for panicking in [0, 50, 99] {
            let mut done = [false; 100];
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool(2).install(|| {
                    team(|| {
                        for_each(done.iter_mut(), |item, done| {
                            assert_ne!(item, panicking, "this one panics");
                            std::thread::sleep(std::time::Duration::from_micros(100));
                            *done = true;
                        });
                    });
                });
            }));
            assert!(outcome.is_err());
            assert_eq!(done.iter().filter(|done| !**done).count(), 1);
            assert!(!done[panicking]);
        }
    }
}
