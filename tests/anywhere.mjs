// One network everywhere it can be taken: the answers of each to all test images, its bytes, and how long an image takes, all
// in one run. `./dev anywhere` calls it; it ends with an error where answers differ, and writes its table into docs/anywhere.md.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { BLANK, launch, open, serve } from "./browser/support.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const HERE = fileURLToPath(new URL("anywhere/", import.meta.url));
/** Where the table stands. */
const PAGE = join(ROOT, "docs/anywhere.md");
/** Times that all are asked in turn, and images that are timed each time. */
const [ROUNDS, TIMED] = [5, 1000];
const EPOCHS = 3;

const data = process.env.QNN_DATA_DIR;
const python = process.env.QNN_PYTHON;
if (!data) throw new Error("MNIST is needed: `./dev data` fetches it.");
const folder = mkdtempSync(join(tmpdir(), "qnn-anywhere-"));
const path = (name) => join(folder, name);
const run = (program, ...parameters) =>
    execFileSync(program, parameters, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 1 << 28 });
const cargo = (...parameters) => run("cargo", ...parameters);
const qnn = (...parameters) => JSON.parse(cargo("run", "--quiet", "--release", "-p", "qnn-cli", "--", ...parameters, "--json").trim().split("\n").at(-1));
const size = (name) => statSync(path(name)).size;

// ---- The network, and all its files
const mnist = join(data, "mnist");
const trained = qnn("train", "--preset", "mnist-512", "--data", mnist, "--epochs", String(EPOCHS), "--save", path("training.safetensors"));
for (const name of ["network.safetensors", "network.rs", "network.c", "network.onnx"]) {
    qnn("export", "--model", path("training.safetensors"), "--out", path(name));
}
qnn("export", "--model", path("training.safetensors"), "--out", path("float.onnx"), "--format", "onnx-float");
const labels = readFileSync(join(mnist, readdirSync(mnist).find((name) => /t10k-labels-idx1-ubyte(\.gz)?$/.test(name))));
const images = readFileSync(join(mnist, readdirSync(mnist).find((name) => /t10k-images-idx3-ubyte(\.gz)?$/.test(name))));
const plain = (bytes) => (bytes[0] === 0x1f ? gunzipSync(bytes) : bytes);
writeFileSync(path("images.bin"), plain(images).subarray(16));
const expectedLabels = plain(labels).subarray(8);

// ---- The programs that answer
cargo("build", "--quiet", "--release", "-p", "qnn-files", "--example", "anywhere");
for (const name of ["main.rs", "main.c"]) copyFileSync(join(HERE, name), path(name));
run("rustc", "--edition", "2024", "-O", "-o", path("rust-program"), path("main.rs"));
run("cc", "-std=c99", "-O3", "-o", path("c-program"), path("main.c"));
const project = path("project");
mkdirSync(project);
run("./dev", "npm", project);
const archive = readdirSync(project).find((name) => name.endsWith(".tgz"));
writeFileSync(join(project, "package.json"), '{ "private": true, "type": "module" }');
execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", `./${archive}`], { cwd: project, stdio: "ignore" });
copyFileSync(join(HERE, "node.mjs"), join(project, "node.mjs"));

const target = process.env.CARGO_TARGET_DIR ?? join(ROOT, "target");
const programs = [
    () => run(join(target, "release/examples/anywhere"), folder, String(TIMED)),
    () => run(path("rust-program"), path("images.bin"), path("rust.answers"), String(TIMED)),
    () => run(path("c-program"), path("images.bin"), path("c.answers"), String(TIMED)),
    () => run(process.execPath, join(project, "node.mjs"), folder, String(TIMED)),
    () => inBrowser(),
    () => run(python, join(HERE, "onnx_runtime.py"), folder, String(TIMED)),
];

