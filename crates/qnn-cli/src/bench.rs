//! `qnn bench`: how fast twins of kernels, products of several bits, training steps and answers are, on one thread and
//! on all. It repeats, keeps the clock and prints; what is timed is prepared by `qnn_core::measure`.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Error, Result};
use clap::{Args, ValueEnum};
use indicatif::ProgressIterator;
use qnn_core::kernels::Choice;
use qnn_core::measure::{Operation, Subject, Summary, kernel_names};
use qnn_core::spec::{Bits, NetworkSpec};
use qnn_core::threads::team;
use rayon::ThreadPool;
use serde::Serialize;

use crate::gpu::{self, GpuBench};

/// The column of what a kernel reaches where it need not fetch anything.
const LIMIT: &str = "in-register limit";
/// Rows, columns and terms of the products that twins compute; products of several bits are of the first.
const SHAPES: [(usize, usize, usize); 3] = [(256, 1024, 1024), (100, 512, 512), (512, 784, 100)];
/// Bits of the two operands.
#[rustfmt::skip]
const BIT_PAIRS: [(u8, u8); 9] =
    [(1, 1), (2, 1), (4, 1), (6, 1), (8, 1), (2, 2), (4, 4), (8, 8), FLOATS];
const FLOATS: (u8, u8) = (32, 32);
/// Bits of weights and activations alike, and of gradients.
const STEP_BITS: [(u8, u8); 6] = [(1, 32), SIX_BIT_GRADIENTS, (2, 6), (4, 6), (8, 6), FLOATS];
const SIX_BIT_GRADIENTS: (u8, u8) = (1, 6);
/// Hidden layers of the networks.
const SMALL: &[usize] = &[512; 2];
const LARGE: &[usize] = &[4096; 3];

#[derive(Args)]
pub struct Bench {
    /// What to measure; everything by default.
    parts: Vec<Part>,
    /// Measures in fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Writes the figures to a file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads to compare with one; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
    #[command(flatten)]
    gpu: GpuBench,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Part {
    /// Every twin of every kernel, on one thread.
    Kernels,
    /// Products of several bits, each by the kernel that is chosen for it.
    Products,
    /// Training steps.
    Steps,
    /// Answers of networks with packed weights of one bit.
    Answers,
}

/// Something that is timed in every round.
struct Timed {
    part: Part,
    /// The table and the row that its figures stand in.
    title: String,
    row: String,
    /// The column, where that is not the number of threads: a kernel works on one.
    heading: Option<String>,
    /// Whether the other rows of its table are compared with it.
    is_reference: bool,
    operation: Operation,
    /// What a run does: multiply-accumulates, images trained or answers.
    work: f64,
    /// Milliseconds of a run, round by round, on one thread and then on all.
    times: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct Report {
    threads: usize,
    rounds: usize,
    tables: Vec<Table>,
}

#[derive(Serialize)]
struct Table {
    part: Part,
    title: String,
    /// Of the cells that are no ratios.
    unit: &'static str,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    heading: String,
    #[serde(flatten)]
    summary: Summary,
}

pub fn bench(arguments: Bench) -> Result<()> {
    if arguments.gpu.is_wanted() {
        let pool = crate::threads(arguments.threads)?;
        return pool.install(|| gpu::bench(&arguments.gpu, arguments.json.as_deref()));
    }
    let (rounds, milliseconds) = if arguments.quick {
        (5, 10.0)
    } else {
        (15, 50.0)
    };
    let parts = match &arguments.parts[..] {
        [] => Part::value_variants(),
        parts => parts,
    };
    let mut pools = vec![crate::threads(arguments.threads)?];
    let mut timed = Vec::new();
    for part in parts {
        timed.extend(pools[0].install(|| part.prepare())?);
    }
    if pools[0].current_num_threads() > 1 {
        pools.insert(0, crate::threads(Some(1))?);
    }
    // All in turn, so that what else the machine does slows all alike. The first round warms up.
    for round in (0..rounds + 1).progress() {
        for timed in &mut timed {
            timed.time(&pools, milliseconds, round > 0);
        }
    }
    let threads: Vec<usize> = pools.iter().map(ThreadPool::current_num_threads).collect();
    let report = Report {
        threads: threads[threads.len() - 1],
        rounds,
        tables: timed
            .chunk_by(|one, next| one.title == next.title)
            .map(|timed| Table::of(timed, &threads))
            .collect(),
    };
    for table in &report.tables {
        writeln!(std::io::stdout(), "{table}").context("Standard output cannot be written.")?;
    }
    match arguments.json {
        Some(file) => std::fs::write(&file, serde_json::to_string(&report)?)
            .with_context(|| format!("{} cannot be written.", file.display())),
        None => Ok(()),
    }
}

impl Part {
    /// Everything of it, ready to be timed.
    fn prepare(self) -> Result<Vec<Timed>> {
        let mut all = Vec::new();
        let mut add = |title: &str, row: String, subject| -> Result<()> {
            all.push(Timed::new(self, title, row, subject)?);
            Ok(())
        };
        match self {
            Part::Kernels => {
                for name in kernel_names() {
                    let mut add = |subject| add("Kernels on one thread", name.into(), subject);
                    for shape in SHAPES {
                        let name = name.into();
                        add(Subject::Kernel { name, shape })?;
                    }
                    // The inner loops of others cannot be timed apart from what is around them.
                    if name.starts_with("lookup") && name != "lookup scalar" {
                        add(Subject::InRegister { name: name.into() })?;
                    }
                }
            }
            Part::Products => {
                let title = format!("Products {}", shape_name(SHAPES[0]));
                for (a, b) in BIT_PAIRS {
                    let product = Subject::Product {
                        shape: SHAPES[0],
                        a_bits: bits(a)?,
                        b_bits: bits(b)?,
                        method: None,
                    };
                    add(&title, format!("{a} x {b} bits"), product)?;
                }
            }
            Part::Steps => {
                let small = [(SMALL, 100), (SMALL, 1000)].map(|of| (of, &STEP_BITS[..]));
                let large = ((LARGE, 100), &[SIX_BIT_GRADIENTS][..]);
                for ((hidden, batch_size), step_bits) in small.into_iter().chain([large]) {
                    let title = format!("Training steps of {}, batch {batch_size}", layers(hidden));
                    for &(k, gradients) in step_bits {
                        let spec = NetworkSpec {
                            weight_bits: bits(k)?,
                            activation_bits: bits(k)?,
                            gradient_bits: bits(gradients)?,
                            batch_size,
                            ..network(hidden)
                        };
                        let row = format!("{k}/{k}/{gradients} bits");
                        add(&title, row, Subject::Step { spec })?;
                    }
                }
            }
            Part::Answers => {
                for hidden in [SMALL, LARGE] {
                    let title = format!("Answers of {}, 1 bit", layers(hidden));
                    for (row, images) in [("1 image", 1), ("256 images", 256)] {
                        let spec = network(hidden);
                        add(&title, row.into(), Subject::Answer { spec, images })?;
                    }
                }
            }
        }
        Ok(all)
    }

