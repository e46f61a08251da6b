//! Runs that are stopped, killed and gone on with; what the exit codes say; charts, answers and pages.

mod common;

use std::fs;
use std::path::Path;

use common::{lines, parsed, qnn, refusal, signal, small_set, start, wait_for, without_times};
use serde_json::Value;

fn code(arguments: &[&str]) -> i32 {
    qnn(arguments).status.code().unwrap()
}

/// Steps of an epoch of nine tenths of the small set.
const EPOCH: u64 = 90;

/// Arguments of a run of many small steps that is saved every so many seconds.
fn long_run<'a>(data: &'a str, model: &'a str, seconds: &'a str) -> Vec<&'a str> {
    #[rustfmt::skip]
    let train = [
        "train", "--hidden", "16", "--batch-size", "2", "--weight-rounding", "stochastic", "--data", data, "--json",
        "--epochs", "60", "--save", model, "--save-every", seconds,
    ];
    train.to_vec()
}

/// The steps of the checkpoint that is there.
fn saved_steps(model: &Path) -> Option<u64> {
    let state = fs::read(model.with_extension("qnn.run.json")).ok()?;
    let states: Value = serde_json::from_slice(&state).ok()?;
    states.as_array()?.last()?["step"].as_u64()
}

#[test]
fn a_run_that_is_interrupted_goes_on_exactly() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let [model, undisturbed] = ["a.qnn", "b.qnn"].map(|name| folder.path().join(name));
    let whole = lines(&qnn(&long_run(data, undisturbed.to_str().unwrap(), "60")));

    for (name, exit_code) in [("TERM", 143), ("INT", 130)] {
        let arguments = long_run(data, model.to_str().unwrap(), "0");
        let process = start(&arguments);
        // In the middle of an epoch, not the first.
        let is_far =
            || saved_steps(&model).is_some_and(|steps| steps > EPOCH && steps % EPOCH > 10);
        wait_for("a checkpoint", is_far);
        assert!(signal(name, process.id()));
        let stopped = process.wait_with_output().unwrap();
        let said = String::from_utf8(stopped.stderr).unwrap();
        assert_eq!(stopped.status.code(), Some(exit_code), "{said}");
        let come = saved_steps(&model).unwrap();
        assert!(
            said.contains(&format!("after step {come}, in epoch")),
            "{said}"
        );
        assert!(said.contains("Go on with: qnn train --resume"), "{said}");
        assert!(come < 60 * EPOCH);

        let (_, go_on) = said.trim().split_once("Go on with: qnn ").unwrap();
        let resumed = lines(&qnn(&go_on.split(' ').collect::<Vec<_>>()));
        let all = [parsed(&stopped.stdout), resumed].concat();
        let all: Vec<Value> = all.iter().map(without_times).collect();
        assert_eq!(all, whole.iter().map(without_times).collect::<Vec<_>>());
        assert_eq!(fs::read(&model).unwrap(), fs::read(&undisturbed).unwrap());
        // A network that is trained is a file by itself.
        assert_eq!(saved_steps(&model), None);
        fs::remove_file(&model).unwrap();
    }
}

#[test]
fn a_run_that_is_killed_loses_little_and_goes_on_exactly() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let [model, undisturbed] = ["a.qnn", "b.qnn"].map(|name| folder.path().join(name));
    let whole = lines(&qnn(&long_run(data, undisturbed.to_str().unwrap(), "60")));

    let file = model.to_str().unwrap();
    let mut process = start(&long_run(data, file, "0"));
    for steps in [30, 250, 420] {
        wait_for("a checkpoint", || {
            saved_steps(&model).is_some_and(|saved| saved > steps)
        });
        process.kill().unwrap();
        process.wait().unwrap();
        // Half a file, as a kill leaves it, is not looked at.
        fs::write(model.with_extension("qnn.unfinished"), "half").unwrap();
        process = start(&[
            "train",
            "--resume",
            file,
            "--save",
            file,
            "--save-every",
            "0",
            "--data",
            data,
            "--json",
        ]);
    }
    let last = lines(&process.wait_with_output().unwrap());
    let ends =
        |lines: &[Value]| -> Vec<Value> { lines.iter().rev().take(3).map(without_times).collect() };
    assert_eq!(ends(&last), ends(&whole));
    assert_eq!(fs::read(&model).unwrap(), fs::read(&undisturbed).unwrap());
    for settings in [
        ["--hidden", "3"],
        ["--learning-rate", "1"],
        ["--weight-bits", "2"],
    ] {
        let resume = ["train", "--resume", file, "--data", data];
        assert!(refusal(&[&resume[..], &settings].concat()).contains("cannot be used with"));
    }
    // So many more, as asked; and then a run of its own length.
    let resume = ["train", "--resume", file, "--data", data, "--json"];
    assert_eq!(lines(&qnn(&resume)).len(), 5 + 1);
    assert_eq!(
        lines(&qnn(&[&resume[..], &["--epochs", "2"]].concat())).len(),
        2 + 1
    );
}

