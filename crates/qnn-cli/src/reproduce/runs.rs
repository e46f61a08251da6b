//! Runs on disk: an unfinished one is a checkpoint and the curve so far, replaced as one, and kept until its outcome is;
//! finished ones are all in `reproduction.json`. Several processes may work on different recipes in the same folders.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use qnn_core::data::DataSet;
use qnn_core::spec::{NetworkSpec, Rounding};
use qnn_core::train::Trainer;
use serde::{Deserialize, Serialize};

use super::recipes::Run;
use crate::{EVALUATION_PIECE, files};

/// How often an unfinished run is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// Networks whose mean answers for stochastic weights.
const SAMPLES: u32 = 16;

/// All finished runs.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    pub runs: Vec<Outcome>,
}

/// A finished run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The recipe that it was run for, and what sets it apart there.
    pub recipe: String,
    pub label: String,
    pub data: String,
    pub seed: u32,
    /// Epochs to be trained; fewer were where it diverged.
    pub epochs: u32,
    /// Of training, not counting the tests.
    pub seconds: f64,
    pub threads: usize,
    /// After the last epoch, percent; none where training diverged.
    pub test_error_percent: Option<f64>,
    /// Of the mean of networks of sampled weights, where weights are stochastic.
    pub sampled_test_error_percent: Option<f64>,
    pub published_test_error_percent: Option<f64>,
    pub published_source: Option<String>,
    /// Why there is no figure.
    pub diverged: Option<String>,
    pub curve: Vec<Epoch>,
    pub spec: NetworkSpec,
}

/// What an epoch came to.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean of the steps.
    pub train_loss: f32,
    pub train_error_percent: f64,
    pub test_loss: f32,
    pub test_error_percent: f64,
}

/// An unfinished run, beside its checkpoint.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    spec: NetworkSpec,
    data: String,
    /// The file of the checkpoint that this belongs to.
    checkpoint: String,
    seconds: f64,
    curve: Vec<Epoch>,
    sums: Sums,
}

/// Of the epoch under way.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Sums {
    loss: f64,
    accuracy: f64,
    steps: u32,
}

/// The folders of reports and of unfinished runs.
pub struct Workshop {
    pub reports: PathBuf,
    pub unfinished: PathBuf,
}

/// A run in training.
struct Training<'a> {
    trainer: Trainer,
    data: &'a DataSet,
    seconds: f64,
    curve: Vec<Epoch>,
    sums: Sums,
}

impl Report {
    /// The outcome of a run on the data set called `data`, whichever recipe it was run for.
    pub fn find(&self, run: &Run, data: &str) -> Option<&Outcome> {
        self.runs.iter().find(|outcome| {
            outcome.spec == run.spec && outcome.epochs == run.epochs && outcome.data == data
        })
    }
}

impl Outcome {
    /// A line for the terminal.
    pub fn summary(&self) -> String {
        match (&self.test_error_percent, &self.diverged) {
            (Some(error), _) => format!("{error:.2} % test error in {:.0} s", self.seconds),
            (None, reason) => format!("diverged: {}", reason.as_deref().unwrap_or_default()),
        }
    }
}

impl Workshop {
    fn report_file(&self) -> PathBuf {
        self.reports.join("reproduction.json")
    }

