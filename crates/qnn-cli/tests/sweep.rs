//! Sweeps: grids, jobs that are killed, reports, and what schedulers are handed.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{
    json, lines, parsed, qnn, refusal, signal, small_set, start, wait_for, without_times,
};
use serde_json::Value;

/// Twelve jobs of some thousand small steps.
#[rustfmt::skip]
const GRID: [&str; 14] = [
    "--bits", "1,2,32", "--widths", "8,8x8", "--seeds", "1..2", "--quantizers", "linear-stochastic", "--batch-size", "2",
    "--epochs", "40", "--gradient-bits", "6",
];

struct Folder {
    folder: tempfile::TempDir,
    data: PathBuf,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        small_set(&data);
        Folder { folder, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments<'a>(&'a self, sweep: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        let [sweep, data] = [sweep, &self.data].map(|path| path.to_str().unwrap());
        [&["sweep", sweep, "--data", data], more].concat()
    }
}

/// The processes that have jobs which are saved and not finished, with the jobs' folders.
fn busy_workers(sweep: &Path) -> Vec<(PathBuf, u32)> {
    let jobs = fs::read_dir(sweep.join("jobs"))
        .into_iter()
        .flatten()
        .flatten();
    let worker = |job: PathBuf| {
        let is_busy = job.join("checkpoint").exists() && !job.join("result.json").exists();
        let process = fs::read_to_string(job.join("lock")).ok()?.parse().ok()?;
        is_busy.then_some((job, process))
    };
    jobs.filter_map(|job| worker(job.path())).collect()
}

fn busy_worker(sweep: &Path) -> Option<u32> {
    busy_workers(sweep).first().map(|(_, process)| *process)
}

fn report(sweep: &Path) -> Value {
    without_times(&lines(&qnn(&["report", sweep.to_str().unwrap(), "--json"]))[0])
}

#[test]
fn killed_workers_leave_no_trace_in_the_report() {
    let folder = Folder::new();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path(name));
    let printed = lines(&qnn(
        &folder.arguments(&whole, &[&GRID[..], &["--json", "--threads", "1"]].concat())
    ));
    assert_eq!(printed.len(), 12 + 1);
    assert_eq!(
        printed[12],
        serde_json::json!({"jobs": 12, "done": 12, "diverged": 0, "restarts": 0, "failed": []})
    );

    let more = [
        &GRID[..],
        &[
            "--json",
            "--save-every",
            "0",
            "--workers",
            "2",
            "--threads",
            "2",
        ],
    ]
    .concat();
    let process = start(&folder.arguments(&killed, &more));
    // Five different jobs: one that is killed too often is given up.
    let mut victims: Vec<PathBuf> = Vec::new();
    while victims.len() < 5 {
        let next = || {
            let workers = busy_workers(&killed).into_iter();
            workers.into_iter().find(|(job, _)| !victims.contains(job))
        };
        wait_for("a busy worker", || next().is_some());
        if let Some((job, worker)) = next()
            && signal("KILL", worker)
        {
            victims.push(job);
        }
    }
    let printed = lines(&process.wait_with_output().unwrap());
    let restarts = printed[12]["restarts"].as_u64().unwrap();
    assert!((3..=5).contains(&restarts), "{}", printed[12]);
    assert_eq!(report(&killed), report(&whole));
    for name in [
        "report.md",
        "bytes.svg",
        "energy.svg",
        "bytes.png",
        "energy.png",
    ] {
        let [one, other] = [&whole, &killed].map(|sweep| fs::read(sweep.join(name)).unwrap());
        assert!(!one.is_empty() && one == other, "{name}");
    }
}

#[test]
fn a_job_that_is_killed_again_and_again_is_given_up() {
    let folder = Folder::new();
    let sweep = folder.path("sweep");
    let grid = [
        "--bits",
        "1",
        "--widths",
        "8",
        "--batch-size",
        "2",
        "--epochs",
        "1000000",
        "--save-every",
        "0",
    ];
    let mut process = start(&folder.arguments(&sweep, &grid));
    let mut killed = Vec::new();
    while process.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
        if let Some(worker) = busy_worker(&sweep)
            && !killed.contains(&worker)
            && signal("KILL", worker)
        {
            killed.push(worker);
        }
    }
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("seed 1: it was killed 4 times"), "{said}");
    assert_eq!(killed.len(), 4);
}