#[test]
fn recipes_that_are_interrupted_go_on() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [reports, unfinished, whole_reports, whole_unfinished] = ["a", "b", "c", "d"].map(place);
    #[rustfmt::skip]
    let reproduce = ["reproduce", "mnist-1024", "--other-data", "--data", data, "--epochs", "40", "--json", "--png"];
    let whole = [
        "--reports",
        &whole_reports,
        "--unfinished",
        &whole_unfinished,
    ];
    let whole = lines(&qnn(&[&reproduce[..], &whole].concat()));
    let places = ["--reports", &reports, "--unfinished", &unfinished];
    let arguments = [&reproduce[..], &places].concat();
    let process = start(&arguments);
    let unfinished = Path::new(&unfinished);
    wait_for("a checkpoint", || {
        unfinished
            .join("mnist-1024-1-1-bits-40-epochs.checkpoint")
            .exists()
    });
    assert!(signal("TERM", process.id()));
    assert_eq!(process.wait_with_output().unwrap().status.code(), Some(143));
    assert_eq!(fs::read_dir(unfinished).unwrap().count(), 2);
    let rest = lines(&qnn(&arguments));
    assert_eq!(without_times(&rest[0]), without_times(&whole[0]));
    assert_eq!(rest[0]["curve"].as_array().unwrap().len(), 40);
    assert_eq!(fs::read_dir(unfinished).unwrap().count(), 0);
    let chart = fs::read(folder.path().join("a/mnist-1024.png")).unwrap();
    assert!(chart.starts_with(b"\x89PNG"));
    let listed = lines(&qnn(&["reproduce", "--list", "--json"]));
    assert!(
        listed
            .iter()
            .any(|recipe| recipe["name"] == "bit-grid" && recipe["runs"] == 50)
    );
}

#[test]
fn endings_are_told_apart_by_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let quick = [
        "train",
        "--data",
        data,
        "--hidden",
        "8",
        "--batch-size",
        "20",
        "--epochs",
        "1",
    ];
    assert_eq!(code(&quick), 0);
    assert_eq!(code(&["train", "--data", "/nowhere"]), 1);
    assert_eq!(code(&["train", "--epochs", "many"]), 2);
    #[rustfmt::skip]
    let diverging = [
        "--weight-bits", "32", "--activation-bits", "32", "--optimizer", "sgd", "--momentum", "0.999999", "--learning-rate", "10",
        "--learning-rate-decay", "1", "--learning-rate-scale", "glorot", "--loss", "squared-hinge", "--epochs", "60", "--batch-size", "2",
    ];
    let diverged = qnn(&[&quick[..5], &diverging].concat());
    let said = String::from_utf8(diverged.stderr).unwrap();
    assert_eq!(diverged.status.code(), Some(3), "{said}");
    assert!(said.contains("diverged"), "{said}");
    let help = String::from_utf8(qnn(&["--help"]).stdout).unwrap();
    for line in [
        "0  done",
        "2  wrong arguments",
        "3  training diverged",
        "4  incomplete",
        "130  interrupted",
    ] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn it_draws_the_learning_curve() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let train = |plot: &Path| {
        let plot = plot.to_str().unwrap();
        let train = [
            "train", "--data", data, "--hidden", "8", "--epochs", "3", "--plot", plot,
        ];
        assert_eq!(code(&train), 0);
    };
    let [svg, png] = ["curve.svg", "curve.PNG"].map(|name| folder.path().join(name));
    train(&svg);
    let text = fs::read_to_string(svg).unwrap();
    for part in ["loss", "accuracy, %", "training", "test", "epoch"] {
        assert!(text.contains(part), "{part}");
    }
    train(&png);
    let mut image = png::Decoder::new(std::io::Cursor::new(fs::read(png).unwrap()))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; image.output_buffer_size().unwrap()];
    image.next_frame(&mut pixels).unwrap();
    assert_eq!(image.info().size(), (3040, 840));
    assert!(pixels.iter().any(|sample| *sample < 50));
    let refused = qnn(&["train", "--plot", "curve.gif"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("end in .svg or .png")
    );
}

