//! Runs of recipes on disk: an unfinished one is what `run` saves, kept until its outcome is; finished ones are all in
//! `reproduction.json`. Several processes may work on different recipes in the same folders.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qnn_core::data::DataSet;
use qnn_core::spec::{NetworkSpec, Rounding};
use serde::{Deserialize, Serialize};

use super::recipes::Run;
use crate::exit::{Ending, is_divergence};
use crate::run::{End, Epoch, Place, Training, percent};
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

/// The folders of reports and of unfinished runs.
pub struct Workshop {
    pub reports: PathBuf,
    pub unfinished: PathBuf,
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
        self.place(recipe, run).forget();
        Ok(())
    }

    /// Trains a run to its end, from where it was stopped if it was.
    ///
    /// # Errors
    ///
    /// Among others [`Ending::Interrupted`], with the run saved.
    pub fn train(&self, recipe: &str, run: &Run, data: &DataSet) -> Result<Outcome> {
        create_folder(&self.unfinished)?;
        let place = self.place(recipe, run);
        let mut training = Training::resume_or_begin(&place, &run.spec, data)?;
        let template = "{prefix} {bar:30} {pos}/{len} steps, {eta} left, {msg}";
        let bar = ProgressBar::new(training.epoch_steps() * u64::from(run.epochs))
            .with_style(ProgressStyle::with_template(template)?)
            .with_prefix(run.label.clone());
        let end = training.train(run.epochs, Some((&place, SAVE_INTERVAL)), |training, _| {
            bar.set_position(training.steps());
            if let Some(last) = training.curve.last() {
                bar.set_message(format!("{:.2} % test error", last.test_error_percent));
            }
            Ok(())
        });
        bar.finish_and_clear();
        let diverged = match end {
            Ok(End::Done) => training.collapse(),
            Ok(End::Stopped(signal)) => bail!(Ending::Interrupted {
                signal,
                message:
                    "Interrupted; what was trained is saved, and the same command goes on with it."
                        .into(),
            }),
            Err(error) if is_divergence(&error) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(outcome(&training, recipe, run, data, diverged))
    }

    fn place(&self, recipe: &str, run: &Run) -> Place {
        let name = file_name(recipe, run);
        Place {
            checkpoint: self.unfinished.join(format!("{name}.checkpoint")),
            state: self.unfinished.join(format!("{name}.json")),
        }
    }
}

fn outcome(
    training: &Training,
    recipe: &str,
    run: &Run,
    data: &DataSet,
    diverged: Option<String>,
) -> Outcome {
    let sampled = run.spec.weight_rounding == Rounding::Stochastic && diverged.is_none();
    let test_error = training.curve.last().map(|epoch| epoch.test_error_percent);
    Outcome {
        recipe: recipe.into(),
        label: run.label.clone(),
        data: data.name.clone(),
        seed: run.spec.seed,
        epochs: run.epochs,
        seconds: (training.seconds * 10.0).round() / 10.0,
        threads: rayon::current_num_threads(),
        test_error_percent: test_error.filter(|_| diverged.is_none()),
        sampled_test_error_percent: sampled.then(|| {
            let networks = training.trainer.freeze_samples(SAMPLES);
            let test = networks.evaluate_all(&data.test, EVALUATION_PIECE);
            percent(1.0 - test.correct as f64 / test.images as f64)
        }),
        published_test_error_percent: run.published.map(|published| published.test_error),
        published_source: run.published.map(|published| published.source.into()),
        diverged,
        curve: training.curve.clone(),
        spec: run.spec.clone(),
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
        let place = workshop.place("recipe", &run);
        let whole = workshop.train("recipe", &run, &data).unwrap();
        // Its last state is there until it is in the report: nothing is lost if that cannot be written.
        assert_eq!(
            workshop.train("recipe", &run, &data).unwrap().curve.len(),
            3
        );
        place.forget();
        assert_eq!(whole.curve.len(), 3);
        assert!(whole.test_error_percent.is_some() && whole.sampled_test_error_percent.is_some());

        // In the middle of the second epoch.
        let begin = || Training::resume_or_begin(&place, &run.spec, &data).unwrap();
        let mut stopped = begin();
        for _ in 0..14 {
            stopped.step().unwrap();
        }
        stopped.save(&place, run.epochs).unwrap();
        stopped.step().unwrap();
        stopped.save(&place, run.epochs).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("b")).unwrap().count(), 2);
        assert_eq!(begin().trainer.step_count(), 15);
        // Killed between the state and its checkpoint: the checkpoint before has its state still.
        let checkpoint = fs::read(&place.checkpoint).unwrap();
        stopped.step().unwrap();
        stopped.save(&place, run.epochs).unwrap();
        fs::write(&place.checkpoint, checkpoint).unwrap();
        let resumed = begin();
        assert_eq!((resumed.trainer.step_count(), resumed.curve.len()), (15, 1));
        assert!(resumed.loss().is_some());
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
        let begun = Training::resume_or_begin(&place, &run.spec, &other).unwrap();
        assert_eq!(begun.trainer.step_count(), 0);

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