    fn unit(self) -> &'static str {
        match self {
            Part::Kernels | Part::Products => "G multiply-accumulates a second",
            Part::Steps => "images a second",
            Part::Answers => "milliseconds",
        }
    }

    /// In that unit, the figure of a speed: work in a millisecond.
    fn figure(self, speed: f64) -> f64 {
        match self {
            Part::Kernels | Part::Products => speed / 1e6,
            Part::Steps => speed * 1e3,
            Part::Answers => 1.0 / speed,
        }
    }
}

fn bits(bits: u8) -> Result<Bits> {
    Bits::new(bits).map_err(Error::msg)
}

fn network(hidden: &[usize]) -> NetworkSpec {
    NetworkSpec {
        hidden: hidden.into(),
        ..NetworkSpec::default()
    }
}

fn layers(hidden: &[usize]) -> String {
    let hidden: String = hidden.iter().map(|units| format!("{units}-")).collect();
    format!("784-{hidden}10")
}

fn shape_name((rows, columns, terms): (usize, usize, usize)) -> String {
    format!("{rows}x{columns}x{terms}")
}

impl Timed {
    fn new(part: Part, title: &str, row: String, subject: Subject) -> Result<Timed> {
        let operation = subject.prepare(Choice::default())?;
        Ok(Timed {
            part,
            title: title.into(),
            row,
            heading: match &subject {
                Subject::Kernel { shape, .. } => Some(shape_name(*shape)),
                Subject::InRegister { .. } => Some(LIMIT.into()),
                _ => None,
            },
            is_reference: match &subject {
                Subject::Product { a_bits, .. } => a_bits.is_float(),
                Subject::Step { spec } => spec.weight_bits.is_float(),
                _ => false,
            },
            work: match &subject {
                Subject::Step { spec } => spec.batch_size as f64,
                Subject::Answer { .. } => 1.0,
                _ => operation.macs,
            },
            operation,
            times: Vec::new(),
        })
    }

