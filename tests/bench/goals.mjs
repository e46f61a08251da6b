// What the project promises of its speed: our engine and other libraries in the same browser, taken in turn. Each row is
// a ratio, the median over the rounds with its quartiles, beside its goal.

import { SPEC } from "../browser/support.mjs";
import { openEngine } from "./engine.mjs";
import { openPeers, SUBJECTS } from "./peers.mjs";
import { median, quantile } from "./statistics.mjs";

const SMALL = { ...SPEC, gradient_bits: 6 };
const LARGE = { ...SPEC, hidden: [4096, 4096, 4096] };
const FLOAT = { weight_bits: 32, activation_bits: 32, gradient_bits: 32 };
const SHAPE = [256, 1024, 1024];
const product = (a_bits, b_bits, shape = SHAPE) => ({ product: { shape, a_bits, b_bits } });
const step = (spec) => ({ step: { spec } });

/** What our engine is timed on, subject and threads; `lookup` is the fastest twin of the lookup kernel. */
const ownSubjects = (lookup) => ({
    binary: [product(1, 1), 1],
    float: [product(32, 32), 1],
    fourBits: [product(4, 1), 1],
    limit: [{ "in-register": { name: lookup } }, 1],
    floatCube: [product(32, 32, [1024, 1024, 1024]), 2],
    answerLarge: [{ answer: { spec: LARGE, images: 1 } }, 2],
    answersLarge: [{ answer: { spec: LARGE, images: 256 } }, 2],
    answerSmall: [{ answer: { spec: SPEC, images: 1 } }, 1],
    step100: [step(SMALL), 2],
    step100OneThread: [step(SMALL), 1],
    step1000: [step({ ...SMALL, batch_size: 1000 }), 2],
    floatStep100: [step({ ...SPEC, ...FLOAT }), 2],
});

/**
 * Measures everything `rounds` times in turn. Gives `goals`, a row for each promise, `figures`, the median milliseconds
 * of everything, and the peers that were `skipped`.
 */
