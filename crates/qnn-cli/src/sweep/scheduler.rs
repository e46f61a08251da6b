//! What schedulers need to run the jobs of a sweep: a job array of Slurm, or an indexed job of Kubernetes. It is written here,
//! not handed in: who runs a cluster knows how.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::grid::Sweep;
use crate::{files, print_line};

/// Seconds before the time limit, or before a pod is killed, that a job has to save its network.
const GRACE: u32 = 60;
/// The jobs of an array that Slurm takes as it is delivered.
const MAX_ARRAY: usize = 1001;
/// How often Kubernetes starts a job anew that fails.
const RETRIES: u32 = 3;

#[derive(Args)]
pub struct Scheduling {
    /// Writes what this scheduler needs, instead of running the jobs here.
    #[arg(long, value_enum)]
    scheduler: Option<Scheduler>,
    /// Jobs that the scheduler runs at the same time; all by default.
    #[arg(long, value_name = "NUMBER", requires = "scheduler", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// Cores of each job.
    #[arg(long, value_name = "NUMBER", requires = "scheduler", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    cores: u32,
    /// Memory of each job in megabytes.
    #[arg(long, value_name = "MEGABYTES", requires = "scheduler", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    memory: u32,
    /// Minutes after which Slurm interrupts a job, which then waits for its next turn.
    #[arg(long, value_name = "MINUTES", requires = "scheduler", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..))]
    time: u32,
    /// Slurm's partition; its default without.
    #[arg(long, value_name = "NAME", requires = "scheduler", value_parser = name)]
    partition: Option<String>,
    /// The image of Kubernetes' containers, with `qnn` on its path.
    #[arg(
        long,
        value_name = "IMAGE",
        requires = "scheduler",
        required_if_eq("scheduler", "kubernetes")
    )]
    image: Option<String>,
    /// The claim of the volume that holds the sweep's folder.
    #[arg(
        long,
        value_name = "NAME",
        requires = "scheduler",
        required_if_eq("scheduler", "kubernetes")
    )]
    claim: Option<String>,
    /// Where the containers see that volume, whose root is the sweep's folder.
    #[arg(
        long,
        value_name = "PATH",
        requires = "scheduler",
        default_value = "/sweep"
    )]
    mount: String,
    /// Where the containers see the data; needed unless the digits are procedural.
    #[arg(long, value_name = "PATH", requires = "scheduler")]
    mounted_data: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scheduler {
    /// Writes sweep.sbatch, a job array.
    Slurm,
    /// Writes sweep.yaml, an indexed Job.
    Kubernetes,
}

/// A name that needs no quotes anywhere.
fn name(text: &str) -> Result<String, String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.,".contains(letter);
    if text.is_empty() || !text.chars().all(is_plain) {
        return Err("it has letters, digits and _-., only".into());
    }
    Ok(text.into())
}

/// What Kubernetes calls the job: lower-case letters, digits and dashes, short enough for the names of its pods.
fn object_name(folder: &Path) -> String {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let letters = name.chars().map(|letter| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
        _ => '-',
    });
    let name: String = letters.take(30).collect();
    format!("qnn-sweep-{name}").trim_end_matches('-').into()
}

impl Scheduling {
    pub fn is_wanted(&self) -> bool {
        self.scheduler.is_some()
    }

    /// Writes what the scheduler needs into the folder of the sweep, and says how to hand it in.
    pub fn write(
        &self,
        folder: &Path,
        sweep: &Sweep,
        data: Option<&Path>,
        interval: Duration,
        json: bool,
    ) -> Result<()> {
        let Some(scheduler) = self.scheduler else {
            return Ok(());
        };
        let interval = interval.as_secs_f64();
        let (file, text, command) = match scheduler {
            Scheduler::Slurm => (
                "sweep.sbatch",
                self.batch_script(folder, sweep, data, interval)?,
                "sbatch",
            ),
            Scheduler::Kubernetes => {
                ensure!(
                    sweep.data.is_none() || self.mounted_data.is_some(),
                    "Say with --mounted-data where the containers see the data."
                );
                // JSON is YAML, and quotes whatever needs it.
                let text =
                    serde_json::to_string_pretty(&self.kubernetes_job(folder, sweep, interval))?
                        + "\n";
                ("sweep.yaml", text, "kubectl create -f")
            }
        };
        let file = folder.join(file);
        files::save(&file, text.as_bytes())?;
        let path = file.to_string_lossy();
        let command = format!("{command} {}", shlex::try_quote(&path)?);
        print_line(&if json {
            json!({"file": path, "command": command, "jobs": sweep.jobs.len()}).to_string()
        } else {
            let jobs = sweep.jobs.len();
            let limit = if matches!(scheduler, Scheduler::Slurm) && jobs > MAX_ARRAY {
                ". Slurm refuses arrays of more than its MaxArraySize, 1001 unless it was raised"
            } else {
                ""
            };
            format!("{jobs} jobs; hand them in with: {command}{limit}")
        })
    }