#[test]
fn one_job_goes_on_where_it_was_killed_and_is_run_once() {
    let folder = Folder::new();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path(name));
    let few = [&GRID[..4], &GRID[8..], &["--scheduler", "slurm"]].concat();
    for sweep in [&whole, &killed] {
        // Only written: no job is run yet.
        let written = qnn(&folder.arguments(sweep, &few));
        assert!(written.status.success(), "{written:?}");
    }
    let job = |sweep: &Path, more: &[&str]| {
        let sweep = sweep.to_str().unwrap();
        qnn(&[&["sweep", sweep, "--job", "1", "--json"], more].concat())
    };
    let result = lines(&job(&whole, &[]))[0].clone();
    assert_eq!(
        result["name"],
        "1/1 bits, 8x8, linear deterministic, seed 1"
    );

    let sweep = killed.to_str().unwrap();
    let arguments = ["sweep", sweep, "--job", "1", "--json", "--save-every", "0"];
    let mut process = start(&arguments);
    wait_for("a checkpoint", || {
        busy_worker(&killed) == Some(process.id())
    });
    // Two processes never run the same job.
    let refused = job(&killed, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("Another process is running the job"),
        "{said}"
    );
    process.kill().unwrap();
    process.wait().unwrap();
    // Asked to stop, it saves and says so.
    let process = start(&arguments);
    wait_for("the job's process", || {
        busy_worker(&killed) == Some(process.id())
    });
    assert!(signal("TERM", process.id()));
    assert_eq!(process.wait_with_output().unwrap().status.code(), Some(143));
    assert!(!killed.join("jobs/1/result.json").exists());

    assert_eq!(
        without_times(&lines(&job(&killed, &[]))[0]),
        without_times(&result)
    );
    let file = killed.join("jobs/1/result.json");
    let before = fs::read(&file).unwrap();
    assert_eq!(lines(&job(&killed, &[]))[0]["curve"], result["curve"]);
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(!killed.join("jobs/1/checkpoint").exists());
    assert!(refusal(&["sweep", sweep, "--job", "6"]).contains("0 to 5"));
}

#[test]
fn a_sweep_that_is_interrupted_goes_on_and_its_workers_end() {
    let folder = Folder::new();
    let sweep = folder.path("sweep");
    let more = [&GRID[..], &["--save-every", "0", "--workers", "2"]].concat();
    let process = start(&folder.arguments(&sweep, &more));
    wait_for("a busy worker", || busy_worker(&sweep).is_some());
    let worker = busy_worker(&sweep).unwrap();
    assert!(signal("TERM", process.id()));
    let stopped = process.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(143), "{stopped:?}");
    assert!(!signal("0", worker), "a worker outlives its sweep");

    // What is there is reported, and what is missing.
    let path = sweep.to_str().unwrap();
    let part = qnn(&["report", path, "--json"]);
    assert_eq!(part.status.code(), Some(4));
    let part = &parsed(&part.stdout)[0];
    let [missing, results] =
        ["missing", "results"].map(|field| part[field].as_array().unwrap().len());
    assert!(
        missing > 0 && missing + results == 12,
        "{missing} {results}"
    );
    assert!(
        fs::read_to_string(sweep.join("report.md"))
            .unwrap()
            .contains("Missing:\n\n- job ")
    );

    // Killed, it leaves workers that end by themselves; the next one waits for them.
    let before: Vec<u32> = busy_workers(&sweep)
        .into_iter()
        .map(|(_, worker)| worker)
        .collect();
    let mut process = start(&["sweep", path, "--save-every", "0", "--workers", "2"]);
    wait_for("a busy worker", || {
        let mut workers = busy_workers(&sweep).into_iter();
        workers.any(|(_, worker)| !before.contains(&worker))
    });
    process.kill().unwrap();
    process.wait().unwrap();
    let done = lines(&qnn(&["sweep", path, "--json"]));
    assert_eq!(done.last().unwrap()["done"], 12);
    assert_eq!(report(&sweep)["missing"], serde_json::json!([]));
}