/// A PNG file of side x side, bright on the side that the label tells, or dark on light.
fn picture(file: &Path, side: u32, label: u8, color: png::ColorType, inverted: bool) {
    let samples = color.samples();
    let pixels: Vec<u8> = (0..side * side)
        .flat_map(|pixel| {
            let is_ink = (pixel % side < side / 2) == (label == 0);
            let is_edge = [pixel % side, pixel / side]
                .iter()
                .any(|at| *at == 0 || *at == side - 1);
            let ink = if is_ink && !is_edge { 230 } else { 0 };
            vec![if inverted { 255 - ink } else { ink }; samples]
        })
        .collect();
    let mut encoder = png::Encoder::new(fs::File::create(file).unwrap(), side, side);
    encoder.set_color(color);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&pixels)
        .unwrap();
}

#[test]
fn it_answers_png_files_of_any_size_and_says_which_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    small_set(folder.path());
    let data = folder.path().to_str().unwrap();
    let model = folder.path().join("model.qnn");
    let model = model.to_str().unwrap();
    let train = [
        "train",
        "--data",
        data,
        "--hidden",
        "16",
        "--batch-size",
        "20",
        "--epochs",
        "3",
    ];
    assert_eq!(code(&[&train[..], &["--save", model]].concat()), 0);

    let (grey, colour) = (png::ColorType::Grayscale, png::ColorType::Rgb);
    let mut files = Vec::new();
    for (side, color, inverted) in [
        (8, grey, false),
        (96, grey, true),
        (61, colour, false),
        (200, colour, true),
    ] {
        for label in [0, 1] {
            let file = folder.path().join(format!("{side} {label}.png"));
            picture(&file, side, label, color, inverted);
            files.push((file.to_str().unwrap().to_owned(), label));
        }
    }
    let names: Vec<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
    let predict = ["predict", "--model", model, "--json"];
    let answers = lines(&qnn(&[&predict[..], &names].concat()));
    assert_eq!(answers.len(), files.len());
    for (answer, (file, label)) in answers.iter().zip(&files) {
        assert_eq!(answer["file"], **file);
        assert_eq!(answer["class"], label.to_string(), "{answer}");
        let logits: Vec<f64> = serde_json::from_value(answer["logits"].clone()).unwrap();
        assert!(logits.len() == 2 && (logits[1] > logits[0]) == (*label == 1));
    }

    let broken = folder.path().join("broken.png");
    fs::write(&broken, &fs::read(names[2]).unwrap()[..60]).unwrap();
    let some = [
        &predict[..],
        &["/nowhere.png", names[0], broken.to_str().unwrap(), names[1]],
    ]
    .concat();
    let output = qnn(&some);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(parsed(&output.stdout).len(), 2);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nowhere.png cannot be read."), "{said}");
    assert!(said.contains("broken.png is a damaged PNG image"), "{said}");
    assert!(
        said.contains("2 of 4 files could not be answered."),
        "{said}"
    );
    assert_eq!(code(&["predict", "--model", model]), 2);
    let digits = ["predict", "--digits", "--model", model, names[0]];
    assert!(refusal(&digits).contains("28 pixels a side; the network reads such of 8"));
    assert!(refusal(&["predict", "--model", names[0], names[0]]).contains("not a network"));
}

#[test]
fn it_tells_shells_and_man_of_every_command() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef qnn"),
        ("fish", "complete -c qnn"),
    ] {
        let text = String::from_utf8(qnn(&["completions", shell]).stdout).unwrap();
        assert!(
            text.contains(part) && text.contains("learning-rate-decay"),
            "{shell}"
        );
    }
    assert_eq!(code(&["completions", "nonsense"]), 2);
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    assert_eq!(code(&["man", pages.to_str().unwrap()]), 0);
    let help = String::from_utf8(qnn(&["--help"]).stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names: Vec<&str> = commands
        .lines()
        .map_while(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 9, "{names:?}");
    for name in names.iter().filter(|name| **name != "help") {
        let page = fs::read_to_string(pages.join(format!("qnn-{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(name));
    }
    let page = fs::read_to_string(pages.join("qnn.1")).unwrap();
    assert!(page.contains("training diverged"), "{page}");
    assert_eq!(code(&["man", "/dev/null/pages"]), 1);
}
