//! The command line as its user meets it: what it prints, keeps and refuses.

mod common;

use std::fs;
use std::process::Output;

use common::{lines, qnn, refusal, small_set};
use serde_json::Value;

#[test]
fn it_trains_keeps_tests_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let model = folder.path().join("model.qnn");
    let model = model.to_str().unwrap();
    let train = [
        "train",
        "--hidden",
        "16",
        "--batch-size",
        "20",
        "--data",
        data,
        "--json",
    ];
    let trained = lines(&qnn(
        &[&train[..], &["--epochs", "3", "--save", model]].concat()
    ));
    assert_eq!(trained.len(), 4);
    assert_eq!(trained[2]["epoch"], 3);
    let last = &trained[3];
    assert!(last["test_accuracy"].as_f64().unwrap() > 0.9);
    assert!(last["images_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(last["weight_bytes"], (64 * 16 + 16 * 2) / 8);

    let tested = lines(&qnn(&["eval", "--model", model, "--data", data, "--json"]));
    assert_eq!(tested[0]["test_accuracy"], last["test_accuracy"]);

    // Three epochs and two more are five.
    let resumed = lines(&qnn(&[
        "train", "--resume", model, "--data", data, "--epochs", "2", "--json",
    ]));
    let whole = lines(&qnn(
        &[&train[..], &["--epochs", "5", "--threads", "1"]].concat()
    ));
    for field in ["epoch", "last_loss", "test_loss"] {
        assert_eq!(resumed[1][field], whole[4][field]);
    }

    // A spec that was printed can be given again.
    let spec = folder.path().join("spec.json");
    fs::write(&spec, last["spec"].to_string()).unwrap();
    let again = [
        "train",
        "--spec",
        spec.to_str().unwrap(),
        "--data",
        data,
        "--epochs",
        "3",
        "--json",
    ];
    assert_eq!(lines(&qnn(&again))[2]["last_loss"], trained[2]["last_loss"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let train = |arguments: &[&str]| refusal(&[&["train"], arguments].concat());
    assert!(train(&["--weight-bits", "9"]).contains("no width of 9 bits"));
    assert!(train(&["--hidden", "0"]).contains("1 to 8192 units"));
    assert!(train(&["--hidden", "9000"]).contains("1 to 8192 units"));
    assert!(train(&["--learning-rate", "-1"]).contains("learning rate is above 0"));
    assert!(train(&["--learning-rate", "NaN"]).contains("learning rate is above 0"));
    assert!(train(&["--preset", "mnist-1"]).contains("mnist-512"));
    assert!(train(&["--data", "/nowhere"]).contains("/nowhere cannot be read"));
    assert!(train(&["--spec", "/nowhere"]).contains("/nowhere cannot be read"));
    assert!(train(&["--threads", "0"]).contains("at least one thread"));
    assert!(train(&["--test-data", data]).contains("The network reads images of 784 pixels"));
    let spec = folder.path().join("spec.json");
    fs::write(&spec, r#"{"version":3,"bits":1}"#).unwrap();
    assert!(train(&["--spec", spec.to_str().unwrap()]).contains("of version 3"));
    fs::write(folder.path().join("model"), "a,b").unwrap();
    let model = folder.path().join("model");
    assert!(
        refusal(&["eval", "--model", model.to_str().unwrap()])
            .contains("not a network that can be used")
    );
    fs::write(folder.path().join("images-idx3"), "label,pixel0").unwrap();
    assert!(train(&["--data", data]).contains("text file"));
}

#[test]
fn it_counts_what_a_network_costs() {
    let counted = lines(&qnn(&["cost", "--preset", "all-integer", "--json"]));
    assert_eq!(counted[0]["training"]["float_macs"], 0);
    assert_eq!(
        counted[0]["weight_bytes"],
        (784 * 512 + 512 * 512 + 5120) / 8
    );
    assert_eq!(counted[0]["layers"].as_array().unwrap().len(), 3);
    assert!(refusal(&["cost", "--inputs", "9999"]).contains("9999 is not in 1..=8192"));
    let table = String::from_utf8(qnn(&["cost", "--weight-bits", "32"]).stdout).unwrap();
    assert!(table.contains("784 x 512, forward"), "{table}");
}

#[test]
fn it_measures_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.json");
    let file = file.to_str().unwrap();
    let bench = ["bench", "products", "--quick", "--threads", "2"];
    let output = qnn(&[&bench[..], &["--json", file]].concat());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("2 threads to 1"), "{printed}");

    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let [table] = &report["tables"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (&table["part"], &report["threads"]),
        (&"products".into(), &2.into())
    );
    let rows = table["rows"].as_array().unwrap();
    for row in rows {
        let cells = row["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 5);
        for cell in cells {
            let figure = |of: &Value| of.as_f64().unwrap();
            let [low, high] = [0, 1].map(|end| figure(&cell["quartiles"][end]));
            let median = figure(&cell["median"]);
            assert!(0.0 < low && low <= median && median <= high, "{row}");
        }
    }
    // Floats are what the others are compared with.
    let floats = rows.last().unwrap();
    assert_eq!(floats["name"], "32 x 32 bits");
    assert_eq!(
        (
            &floats["cells"][3]["heading"],
            &floats["cells"][3]["median"]
        ),
        (&"to floats, 1 thread".into(), &1.0.into())
    );
    assert!(refusal(&["bench", "nonsense"]).contains("answers"));
    assert!(refusal(&["bench", "--threads", "0"]).contains("at least one thread"));
}

#[test]
fn it_trains_on_the_gpu_as_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let model = folder.path().join("gpu.qnn");
    let model = model.to_str().unwrap();
    #[rustfmt::skip]
    let train = ["train", "--data", data, "--hidden", "16", "--batch-size", "10", "--epochs", "3", "--json"];
    let processor = lines(&qnn(&train));
    let gpu = [&train[..], &["--backend", "gpu", "--save", model]].concat();
    let gpu = lines(&qnn(&gpu));
    assert_eq!(gpu.len(), 4);
    for (one, other) in processor[..3].iter().zip(&gpu) {
        assert_eq!(one["step"], other["step"]);
        let [one, other] = [one, other].map(|epoch| epoch["train_loss"].as_f64().unwrap());
        assert!((one - other).abs() < 0.02, "{one} {other}");
    }
    let tested = lines(&qnn(&["eval", "--model", model, "--data", data, "--json"]));
    assert_eq!(tested[0]["test_loss"], gpu[3]["test_loss"]);
    // What was kept goes on, here or there.
    let resume = [
        "train", "--data", data, "--resume", model, "--epochs", "1", "--json",
    ];
    assert_eq!(lines(&qnn(&resume))[0]["step"], 72);
    let resume = [&resume[..], &["--backend", "gpu"]].concat();
    assert_eq!(lines(&qnn(&resume))[0]["step"], 72);
}

#[test]
fn it_compares_kernels_on_the_gpu_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let reports = folder.path().join("reports");
    let reports = reports.to_str().unwrap();
    let file = folder.path().join("gpu.json");
    let file = file.to_str().unwrap();
    #[rustfmt::skip]
    let bench = [
        "bench", "--gpu", "--data", data, "--side", "100", "--units", "32", "--images", "50", "--steps", "5", "--rounds", "1",
        "--json", file,
    ];
    let output = qnn(&bench);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("Signs, 100 x 100 times 100 x 100 (smaller than the paper's)"),
        "{text}"
    );
    assert!(text.contains("64-32-32-32-2, 20 images"), "{text}");
    assert!(
        text.contains("same sums") && text.contains("same answers"),
        "{text}"
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let kernels = report["trials"][0]["kernels"].as_array().unwrap();
    assert_eq!(kernels.len(), 3);
    assert!(
        kernels
            .iter()
            .all(|kernel| kernel["correct"] == kernels[0]["correct"])
    );
    // The figures of a browser stand beside the native ones.
    let with_browser = [&bench[..], &["--reports", reports, "--browser", file]].concat();
    assert!(qnn(&with_browser).status.success());
    let page = fs::read_to_string(folder.path().join("reports/gpu.md")).unwrap();
    assert!(
        page.contains("## Native") && page.contains("## In a browser"),
        "{page}"
    );
    let again = [&bench[..], &["--reports", reports]].concat();
    assert!(qnn(&again).status.success());
    let page = fs::read_to_string(folder.path().join("reports/gpu.md")).unwrap();
    assert!(page.contains("## In a browser"), "{page}");
    assert!(refusal(&["bench", "--side", "100"]).contains("--gpu"));
    assert!(refusal(&["bench", "--gpu", "--side", "0"]).contains("--side"));
}

#[test]
fn it_reproduces_recipes_once_and_reports_them() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let reports = folder.path().join("reports");
    let unfinished = folder.path().join("unfinished");
    let reproduce = [
        "reproduce",
        "shift-based",
        "stochastic",
        "--epochs",
        "2",
        "--other-data",
        "--data",
        data,
        "--reports",
        reports.to_str().unwrap(),
        "--unfinished",
        unfinished.to_str().unwrap(),
    ];
    let printed = |output: Output| {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    // The deterministic run of the second recipe is the ordinary one of the first.
    let first = printed(qnn(&reproduce));
    assert_eq!(first.lines().count(), 6 + 4 - 1, "{first}");
    assert_eq!(printed(qnn(&reproduce)), "");

    let text = fs::read_to_string(reports.join("reproduction.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["runs"].as_array().unwrap().len(), 9);
    let run = &report["runs"][0];
    assert_eq!(
        (&run["epochs"], &run["seed"]),
        (&Value::from(2), &Value::from(1))
    );
    assert!(run["seconds"].as_f64().is_some() && run["curve"].as_array().unwrap().len() == 2);
    let text = fs::read_to_string(reports.join("reproduction.md")).unwrap();
    for part in [
        "all-integer | 2 |",
        "![Stochastic against",
        "Not run yet",
        "mean of sampled networks",
    ] {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
    let plot = fs::read_to_string(reports.join("shift-based.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("both shift-based"));

    assert!(text.contains("all training images of your files"), "{text}");

    // Nothing but MNIST stands beside the paper's figures, and a trial not in the place of the reports.
    let out = reports.to_str().unwrap();
    assert!(refusal(&["reproduce", "--data", data, "--reports", out]).contains("not MNIST"));
    assert!(refusal(&["reproduce", "--data", data, "--epochs", "1"]).contains("--reports"));
    assert!(
        refusal(&[
            "reproduce",
            "--data",
            data,
            "--reports",
            out,
            "--epochs",
            "0"
        ])
        .contains("0 is not in 1..")
    );

    let listed = printed(qnn(&["reproduce", "--list"]));
    assert!(
        listed.contains("bit-grid") && listed.contains("of 50 runs"),
        "{listed}"
    );
    assert!(refusal(&["reproduce", "nonsense", "--list"]).contains("there are mnist-1024"));
    fs::write(reports.join("reproduction.json"), "{}}").unwrap();
    assert!(refusal(&reproduce).contains("is not a report"));
}