    /// `data` is where the data is now, if not where the sweep says.
    fn batch_script(
        &self,
        folder: &Path,
        sweep: &Sweep,
        data: Option<&Path>,
        interval: f64,
    ) -> Result<String> {
        let absolute = |path: PathBuf| -> Result<String> {
            let path = std::path::absolute(&path)
                .with_context(|| format!("{} is no path.", path.display()))?;
            Ok(shlex::try_quote(&path.to_string_lossy())?.into_owned())
        };
        let program = std::env::current_exe().context("This program's file is not known.")?;
        let (folder, program) = (absolute(folder.into())?, absolute(program)?);
        let last = sweep.jobs.len().saturating_sub(1);
        let at_once = self
            .at_once
            .map_or(String::new(), |jobs| format!("%{jobs}"));
        let partition = self.partition.as_ref();
        let partition = partition.map_or(String::new(), |name| {
            format!("#SBATCH --partition={name}\n")
        });
        let (cores, memory, time) = (self.cores, self.memory, self.time);
        let data = match data {
            Some(data) => format!(" --data {}", absolute(data.into())?),
            None => String::new(),
        };
        Ok(format!(
            "#!/bin/bash
# Written by `qnn sweep`. Each task of the array runs one job, which goes on where it was stopped.
#SBATCH --job-name=qnn-sweep
#SBATCH --array=0-{last}{at_once}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cores}
#SBATCH --mem={memory}M
#SBATCH --time={time}
{partition}#SBATCH --requeue
#SBATCH --signal=TERM@{GRACE}
#SBATCH --output=/dev/null
folder={folder}
job=$SLURM_ARRAY_TASK_ID
mkdir -p \"$folder/jobs/$job\"
srun --ntasks=1 --cpus-per-task={cores} {program} sweep \"$folder\" --job \"$job\" --threads {cores} --save-every {interval}{data} >>\"$folder/jobs/$job/log\" 2>&1
code=$?
# Interrupted before the time limit, with its network saved: it waits for its next turn.
if [ \"$code\" -eq 143 ]; then scontrol requeue \"$SLURM_JOB_ID\"; fi
exit \"$code\"
"
        ))
    }

    fn kubernetes_job(&self, folder: &Path, sweep: &Sweep, interval: f64) -> Value {
        let literal = |text: &str| text.replace('$', "$$");
        let mut arguments = vec![
            "sweep".to_owned(),
            literal(&self.mount),
            "--job".into(),
            "$(JOB)".into(),
            "--threads".into(),
            self.cores.to_string(),
            "--save-every".into(),
            interval.to_string(),
        ];
        if let Some(data) = &self.mounted_data {
            arguments.extend(["--data".into(), literal(data)]);
        }
        let jobs = sweep.jobs.len();
        let resources =
            json!({"cpu": self.cores.to_string(), "memory": format!("{}Mi", self.memory)});
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": object_name(folder)},
            "spec": {
                "completionMode": "Indexed",
                "completions": jobs,
                "parallelism": self.at_once.map_or(jobs, |at_once| jobs.min(at_once as usize)),
                "backoffLimitPerIndex": RETRIES,
                "maxFailedIndexes": jobs,
                // Wrong arguments and divergence stay what they are; an interruption is no failure.
                "podFailurePolicy": {"rules": [
                    {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 3]}},
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [129, 130, 143]}},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]},
                "template": {"spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": GRACE,
                    "containers": [{
                        "name": "job",
                        "image": self.image,
                        "command": ["qnn"],
                        "args": arguments,
                        "env": [{"name": "JOB", "valueFrom": {"fieldRef": {
                            "fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']",
                        }}}],
                        "resources": {"requests": resources, "limits": resources},
                        "volumeMounts": [{"name": "sweep", "mountPath": self.mount}],
                    }],
                    "volumes": [{"name": "sweep", "persistentVolumeClaim": {"claimName": self.claim}}],
                }},
            },
        })
    }
}