    /// All finished runs so far.
    pub fn report(&self) -> Result<Report> {
        let file = self.report_file();
        if !file.exists() {
            return Ok(Report::default());
        }
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read.", file.display()))?;
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not a report; move it away to begin anew.",
                file.display()
            )
        })
    }

    /// Adds a finished run of `recipe` to the report, has `write` bring up to date what is made of it, and forgets
    /// the unfinished run.
    pub fn add(
        &self,
        recipe: &str,
        run: &Run,
        outcome: Outcome,
        write: impl FnOnce(&Report) -> Result<()>,
    ) -> Result<()> {
        create_folder(&self.reports)?;
        // Held until the end, so that no other process's run is lost.
        let lock = File::create(self.reports.join("lock")).context("The lock cannot be made.")?;
        lock.lock().context("The lock cannot be taken.")?;
        let mut report = self.report()?;
        // Another process may have run the same for another recipe meanwhile.
        if report.find(run, &outcome.data).is_none() {
            report.runs.push(outcome);
            let text = serde_json::to_string_pretty(&report)? + "\n";
            files::save(&self.report_file(), text.as_bytes())?;
        }
        write(&report)?;
        self.forget(&file_name(recipe, run));
        Ok(())
    }

    /// Trains a run to its end, from where it was stopped if it was.
    pub fn train(&self, recipe: &str, run: &Run, data: &DataSet) -> Result<Outcome> {
        create_folder(&self.unfinished)?;
        let name = file_name(recipe, run);
        let mut training = match self.resume(&name, run, data)? {
            Some(training) => training,
            None => Training::new(run, data)?,
        };
        let template = "{prefix} {bar:30} {pos}/{len} steps, {eta} left, {msg}";
        let length = data.train.epoch_length() / run.spec.batch_size.min(data.train.epoch_length());
        let bar = ProgressBar::new(length as u64 * u64::from(run.epochs))
            .with_style(ProgressStyle::with_template(template)?)
            .with_prefix(run.label.clone())
            .with_position(u64::from(training.trainer.step_count()));
        let mut saved = Instant::now();
        let mut diverged = None;
        while training.trainer.epoch() < run.epochs && diverged.is_none() {
            diverged = training.step().err();
            bar.inc(1);
            if let Some(last) = training.curve.last() {
                bar.set_message(format!("{:.2} % test error", last.test_error_percent));
            }
            if saved.elapsed() > SAVE_INTERVAL {
                self.save(&name, &training)?;
                saved = Instant::now();
            }
        }
        bar.finish_and_clear();
        if diverged.is_none() {
            self.save(&name, &training)?;
        }
        Ok(training.outcome(recipe, run, diverged.or_else(|| training.collapse())))
    }

    fn state_file(&self, name: &str) -> PathBuf {
        self.unfinished.join(format!("{name}.json"))
    }

    fn resume<'a>(&self, name: &str, run: &Run, data: &'a DataSet) -> Result<Option<Training<'a>>> {
        let file = self.state_file(name);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read.", file.display()))?;
        let kept: Unfinished = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; remove it to begin anew.", file.display()))?;
        if kept.spec != run.spec || kept.data != data.name {
            // The recipe or the data has become another since.
            return Ok(None);
        }
        let trainer = files::trainer(&self.unfinished.join(&kept.checkpoint))?;
        ensure!(
            trainer.inputs() == data.test.image_size(),
            "The unfinished run {name} is of images of another size."
        );
        Ok(Some(Training {
            trainer,
            data,
            seconds: kept.seconds,
            curve: kept.curve,
            sums: kept.sums,
        }))
    }

    /// The state names its checkpoint, so replacing the state replaces both.
    fn save(&self, name: &str, training: &Training<'_>) -> Result<()> {
        let checkpoint = format!("{name}.{}.checkpoint", training.trainer.step_count());
        files::save(
            &self.unfinished.join(&checkpoint),
            &training.trainer.checkpoint(),
        )?;
        let state = Unfinished {
            spec: training.trainer.spec().clone(),
            data: training.data.name.clone(),
            checkpoint: checkpoint.clone(),
            seconds: training.seconds,
            curve: training.curve.clone(),
            sums: training.sums,
        };
        files::save(
            &self.state_file(name),
            serde_json::to_string(&state)?.as_bytes(),
        )?;
        self.remove_checkpoints(name, Some(&checkpoint));
        Ok(())
    }

    fn forget(&self, name: &str) {
        // What is left behind does no harm: the state of a finished run is not read again.
        let _ = fs::remove_file(self.state_file(name));
        self.remove_checkpoints(name, None);
    }

    fn remove_checkpoints(&self, name: &str, but: Option<&str>) {
        let Ok(entries) = fs::read_dir(&self.unfinished) else {
            return;
        };
        for entry in entries.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let is_of_run = file.starts_with(&format!("{name}.")) && file.ends_with(".checkpoint");
            if is_of_run && Some(file.as_str()) != but {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl<'a> Training<'a> {
    fn new(run: &Run, data: &'a DataSet) -> Result<Training<'a>> {
        Ok(Training {
            trainer: Trainer::new(run.spec.clone(), data.test.image_size(), data.classes.len())?,
            data,
            seconds: 0.0,
            curve: Vec::new(),
            sums: Sums::default(),
        })
    }

    /// Trains a step, and at the end of an epoch tests; why that diverged, if it did.
    fn step(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let epoch = self.trainer.epoch();
        let step = self.trainer.step(&self.data.train);
        let metrics = step.map_err(|diverged| diverged.to_string())?;
        self.seconds += begun.elapsed().as_secs_f64();
        self.sums.loss += f64::from(metrics.loss);
        self.sums.accuracy += f64::from(metrics.accuracy);
        self.sums.steps += 1;
        if self.trainer.epoch() > epoch {
            let test = self
                .trainer
                .freeze()
                .evaluate_all(&self.data.test, EVALUATION_PIECE);
            // JSON has no such number, and no curve either.
            if !test.loss().is_finite() {
                return Err("the loss of the test images is not finite".into());
            }
            let steps = f64::from(self.sums.steps);
            self.curve.push(Epoch {
                train_loss: (self.sums.loss / steps) as f32,
                train_error_percent: percent(1.0 - self.sums.accuracy / steps),
                test_loss: test.loss(),
                test_error_percent: percent(1.0 - test.correct as f64 / test.images as f64),
            });
            self.sums = Sums::default();
        }
        Ok(())
    }

    /// Whether training has gone nowhere, although all numbers are finite: no error is worth reporting then.
    fn collapse(&self) -> Option<String> {
        let (first, last) = (self.curve.first()?, self.curve.last()?);
        let worse = self.curve.len() > 1 && last.train_loss > first.train_loss;
        // A tenth right is what chance gives.
        (worse || last.train_error_percent > 85.0).then(|| {
            format!(
                "the training loss went from {:.3} to {:.3}, {:.1} % of the training images wrong",
                first.train_loss, last.train_loss, last.train_error_percent
            )
        })
    }

    fn outcome(&self, recipe: &str, run: &Run, diverged: Option<String>) -> Outcome {
        let sampled = run.spec.weight_rounding == Rounding::Stochastic && diverged.is_none();
        let test_error = self.curve.last().map(|epoch| epoch.test_error_percent);
        Outcome {
            recipe: recipe.into(),
            label: run.label.clone(),
            data: self.data.name.clone(),
            seed: run.spec.seed,
            epochs: run.epochs,
            seconds: (self.seconds * 10.0).round() / 10.0,
            threads: rayon::current_num_threads(),
            test_error_percent: test_error.filter(|_| diverged.is_none()),
            sampled_test_error_percent: sampled.then(|| {
                let networks = self.trainer.freeze_samples(SAMPLES);
                let test = networks.evaluate_all(&self.data.test, EVALUATION_PIECE);
                percent(1.0 - test.correct as f64 / test.images as f64)
            }),
            published_test_error_percent: run.published.map(|published| published.test_error),
            published_source: run.published.map(|published| published.source.into()),
            diverged,
            curve: self.curve.clone(),
            spec: run.spec.clone(),
        }
    }
}

/// What the files of an unfinished run begin with.
fn file_name(recipe: &str, run: &Run) -> String {
    format!("{recipe} {} {} epochs", run.label, run.epochs)
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect()
}

/// A share in percent, to a thousandth: finer than an image of the test set.
fn percent(share: f64) -> f64 {
    (share * 100_000.0).round() / 1000.0
}

fn create_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made.", folder.display()))
}

#[cfg(test)]
mod tests {
    use qnn_core::data::{Images, TrainingData};
    use qnn_core::spec::{Bits, LearningRateScale, Optimizer};

    use super::*;

    /// 200 images of 4x4, of two of ten classes, that a network can tell apart, and the first 50 of them to test with.
    fn data() -> DataSet {
        let labels: Vec<u8> = (0..200u32).map(|image| (image % 2) as u8).collect();
        let pixel = |index: u32| {
            if (index % 4 < 2) == (index / 16).is_multiple_of(2) {
                200
            } else {
                (index * 7 % 90) as u8
            }
        };
        let images = |count: usize| Images {
            width: 4,
            height: 4,
            pixels: (0..16 * count as u32).map(pixel).collect(),
            labels: labels[..count].to_vec(),
        };
        DataSet {
            name: "halves".into(),
            classes: (0..10).map(|label| label.to_string()).collect(),
            train: TrainingData::Images(images(200)),
            test: images(50),
        }
    }

    fn run() -> Run {
        Run {
            label: "a run / of 1 bit".into(),
            spec: NetworkSpec {
                hidden: vec![16],
                gradient_bits: Bits::new(6).unwrap(),
                weight_rounding: Rounding::Stochastic,
                batch_size: 20,
                ..NetworkSpec::default()
            },
            epochs: 3,
            published: None,
        }
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_where_it_was() {
        let (data, run) = (data(), run());
        let folder = tempfile::tempdir().unwrap();
        let workshop = Workshop {
            reports: folder.path().join("a"),
            unfinished: folder.path().join("b"),
        };
        let name = file_name("recipe", &run);
        let whole = workshop.train("recipe", &run, &data).unwrap();
        // Its last state is there until it is in the report: nothing is lost if that cannot be written.
        assert_eq!(
            workshop.train("recipe", &run, &data).unwrap().curve.len(),
            3
        );
        workshop.forget(&name);
        assert_eq!(whole.curve.len(), 3);
        assert!(whole.test_error_percent.is_some() && whole.sampled_test_error_percent.is_some());

        // In the middle of the second epoch.
        let mut stopped = Training::new(&run, &data).unwrap();
        for _ in 0..14 {
            stopped.step().unwrap();
        }
        workshop.save(&name, &stopped).unwrap();
        stopped.step().unwrap();
        workshop.save(&name, &stopped).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("b")).unwrap().count(), 2);
        let resumed = workshop.resume(&name, &run, &data).unwrap().unwrap();
        assert_eq!(resumed.trainer.step_count(), 15);
        let resumed = workshop.train("recipe", &run, &data).unwrap();
        let figures = |outcome: &Outcome| -> Vec<(f32, f64, f32, f64)> {
            let epochs = outcome.curve.iter();
            epochs
                .map(|epoch| {
                    (
                        epoch.train_loss,
                        epoch.train_error_percent,
                        epoch.test_loss,
                        epoch.test_error_percent,
                    )
                })
                .collect()
        };
        assert_eq!(figures(&whole), figures(&resumed));

        // What belongs to other data is not gone on with.
        let other = DataSet {
            name: "other".into(),
            ..data.clone()
        };
        assert!(workshop.resume(&name, &run, &other).unwrap().is_none());

        // Finished runs are found by what they are, once, and their last state is forgotten.
        for _ in 0..2 {
            workshop
                .add("recipe", &run, resumed.clone(), |_| Ok(()))
                .unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("b")).unwrap().count(), 0);
        let report = workshop.report().unwrap();
        assert_eq!(report.runs.len(), 1);
        assert!(report.find(&run, "halves").is_some());
        assert!(report.find(&run, "other").is_none());
        assert!(report.find(&Run { epochs: 4, ..run }, "halves").is_none());
    }

    #[test]
    fn training_that_goes_nowhere_is_no_accuracy() {
        let data = data();
        let run = Run {
            spec: NetworkSpec {
                optimizer: Optimizer::Sgd { momentum: 0.99 },
                learning_rate: 10.0,
                learning_rate_decay: 1.0,
                learning_rate_scale: LearningRateScale::Glorot,
                ..run().spec
            },
            ..run()
        };
        let folder = tempfile::tempdir().unwrap();
        let workshop = Workshop {
            reports: folder.path().into(),
            unfinished: folder.path().into(),
        };
        let outcome = workshop.train("recipe", &run, &data).unwrap();
        assert_eq!(outcome.test_error_percent, None);
        assert!(
            outcome.summary().starts_with("diverged: "),
            "{}",
            outcome.summary()
        );
    }
}