#[test]
fn grids_that_make_no_sense_are_refused_before_anything_runs() {
    let folder = Folder::new();
    let sweep = folder.path("sweep");
    let refused = |more: &[&str]| refusal(&folder.arguments(&sweep, more));
    let said = refused(&["--widths", "8,0,9000x8", "--seeds", "1..20"]);
    assert!(
        said.contains("40 of the grid's 60 jobs make no sense"),
        "{said}"
    );
    assert!(
        said.contains(
            "1/1 bits, 0, linear deterministic, seed 1: A hidden layer has 1 to 8192 units"
        ),
        "{said}"
    );
    assert!(said.contains("and 32 more"), "{said}");
    assert!(refused(&["--bits", "1,2,1"]).contains("has this job twice"));
    assert!(refused(&["--bits", "9"]).contains("no width of 9 bits"));
    assert!(refused(&["--bits", "1", "--weight-bits", "2"]).contains("cannot be used with"));
    assert!(refused(&["--widths", "8xx8"]).contains("no list of widths"));
    assert!(refused(&["--seeds", "5..1"]).contains("no range of seeds"));
    assert!(refused(&["--seeds", "1..4000000000"]).contains("more than 100000 jobs"));
    assert!(refused(&["--quantizers", "linear"]).contains("linear-stochastic"));
    assert!(refused(&[]).contains("has no sweep.json"));
    assert!(refused(&["--job", "0"]).contains("has no sweep.json"));
    for grid in [["--bits", "1"], ["--learning-rate", "1"]] {
        assert!(refused(&[&["--job", "0"], &grid[..]].concat()).contains("cannot be used with"));
    }
    assert!(!sweep.exists());

    // Data that cannot be read: every job says so, and none is started anew for it.
    let quick = ["--bits", "1,2", "--widths", "8", "--epochs", "1"];
    let failed = qnn(&[
        &["sweep", sweep.to_str().unwrap(), "--data", "/nowhere"],
        &quick[..],
    ]
    .concat());
    assert_eq!(failed.status.code(), Some(4));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("2 of 2 jobs have no result"), "{said}");
    assert_eq!(
        said.matches("The folder /nowhere cannot be read.").count(),
        2,
        "{said}"
    );

    // Where the data is now may be said later; another grid is another sweep.
    assert!(
        refused(&["--bits", "1,4", "--widths", "8", "--epochs", "1"])
            .contains("a sweep of another grid")
    );
    assert!(
        refused(&["--bits", "1,2", "--widths", "8", "--epochs", "2"])
            .contains("a sweep of another grid")
    );
    let done = qnn(&folder.arguments(&sweep, &quick));
    assert!(done.status.success(), "{done:?}");
    let grid = [
        "--weight-bits",
        "1,2",
        "--activation-bits",
        "1,4,32",
        "--widths",
        "8",
        "--epochs",
        "1",
    ];
    let other = folder.path("other");
    let done = lines(&qnn(
        &folder.arguments(&other, &[&grid[..], &["--json"]].concat())
    ));
    assert_eq!(done.len(), 6 + 1);
    assert_eq!(
        json(&other.join("sweep.json"))["jobs"][4]["name"],
        "2/4 bits, 8, linear deterministic, seed 1"
    );
}

