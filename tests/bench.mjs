// What the built page costs and gives, measured in headless Chromium: `./dev bench [--quick] [--json FILE] [--svg FILE]`.
// Ratios are of figures taken in turn in one run: these machines, like a visitor's, have other things to do.
// `--quick` measures only what is promised, ratios between our kernels and to other libraries, and products of several
// bits. `--native FILE` puts what `qnn bench --json` wrote into the report.

import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { chart } from "./bench/charts.mjs";
import { openEngine } from "./bench/engine.mjs";
import { goalsTable, measureGoals } from "./bench/goals.mjs";
import { median } from "./bench/statistics.mjs";
import { BLANK, converse, DIST, launch, open, serve, SPEC } from "./browser/support.mjs";

const FILES = { json: { type: "string" }, svg: { type: "string" }, native: { type: "string" } };
const { values: options } = parseArgs({ options: { quick: { type: "boolean" }, ...FILES } });
const THREADS = cpus().length;
const mnist = Boolean(await stat(`${DIST}data/mnist/train-images-idx3-ubyte.gz`).catch(() => null));
const DATA = { UseData: { source: mnist ? "Mnist" : "Procedural" } };

/** The build with relaxed SIMD, which Chromium has. */
const BUILD = "relaxed";
const SHAPES = [[256, 1024, 1024], [100, 512, 512], [512, 784, 100]];
const BIT_PAIRS = [[1, 1], [2, 1], [4, 1], [6, 1], [8, 1], [2, 2], [4, 4], [8, 8], [32, 32]];
/** The subject, of the shape. */
const withShape = (subject, shape) => Object.fromEntries(Object.entries(subject).map(([kind, fields]) => [kind, { ...fields, shape }]));
const round = (value, digits = 2) => Number(value.toFixed(digits));

/** Bytes over the wire, gzipped, of the page, of each build of the engine, and of the importer. */
async function sizes() {
    const total = {};
    for (const file of await readdir(DIST, { recursive: true, withFileTypes: true })) {
        const path = join(file.parentPath ?? file.path, file.name);
        const [top, build] = path.slice(DIST.length).split("/");
        if (!file.isFile() || top === "data") continue;
        const part = top === "engine" ? build : "page";
        total[part] = (total[part] ?? 0) + gzipSync(await readFile(path)).length;
    }
    return { ...total, visitWithoutThreads: total.page + total.single, visitWithThreads: total.page + total.threads, visitWithRelaxedSimd: total.page + total.relaxed };
}

async function talk(threads, messages, until) {
    const page = await open(browser, server.url + BLANK);
    const heard = await converse(page, { script: `worker.js?threads=${threads}`, messages, until });
    await page.context().close();
    return heard;
}

/**
 * Speeds of products of several bit widths and, but for a quick run, of all kernels, in G multiply-accumulates a second:
 * medians of runs in turn.
 */
async function kernels(threads) {
    const engine = await openEngine(browser, server.url, { build: BUILD, threads });
    const names = options.quick || threads > 1 ? [] : await engine.kernels();
    const twins = names.map((name) => [name, { kernel: { name } }]);
    const products = BIT_PAIRS.map(([a_bits, b_bits]) => [`${a_bits} x ${b_bits} bits`, { product: { a_bits, b_bits } }]);
    const shapes = options.quick ? SHAPES.slice(0, 1) : SHAPES;
    const rows = shapes.flatMap((shape) => [...twins, ...products].map(([name, subject]) => ({ name, subject: withShape(subject, shape), shape, speeds: [] })));
    for (let round = 0; round < 5; round++) {
        for (const row of rows) {
            const { milliseconds, macs } = await engine.measure(row.subject, 10);
            row.speeds.push(macs / milliseconds / 1e6);
        }
    }
    await engine.close();
    return rows.map(({ name, shape, speeds }) => ({
        threads,
        shape: shape.join("x"),
        name,
        gigaMacsPerSecond: round(median(speeds)),
    }));
}

/** The same as text: a line for each name, a column for each shape and number of threads. */
function kernelsTable(kernels) {
    const column = ({ shape, threads }) => `${shape}, ${threads} thr`;
    const columns = [...new Set(kernels.map(column))];
    const lines = [...new Set(kernels.map(({ name }) => name))].map((name) => {
        const rows = kernels.filter((row) => row.name === name);
        return [name, ...columns.map((heading) => rows.find((row) => column(row) === heading)?.gigaMacsPerSecond ?? "")];
    });
    const text = ([name, ...cells]) => name.padEnd(24) + cells.map((cell) => String(cell).padStart(22)).join("");
    return [["G multiply-accumulates/s", ...columns], ...lines].map(text).join("\n");
}

/** Images trained a second: the median of what the engine says over 1500 steps, the first of which a browser still compiles. */
async function training(threads, name, settings) {
    const spec = { ...SPEC, ...settings };
    const heard = await talk(threads, [{ Configure: { spec } }, DATA, "Train"], { steps: 1500 });
    const speeds = heard.filter(({ type }) => type === "Progress").map(({ imagesPerSecond }) => imagesPerSecond);
    return { threads, name, imagesPerSecond: Math.round(median(speeds.slice(speeds.length >> 2))) };
}