    /// A round, for at least so many milliseconds on each of the pools that it can use.
    fn time(&mut self, pools: &[ThreadPool], milliseconds: f64, counts: bool) {
        let usable = if self.heading.is_some() {
            1
        } else {
            pools.len()
        };
        self.times.resize(usable, Vec::new());
        for (pool, times) in pools.iter().zip(&mut self.times) {
            let begun = Instant::now();
            let now = || begun.elapsed().as_secs_f64() * 1e3;
            // With all threads awake, as the page's engine works.
            let time = pool.install(|| team(|| self.operation.time(&now, milliseconds)));
            if counts {
                times.push(time);
            }
        }
    }

    /// Work in a millisecond, round by round, on one of the pools.
    fn speeds(&self, pool: usize) -> Vec<f64> {
        let times = self.times[pool].iter();
        times.map(|milliseconds| self.work / milliseconds).collect()
    }
}

impl Table {
    /// Of what belongs to one, row after row.
    fn of(timed: &[Timed], threads: &[usize]) -> Table {
        let reference = timed.iter().find(|timed| timed.is_reference);
        let row = |timed: &[Timed]| Row {
            name: timed[0].row.clone(),
            cells: cells(timed, reference, threads),
        };
        Table {
            part: timed[0].part,
            title: timed[0].title.clone(),
            unit: timed[0].part.unit(),
            rows: timed
                .chunk_by(|one, next| one.row == next.row)
                .map(row)
                .collect(),
        }
    }
}

/// The figures of a row and what they are to others.
fn cells(row: &[Timed], reference: Option<&Timed>, threads: &[usize]) -> Vec<Cell> {
    let on = |threads: &usize| format!("{threads} thread{}", if *threads > 1 { "s" } else { "" });
    let mut cells = Vec::new();
    let mut add = |heading: String, summary| cells.push(Cell { heading, summary });
    for timed in row {
        for (pool, threads) in threads.iter().enumerate().take(timed.times.len()) {
            let heading = timed.heading.clone().unwrap_or_else(|| on(threads));
            let figures = timed.speeds(pool).into_iter();
            add(
                heading,
                Summary::of(figures.map(|speed| timed.part.figure(speed)).collect()),
            );
        }
    }
    let is_limit = |timed: &&Timed| timed.heading.as_deref() == Some(LIMIT);
    if let (Some(first), Some(limit)) = (row.first(), row.iter().find(is_limit)) {
        add(
            "share of limit".into(),
            ratio(&first.speeds(0), &limit.speeds(0)),
        );
    }
    if let ([timed], [_, all]) = (row, threads) {
        add(
            format!("{} to 1", on(all)),
            ratio(&timed.speeds(1), &timed.speeds(0)),
        );
    }
    if let Some(reference) = reference {
        for (pool, threads) in threads.iter().enumerate() {
            let speeds = row[0].speeds(pool);
            add(
                format!("to floats, {}", on(threads)),
                ratio(&speeds, &reference.speeds(pool)),
            );
        }
    }
    cells
}

/// Of the ratios round by round: two figures of one round were taken while the machine was equally busy.
fn ratio(speeds: &[f64], others: &[f64]) -> Summary {
    let pairs = speeds.iter().zip(others);
    Summary::of(pairs.map(|(speed, other)| speed / other).collect())
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let rows = || self.rows.iter().map(|row| &row.cells);
        let widths = |cell: &Cell| cell.heading.len().max(cell.summary.to_string().len());
        let width = rows().flatten().map(widths).max().unwrap_or(0);
        writeln!(f, "{}: {}, median (quartiles)", self.title, self.unit)?;
        write!(f, "{:18}", "")?;
        for cell in rows().max_by_key(|cells| cells.len()).into_iter().flatten() {
            write!(f, "  {:>width$}", cell.heading)?;
        }
        for row in &self.rows {
            write!(f, "\n{:18}", row.name)?;
            for cell in &row.cells {
                write!(f, "  {:>width$}", cell.summary.to_string())?;
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_does_not_depend_on_how_busy_the_machine_is() {
        let share_of_the_machine = [1.0, 0.5, 0.125, 1.0];
        let speeds = |speed: f64| share_of_the_machine.map(|share| share * speed);
        assert_eq!(
            ratio(&speeds(30.0), &speeds(10.0)).to_string(),
            "3 (3 to 3)"
        );
    }
}