export async function measureGoals(browser, url, { build, rounds = 7, note = () => {} }) {
    const peers = await openPeers(browser);
    const engines = { 1: await openEngine(browser, url, { build, threads: 1 }), 2: await openEngine(browser, url, { build, threads: 2 }) };
    const names = await engines[1].kernels();
    const subjects = ownSubjects(names.findLast((name) => name.startsWith("lookup")));
    const ours = Object.entries(subjects).map(([key, [subject, threads]]) => {
        return { key, threads, measure: () => engines[threads].measure(subject), times: [], macs: 0 };
    });
    const others = peers.contenders.map((contender) => ({ ...contender, times: [] }));
    for (let round = 0; round < rounds; round++) {
        note(`Round ${round + 1} of ${rounds}`);
        for (const own of ours) {
            const { milliseconds, macs } = await own.measure();
            own.times.push(milliseconds);
            own.macs = macs;
        }
        for (const other of others) other.times.push(await other.measure());
    }
    const own = Object.fromEntries(ours.map((own) => [own.key, own]));
    const best = (subject, precision = () => true) => {
        const candidates = others.filter((other) => other.subject === subject && precision(other.precision));
        return candidates.toSorted((a, b) => median(a.times) - median(b.times))[0];
    };
    const isFloat = (precision) => precision === "f32";
    const isInteger = (precision) => precision === "int8";
    const speed = (own) => own.times.map((milliseconds) => own.macs / milliseconds);
    /** A row: how many times as long `slower` takes as `faster`, round by round. */
    const row = (what, faster, slower, goal, atMost = false) => {
        const ratios = slower.times.map((milliseconds, round) => milliseconds / faster.times[round]);
        return judge(what, ratios, goal, atMost, slower.peer && `${slower.peer}, ${slower.precision}, ${slower.threads} threads`);
    };
    const judge = (what, ratios, goal, atMost, against) => {
        const ratio = median(ratios);
        return {
            what,
            against,
            ratio: round(ratio),
            spread: [quantile(ratios, 0.25), quantile(ratios, 0.75)].map(round),
            goal,
            atMost,
            met: atMost ? ratio <= goal : ratio >= goal,
        };
    };
    const goals = [
        row("binary product 256x1024x1024, 1 thread, to our float32 product", own.binary, own.float, 7),
        judge("the same, share of its in-register limit", speed(own.binary).map((reached, round) => reached / speed(own.limit)[round]), 0.7, false),
        row("float32 product 1024x1024x1024, 2 threads, to the best peer's", own.floatCube, best(SUBJECTS.product), 0.9),
        row("time of 1-bit weights by 4-bit activations, to 1-bit activations", own.binary, own.fourBits, 1.3, true),
        row("784-4096-4096-4096-10, 1-bit, 1 image, to the best peer", own.answerLarge, best(SUBJECTS.answerLarge), 15),
        row("the same, 256 images, to the best peer in float32", own.answersLarge, best(SUBJECTS.answersLarge, isFloat), 10),
        row("the same, 256 images, to the best peer in int8", own.answersLarge, best(SUBJECTS.answersLarge, isInteger), 5),
        row("784-512-512-10, 1-bit, 1 image, to the best peer", own.answerSmall, best(SUBJECTS.answerSmall), 6),
        row("training step, batch 100, 1/1/6 bits, to the best peer's float32", own.step100, best(SUBJECTS.trainSmallBatch), 5),
        row("the same, batch 1000", own.step1000, best(SUBJECTS.trainLargeBatch), 4),
        row("training step, batch 100, 1/1/6 bits, to our float32 step", own.step100, own.floatStep100, 3),
        row("the same 1/1/6-bit step, 1 thread to 2", own.step100, own.step100OneThread, 1.8),
    ];
    // Half a gigabyte for the optimizer's state: measured last, in an engine of its own.
    await peers.close();
    const epoch = await openEngine(browser, url, { build, threads: 2 });
    const { milliseconds } = await epoch.measure(step({ ...LARGE, gradient_bits: 6 }), 2000);
    await Promise.all([epoch, engines[1], engines[2]].map((engine) => engine.close()));
    const epochSeconds = round((milliseconds * 600) / 1000);
    const figures = [
        ...ours.map(({ key, threads, times, macs }) => ({
            contender: "this engine",
            subject: key,
            threads,
            milliseconds: Number(median(times).toPrecision(4)),
            ...(macs && { gigaMacsPerSecond: round(macs / median(times) / 1e6) }),
        })),
        ...others.map(({ peer, backend, threads, precision, subject, times }) => ({
            contender: `${peer}, ${backend}`,
            subject,
            precision,
            threads,
            milliseconds: Number(median(times).toPrecision(4)),
        })),
    ];
    return {
        goals,
        epochOf4096Seconds: epochSeconds,
        trainingImagesPerSecond: {
            batch100: Math.round(100_000 / median(own.step100.times)),
            batch1000: Math.round(1_000_000 / median(own.step1000.times)),
        },
        figures,
        skipped: peers.skipped,
    };
}

const round = (value) => Number(value.toPrecision(3));

export const goalText = ({ goal, atMost }) => `${atMost ? "at most" : "at least"} ${goal}`;

/** The rows as text. */
export function goalsTable({ goals, epochOf4096Seconds, skipped }) {
    const lines = goals.map((row) => {
        const { what, against, ratio, spread, met } = row;
        const cells = [met ? "met   " : "MISSED", String(ratio).padStart(6), `(${spread.join(" to ")})`.padEnd(16)];
        return [...cells, goalText(row).padEnd(13), what, against && `[${against}]`].filter(Boolean).join("  ");
    });
    return [
        ...lines,
        `An epoch of 784-4096-4096-4096-10, 60,000 images, batch 100, 2 threads: ${epochOf4096Seconds} s (aim: under 60)`,
        ...skipped.map(({ peer, reason }) => `Not measured: ${peer}: ${reason}`),
    ].join("\n");
}