#[test]
fn the_report_counts_costs_and_finds_the_front() {
    let folder = Folder::new();
    let sweep = folder.path("sweep");
    let grid = [
        "--bits",
        "1,32",
        "--widths",
        "8,16",
        "--seeds",
        "1,2,3",
        "--epochs",
        "2",
        "--batch-size",
        "10",
    ];
    assert!(qnn(&folder.arguments(&sweep, &grid)).status.success());
    let merged = report(&sweep);
    let networks = merged["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 4);
    let results = merged["results"].as_array().unwrap();
    for (index, network) in networks.iter().enumerate() {
        let of_network = &results[3 * index..][..3];
        let spec = &of_network[0]["spec"];
        assert_eq!(network["hidden"], spec["hidden"]);
        let units = spec["hidden"][0].as_u64().unwrap();
        let bits = spec["weight_bits"].as_u64().unwrap();
        assert_eq!(network["weight_bytes"], (64 + 2) * units * bits / 8);
        let accuracy = |result: &Value| 100.0 - result["test_error_percent"].as_f64().unwrap();
        let accuracies: Vec<f64> = of_network.iter().map(accuracy).collect();
        let given = |field: &str| network["test_accuracy_percent"][field].as_f64().unwrap();
        let mean = accuracies.iter().sum::<f64>() / 3.0;
        assert!((given("mean") - mean).abs() < 0.001, "{network}");
        assert!(given("lowest") <= given("mean") && given("mean") <= given("highest"));
        assert!(
            accuracies
                .iter()
                .any(|accuracy| (accuracy - given("lowest")).abs() < 0.001)
        );
        // Better than all that cost less is best.
        let cost = |network: &Value| network["answer_picojoules"].as_f64().unwrap();
        let mean = |network: &Value| network["test_accuracy_percent"]["mean"].as_f64().unwrap();
        let beats = |other: &&Value| {
            let (cheaper, better) = (cost(network) - cost(other), mean(other) - mean(network));
            (cheaper >= 0.0 && better > 0.0) || (cheaper > 0.0 && better >= 0.0)
        };
        assert_eq!(
            network["is_best_by_energy"],
            !networks.iter().any(|other| beats(&other))
        );
    }
    let svg = fs::read_to_string(sweep.join("energy.svg")).unwrap();
    for part in [
        "Pareto front",
        "1/1 bits",
        "32/32, 16",
        "picojoules per answer",
        "test accuracy, %",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(
        fs::read(sweep.join("bytes.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
}

fn has(program: &str, what: &str) -> bool {
    let is_there = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_there {
        println!("Skipped: {program} is not installed, so {what} is not tried.");
    }
    is_there
}

/// Slurm on this machine alone, ended with the test.
struct Slurm {
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
}

impl Slurm {
    /// `None` where this machine does not let it run, as some containers do not.
    fn start() -> Option<Slurm> {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let host = Command::new("hostname").arg("-s").output().unwrap().stdout;
        let host = String::from_utf8(host).unwrap().trim().to_owned();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap().trim().to_owned();
        // Free ones, as far as one can tell.
        let [one, other] = [0; 2].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [one_port, other_port] = [&one, &other].map(|port| port.local_addr().unwrap().port());
        let cores = std::thread::available_parallelism().unwrap();
        let configuration = format!(
            "ClusterName=test\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={one_port}\nSlurmdPort={other_port}\n\
             AuthType=auth/none\nCredType=cred/none\nAuthInfo=cred_expire=5\nSlurmUser={user}\nSlurmdUser={user}\n\
             StateSaveLocation={at}/state\nSlurmdSpoolDir={at}/spool\n\
             SlurmctldPidFile={at}/slurmctld.pid\nSlurmdPidFile={at}/slurmd.pid\n\
             SlurmctldLogFile={at}/slurmctld.log\nSlurmdLogFile={at}/slurmd.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000 State=UNKNOWN\n\
             PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP\n"
        );
        fs::write(folder.path().join("slurm.conf"), configuration).unwrap();
        for name in ["state", "spool"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        drop((one, other));
        let mut slurm = Slurm {
            folder,
            daemons: Vec::new(),
        };
        // In the foreground, so that they are this process's to end.
        for (daemon, options) in [("slurmctld", &["-D", "-c"][..]), ("slurmd", &["-D"])] {
            let mut command = slurm.command(daemon, options);
            let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            slurm.daemons.extend(started);
        }
        let is_idle = || {
            let state = slurm.try_run("sinfo", &["-h", "-o", "%T"]);
            state.is_ok_and(|state| state.trim() == "idle")
        };
        let patience = Duration::from_secs(60);
        let began = Instant::now();
        while began.elapsed() < patience {
            if is_idle() {
                return Some(slurm);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("Skipped: Slurm does not run on this machine, so the job array is not tried.");
        None
    }

    /// What a command of Slurm's prints.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.try_run(program, arguments).unwrap()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let configuration = self.folder.path().join("slurm.conf");
        command.args(arguments).env("SLURM_CONF", configuration);
        command
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(program, arguments);
        let output = command
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{program}: {output:?}"));
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        // Jobs would outlive the daemons. What fails here must not hide why a test failed.
        let _ = self.try_run("scancel", &["--full", "--signal=KILL", "--state=RUNNING"]);
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

#[test]
fn slurm_runs_the_job_array_and_goes_on_with_what_it_interrupts() {
    let folder = Folder::new();
    // A name that a shell must not read.
    let sweep = folder.path("a $(b) 'c' \"d\"");
    #[rustfmt::skip]
    let grid = ["--bits", "1,2", "--widths", "8", "--batch-size", "2", "--epochs", "100"];
    let scheduler = [
        "--scheduler",
        "slurm",
        "--at-once",
        "1",
        "--memory",
        "200",
        "--time",
        "5",
        "--json",
    ];
    let saved = [&grid[..], &["--save-every", "0"], &scheduler].concat();
    let written = &lines(&qnn(&folder.arguments(&sweep, &saved)))[0];
    assert_eq!(written["jobs"], 2);
    let script = sweep.join("sweep.sbatch");
    let script = script.to_str().unwrap();
    let text = fs::read_to_string(script).unwrap();
    for line in [
        "#SBATCH --array=0-1%1\n",
        "#SBATCH --requeue\n",
        "#SBATCH --signal=TERM@60\n",
        "#SBATCH --time=5\n",
        "srun --ntasks=1 --cpus-per-task=1 ",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(
        Command::new("bash")
            .args(["-n", script])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        refusal(&folder.arguments(&sweep, &["--scheduler", "slurm", "--partition", "a b"]))
            .contains("letters, digits")
    );
    if !has("slurmctld", "the job array") || !has("slurmd", "the job array") {
        return;
    }
    let Some(slurm) = Slurm::start() else {
        return;
    };
    slurm.run("sbatch", &["--test-only", script]);
    let array = slurm.run("sbatch", &["--parsable", script]);
    wait_for("a job of the array", || busy_worker(&sweep).is_some());
    slurm.run(
        "scancel",
        &["--signal=TERM", &format!("{}_0", array.trim())],
    );
    wait_for("the end of the array", || {
        // It may be busy.
        let queue = slurm.try_run("squeue", &["-h"]);
        queue.is_ok_and(|queue| queue.trim().is_empty())
    });
    let log = fs::read_to_string(sweep.join("jobs/0/log")).unwrap();
    assert!(log.contains("Job 0 is interrupted and saved"), "{log}");

    let undisturbed = folder.path("undisturbed");
    assert!(qnn(&folder.arguments(&undisturbed, &grid)).status.success());
    assert_eq!(report(&sweep), report(&undisturbed));
}

#[test]
fn kubernetes_is_handed_a_job_that_it_knows() {
    let folder = Folder::new();
    let sweep = folder.path("Sweep \"1\": {a}");
    #[rustfmt::skip]
    let scheduler = [
        "--scheduler", "kubernetes", "--image", "registry/qnn: \"1\"", "--claim", "results", "--at-once", "4", "--mount",
        "/s $(JOB)", "--mounted-data", "/s/data", "--cores", "2",
    ];
    let grid = [&GRID[..], &scheduler].concat();
    let written = qnn(&folder.arguments(&sweep, &grid));
    assert!(written.status.success(), "{written:?}");
    let file = sweep.join("sweep.yaml");
    // Read as what Kubernetes defines and written again, nothing is lost: every field is one that it knows.
    let text = fs::read_to_string(&file).unwrap();
    let job: k8s_openapi::api::batch::v1::Job = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_value(&job).unwrap(), json(&file));
    assert_eq!(
        job.metadata.name.as_deref(),
        Some("qnn-sweep-sweep--1----a")
    );
    let spec = job.spec.unwrap();
    assert_eq!((spec.completions, spec.parallelism), (Some(12), Some(4)));
    assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
    assert!(spec.backoff_limit_per_index.is_some());
    let container = &spec.template.spec.unwrap().containers[0];
    assert_eq!(container.image.as_deref(), Some("registry/qnn: \"1\""));
    let arguments = container.args.clone().unwrap();
    assert_eq!(
        arguments,
        [
            "sweep",
            "/s $$(JOB)",
            "--job",
            "$(JOB)",
            "--threads",
            "2",
            "--save-every",
            "20",
            "--data",
            "/s/data"
        ]
    );

    assert!(refusal(&folder.arguments(&sweep, &scheduler[..2])).contains("--image"));
    assert!(refusal(&folder.arguments(&sweep, &scheduler[..8])).contains("--mounted-data"));
    if has("kubernetes-validate", "the schema of Kubernetes") {
        let valid = |file: &Path| {
            let mut validate = Command::new("kubernetes-validate");
            validate.arg("--strict").arg(file);
            validate.output().unwrap().status.success()
        };
        assert!(valid(&file));
        // It does look.
        fs::write(
            &file,
            text.replace("\"completions\": 12", "\"completions\": \"many\""),
        )
        .unwrap();
        assert!(!valid(&file));
    }
}