/** Milliseconds from `Pause` until the engine has paused, the longest of ten in mid-training. */
async function pauses(threads) {
    const cycle = Array.from({ length: 10 }, () => ["Train", { wait: 250 }, "Pause", { wait: 150 }]);
    const messages = [{ Configure: { spec: SPEC } }, { UseData: { source: "Procedural" } }, ...cycle.flat()];
    const heard = await talk(threads, messages, { sent: true });
    const waits = heard.flatMap(({ type, message, at }, index) => {
        if (type !== "sent" || message !== "Pause") return [];
        const paused = heard.slice(index).find(({ type, training }) => type === "State" && !training);
        return [paused.at - at];
    });
    return { threads, longestMilliseconds: round(Math.max(...waits), 1) };
}

/** From navigation to the first trained step, and from a press of Train to the first point on the chart. */
async function starts(threads) {
    const host = threads > 1 ? server : plain;
    const navigation = [];
    const press = [];
    for (let run = 0; run < 5; run++) {
        let page = await open(browser, host.url, { serviceWorkers: "block" });
        const mark = (name) => page.waitForFunction((name) => performance.getEntriesByName(name).at(-1)?.startTime, name);
        navigation.push(await (await mark("first-step")).jsonValue());
        await page.context().close();
        page = await open(browser, `${host.url}#paused`, { serviceWorkers: "block" });
        await page.waitForFunction(() => /ready|Paused|Procedural/i.test(document.querySelector("#status")?.innerText ?? ""));
        await page.waitForTimeout(1000);
        await page.evaluate(() => {
            document.querySelector("#train").addEventListener("click", () => performance.mark("pressed"), { capture: true });
        });
        await page.locator("#train").click();
        const pressed = await (await mark("pressed")).jsonValue();
        press.push((await (await mark("first-point")).jsonValue()) - pressed);
        await page.context().close();
    }
    return {
        threads,
        navigationToFirstStepMilliseconds: Math.round(median(navigation)),
        pressToFirstPointMilliseconds: Math.round(median(press)),
    };
}

/** From navigation to a page that can be used, with its first step trained, where the page's thread is slowed so many times. */
async function slowed(rate) {
    const trained = [];
    const blocked = [];
    for (let run = 0; run < 5; run++) {
        const page = await open(browser, server.url + BLANK, { serviceWorkers: "block" });
        await (await page.context().newCDPSession(page)).send("Emulation.setCPUThrottlingRate", { rate });
        await page.addInitScript(() => {
            window.tasks = [];
            new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
        });
        await page.goto(server.url);
        const first = () => performance.getEntriesByName("first-step")[0]?.startTime;
        trained.push(await (await page.waitForFunction(first)).jsonValue());
        blocked.push(Math.max(0, ...(await page.evaluate(() => window.tasks))));
        await page.context().close();
    }
    return { rate, navigationToFirstStepMilliseconds: Math.round(median(trained)), longestTaskMilliseconds: Math.round(median(blocked)) };
}

/** Test accuracy on MNIST after epochs 5 and 8. */
async function accuracy() {
    const messages = [{ Configure: { spec: SPEC } }, DATA, "Train"];
    const heard = await talk(THREADS, messages, { steps: 4810 });
    const after = (epoch) => heard.find((message) => message.type === "Evaluated" && message.epoch === epoch).accuracy;
    return { epoch5: round(100 * after(5)), epoch8: round(100 * after(8)) };
}

const ALL_INTEGER = {
    gradient_bits: 6,
    normalization: "shift-batch-norm",
    optimizer: "shift-adamax",
    learning_rate_scale: "glorot",
    learning_rate: 1 / 64,
};
const TRAININGS = [
    ...[1, 2, 4, 8, 32].map((bits) => [`${bits} bits`, { weight_bits: bits, activation_bits: bits }]),
    ["1 bit, 6-bit gradients", { gradient_bits: 6 }],
    ["all-integer", ALL_INTEGER],
];

const browser = await launch();
const server = await serve({ isolated: true });
const plain = await serve();
const goals = await measureGoals(browser, server.url, { build: BUILD, note: (text) => console.error(text) });
console.log(goalsTable(goals));
const report = {
    date: new Date().toISOString().slice(0, 10),
    browser: `Chromium ${browser.version()}`,
    machine: `${cpus().length} x ${cpus()[0].model}`,
    ...goals,
    kernels: [...(await kernels(1)), ...(await kernels(THREADS))],
};
console.log(kernelsTable(report.kernels));
if (!options.quick) {
    const visit = await visits();
    console.log(JSON.stringify(visit, null, 4));
    Object.assign(report, visit);
}
if (options.native) report.native = JSON.parse(await readFile(options.native));
await browser.close();
await server.close();
await plain.close();
if (options.svg) await writeFile(options.svg, chart(report));
if (options.json) await writeFile(options.json, `${JSON.stringify(report, null, 4)}\n`);

/** What a visit costs and gives. */
async function visits() {
    const report = {
        gzippedBytes: await sizes(),
        starts: [await starts(1), await starts(THREADS)],
        slowed: [await slowed(1), await slowed(4)],
        trainingData: mnist ? "MNIST" : "procedural digits",
        training: [],
        pauses: [await pauses(1), await pauses(THREADS)],
    };
    for (const [name, settings] of TRAININGS) {
        for (const threads of [1, THREADS]) report.training.push(await training(threads, name, settings));
    }
    if (mnist) report.mnistTestAccuracy = await accuracy();
    return report;
}