/** The npm package in a page of Chromium, whose clock is coarse: a hundred images at a time are timed. */
async function inBrowser() {
    const server = await serve({ folder });
    const browser = await launch();
    try {
        const page = await open(browser, server.url + BLANK);
        const { answers, median } = await page.evaluate(async (timed) => {
            const { load } = await import("/project/node_modules/qnn-infer/index.js");
            const network = await load("/network.safetensors");
            const images = new Uint8Array(await (await fetch("/images.bin")).arrayBuffer());
            const image = (index) => images.subarray(index * network.inputs, (index + 1) * network.inputs);
            const answers = Array.from({ length: images.length / network.inputs }, (_, index) => network.predict(image(index)).label);
            const times = [];
            for (let first = 0; first < timed; first += 100) {
                const began = performance.now();
                for (let index = first; index < first + 100; index++) network.predict(image(index));
                times.push(10 * (performance.now() - began));
            }
            return { answers, median: times.sort((a, b) => a - b)[times.length >> 1] };
        }, TIMED);
        writeFileSync(path("chromium.answers"), Uint8Array.from(answers));
        return JSON.stringify({ chromium: median });
    } finally {
        await browser.close();
        await server.close();
    }
}

const times = {};
for (let round = 0; round < ROUNDS; round++) {
    for (const program of programs) {
        for (const [name, microseconds] of Object.entries(JSON.parse(await program()))) (times[name] ??= []).push(microseconds);
    }
}
const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

// ---- What came of it
const core = readFileSync(path("core.answers"));
const differing = (name) => readFileSync(path(`${name}.answers`)).reduce((count, answer, index) => count + (answer !== core[index]), 0);
const right = core.reduce((count, answer, index) => count + (answer === expectedLabels[index]), 0);
const wasm = readFileSync(join(project, "node_modules/qnn-infer", readdirSync(join(project, "node_modules/qnn-infer")).find((name) => name.endsWith(".wasm"))));
const bytes = (count) => `${count.toLocaleString("en")} bytes`;
const rows = [
    ["core", "page and command line (`qnn-core`, one thread)", `${bytes(size("training.safetensors"))} to train on`],
    ["infer", "packed file in Rust (`qnn-infer`, no_std)", `${bytes(size("network.safetensors"))}`],
    ["rust", "exported Rust", `${bytes(size("network.rs"))} of source`],
    ["c", "exported C, `cc -O3`", `${bytes(size("network.c"))} of source`],
    ["node", "npm package in Node", `the packed file, and ${bytes(gzipSync(wasm).length)} of wasm, gzipped`],
    ["chromium", "npm package in Chromium", "the same"],
    ["onnx", "ONNX Runtime, the integer graph, one thread", bytes(size("network.onnx"))],
    ["float", "ONNX Runtime, float32, one thread", bytes(size("float.onnx"))],
];
const lines = rows.map(([name, what, much]) => {
    const ratios = times[name].map((time, round) => times.float[round] / time);
    const least = Math.min(...ratios);
    const most = Math.max(...ratios);
    const ratio = name === "float" ? "1" : `${median(ratios).toFixed(1)} (${least.toFixed(1)} to ${most.toFixed(1)})`;
    return `| ${what} | ${much} | ${differing(name)} | ${median(times[name]).toFixed(1)} | ${ratio} |`;
});
const table = `| | size | answers of ${core.length.toLocaleString("en")} that differ | microseconds an image | times as fast as float32 |
| --- | --- | --- | --- | --- |
${lines.join("\n")}

784-512-512-10 with 1-bit weights and activations, ${EPOCHS} epochs on MNIST, ${(right / core.length * 100).toFixed(2)} % of the test images right
(${(100 * trained.test_accuracy).toFixed(2)} % says \`qnn train\`). Medians of ${ROUNDS} rounds in which all are asked in turn, ${TIMED.toLocaleString("en")} images one by one each time, on
${cpus()[0].model.trim()}, shared with others; the ratios with the smallest and the largest of the rounds.`;
console.log(table);
const wrong = rows.filter(([name]) => name !== "float" && differing(name) > 0).map(([, what]) => what);
const text = readFileSync(PAGE, "utf8");
const marks = ["<!-- ./dev anywhere writes this -->\n", "\n<!-- to here -->"];
const [begin, end] = [text.indexOf(marks[0]) + marks[0].length, text.indexOf(marks[1])];
writeFileSync(PAGE, text.slice(0, begin) + table + text.slice(end));
rmSync(folder, { recursive: true });
if (wrong.length > 0) throw new Error(`Answers differ: ${wrong.join(", ")}.`);
