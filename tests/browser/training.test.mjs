// Training in the worker, driven by messages as the page does it: the same curve on any threads and on the command line,
// settings that change in mid-training, bad files, one step.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { stat } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { BLANK, converse, DIST, open, site, SPEC } from "./support.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PROCEDURAL = { UseData: { source: "Procedural" } };
const configure = (changes = {}) => ({ Configure: { spec: { ...SPEC, hidden: [64], ...changes } } });

const here = site();

/** Sends messages to an engine of its own until what is waited for has come about; all that it said. */
async function train(messages, until, threads = 2) {
    const page = await open(here.browser, here.server.url + BLANK);
    const heard = await converse(page, { script: `worker.js?threads=${threads}`, messages, until });
    await page.context().close();
    return heard;
}

const losses = (heard) => heard.flatMap(({ type, steps }) => (type === "Progress" ? steps.map(({ loss }) => loss) : []));
const refusals = (heard) => heard.flatMap(({ type, message }) => (type.endsWith("Refused") ? [message] : []));

test("one thread, three and the command line train the same curve, bit for bit", async () => {
    for (const [settings, options] of [
        [{}, ""],
        // Whatever is left to chance, and all kinds of products.
        [
            {
                weight_rounding: "stochastic",
                activation_bits: 3,
                activation_levels: "logarithmic",
                activation_rounding: "stochastic",
                gradient_bits: 6,
                normalization: "shift-batch-norm",
                hidden_dropout: 0.25,
                optimizer: "shift-adamax",
                learning_rate_scale: "glorot",
            },
            "--weight-rounding stochastic --activation-bits 3 --activation-levels logarithmic --activation-rounding stochastic " +
                "--gradient-bits 6 --normalization shift-batch-norm --hidden-dropout 0.25 --optimizer shift-adamax " +
                "--learning-rate-scale glorot",
        ],
    ]) {
        const messages = [configure(settings), PROCEDURAL, "Train"];
        const one = losses(await train(messages, { steps: 600 }, 1)).slice(0, 600);
        const three = losses(await train(messages, { steps: 600 }, 3)).slice(0, 600);
        assert.equal(one.length, 600);
        assert.deepEqual(one, three);
        const qnn = `run --quiet -p qnn-cli -- train --hidden 64 --epochs 1 --json ${options}`.trim().split(" ");
        const { stdout } = await promisify(execFile)("cargo", qnn, { cwd: ROOT });
        const epoch = JSON.parse(stdout.split("\n")[0]);
        assert.equal(epoch.step, 600);
        assert.equal(Math.fround(epoch.last_loss), one[599]);
    }
});

test("it learns, at every bit width, and goes on at another", async () => {
    const heard = await train([configure(), PROCEDURAL, "Train"], { steps: 220 });
    const evaluations = heard.filter(({ type }) => type === "Evaluated");
    assert.ok(evaluations.length >= 4);
    assert.ok(evaluations.at(-1).accuracy > 0.7);
    const change = [configure(), PROCEDURAL, "Step", configure({ weight_bits: 4, activation_bits: 32 }), "Train"];
    const curve = losses(await train(change, { steps: 150 }));
    assert.ok(curve.at(-1) < curve[0] / 3);
});

test("one step is one step, and pause pauses", async () => {
    const heard = await train([configure(), PROCEDURAL, "Step"], { steps: 1 });
    assert.equal(losses(heard).length, 1);
    const paused = await train([configure(), PROCEDURAL, "Train", { wait: 300 }, "Pause", { wait: 500 }], {
        sent: true,
    });
    const end = paused.findLastIndex(({ type, training }) => type === "State" && !training);
    assert.ok(losses(paused).length > 1);
    // But for the step that was under way.
    assert.ok(losses(paused.slice(end)).length <= 1);
});

test("senseless settings are refused", async () => {
    const heard = await train([configure(), PROCEDURAL, configure({ hidden: [] }), configure({ learning_rate: NaN }), configure({ weight_bits: 9 }), configure({ version: 3 })], {
        refused: 4,
    });
    assert.match(refusals(heard).join("|"), /at least one hidden layer.*\|.*learning rate.*\|.*no width of 9 bits.*\|.*version 3/);
});

test("MNIST beside the page is found, checked and learned", async (context) => {
    if (!(await stat(`${DIST}data/mnist/train-images-idx3-ubyte.gz`).catch(() => null))) return context.skip("no MNIST");
    const mnist = { UseData: { source: "Mnist" } };
    // In the midst of training, as most visitors will choose it.
    const messages = [configure(), PROCEDURAL, "Train", { wait: 500 }, mnist, { wait: 8000 }];
    const heard = await train(messages, { sent: true });
    const ready = heard.findLastIndex(({ type }) => type === "DataReady");
    const classes = [..."0123456789"];
    const expected = { name: "MNIST", trainImages: 60000, testImages: 10000, width: 28, height: 28, classes, drawings: 0 };
    assert.deepEqual(heard[ready].data, expected);
    assert.ok(heard.some(({ type }) => type === "DataProgress"));
    assert.ok(losses(heard.slice(ready)).length > 100);
    assert.ok(heard.findLast(({ type }) => type === "Evaluated").accuracy > 0.8);
});
