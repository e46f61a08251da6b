// Other libraries at what our engine does, each used in the way that is best for it, in headless Chromium.
// `openPeers(browser)` gives contenders to measure in turn with others; run by itself this prints a table of them:
// `npm ci --ignore-scripts` in this folder, then `node peers.mjs`.

import { readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { BLANK, launch, open, serve } from "../browser/support.mjs";
import { parse, SUBJECTS } from "./peers/subjects.js";
import { quantile } from "./statistics.mjs";

export { SUBJECTS };

const { devDependencies: versions } = JSON.parse(await readFile(new URL("package.json", import.meta.url)));
const ALL = Object.values(SUBJECTS);
const JAX = { peer: `jax-js ${versions["@jax-js/jax"]}`, module: "./jax.js", backend: "wasm", subjects: ALL };
const TENSORFLOW = { peer: `TensorFlow.js ${versions["@tensorflow/tfjs"]}`, module: "./tfjs.js", subjects: ALL };
const ONNX_RUNTIME = {
    peer: `ONNX Runtime Web ${versions["onnxruntime-web"]}`,
    module: "./onnxruntime.js",
    backend: "wasm",
    precisions: ["f32", "int8"],
    subjects: ALL.filter((subject) => parse(subject).kind !== "train"),
};

const LIBRARIES = [
    ...[1, 2].flatMap((threads) => [
        { ...ONNX_RUNTIME, threads },
        { ...JAX, threads },
        { ...TENSORFLOW, threads, backend: "wasm" },
    ]),
    // Half a minute for 256 images: nobody would wait for that.
    { ...TENSORFLOW, threads: 1, backend: "cpu", subjects: ALL.filter((subject) => subject !== SUBJECTS.answersLarge) },
    { ...TENSORFLOW, threads: 1, backend: "webgl" },
    { ...TENSORFLOW, threads: 1, backend: "webgpu" },
];

/** Why a page cannot use the graphics processor in this way, if it cannot. */
function lacking(page, backend) {
    return page.evaluate(async (backend) => {
        if (backend === "webgpu") {
            const adapter = await navigator.gpu?.requestAdapter();
            return !adapter ? "no WebGPU adapter" : adapter.info.isFallbackAdapter && "WebGPU in software only";
        }
        if (backend !== "webgl") return;
        const context = new OffscreenCanvas(1, 1).getContext("webgl2");
        const name = context?.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL;
        const renderer = context?.getParameter(name ?? context.RENDERER);
        if (!context) return "no WebGL 2";
        return /swiftshader|llvmpipe|software/i.test(renderer) && `WebGL in software only: ${renderer}`;
    }, backend);
}

/**
 * Opens a page for each library, backend and number of threads, where it stays idle until measured, and checks what
 * the library computes. Gives `contenders`, each with `measure()`, the mean milliseconds of an operation over 60 ms or
 * one operation; the first call also prepares and warms up, untimed, for all networks at once would need gigabytes.
 * `skipped` names the peers that cannot run here, and why.
 */
export async function openPeers(browser) {
    const server = await serve({ folder: fileURLToPath(new URL(".", import.meta.url)), isolated: true });
    const pages = [];
    const contenders = [];
    const skipped = [];
    for (const { peer, module, backend, threads, precisions = ["f32"], subjects } of LIBRARIES) {
        const page = await open(browser, server.url + BLANK);
        const start = async ({ module, ...options }) => {
            const { start } = await import("/peers/page.js");
            globalThis.peer = await start(module, options);
        };
        const reason =
            (await lacking(page, backend)) ||
            (await page.evaluate(start, { module, backend, threads, precisions }).catch(({ message }) => message));
        if (reason) {
            skipped.push({ peer: `${peer}, ${backend}, ${threads} thread${threads > 1 ? "s" : ""}`, reason });
            await page.context().close();
            continue;
        }
        pages.push(page);
        for (const subject of subjects) {
            for (const precision of parse(subject).kind === "answer" ? precisions : ["f32"]) {
                const measure = () => page.evaluate((of) => globalThis.peer.measure(...of), [subject, precision]);
                contenders.push({ peer, threads, precision, backend, subject, measure });
            }
        }
    }
    const close = async () => {
        await Promise.all(pages.map((page) => page.context().close()));
        await server.close();
    };
    return { contenders, skipped, close };
}

/** Milliseconds in the unit that suits the subject. */
function figure(subject, milliseconds) {
    const { kind, shape, images } = parse(subject);
    if (kind === "product") return `${((2 * shape.reduce((a, b) => a * b)) / milliseconds / 1e6).toFixed(1)} GFLOP/s`;
    if (kind === "train") return `${Math.round((images / milliseconds) * 1000)} images/s`;
    return `${milliseconds < 100 ? milliseconds.toPrecision(3) : Math.round(milliseconds)} ms`;
}

/** Measures all contenders in turn, several times, and prints medians with half the range, and the best, of each. */
async function main(rounds = 5) {
    const browser = await launch();
    const { contenders, skipped, close } = await openPeers(browser);
    const times = new Map(contenders.map((contender) => [contender, []]));
    for (let round = 0; round < rounds; round++) {
        for (const contender of contenders) times.get(contender).push(await contender.measure());
    }
    await close();
    console.log(`Chromium ${browser.version()}, ${cpus().length} x ${cpus()[0].model}`);
    await browser.close();

    for (const subject of ALL) {
        const rows = contenders
            .filter((contender) => contender.subject === subject)
            .map((contender) => {
                const own = times.get(contender);
                const [best, middle, worst] = [0, 0.5, 1].map((share) => quantile(own, share));
                return { ...contender, middle, best, spread: (worst - best) / middle };
            })
            .toSorted((a, b) => a.middle - b.middle);
        console.log(`\n${subject}`);
        for (const { peer, backend, threads, precision, middle, best, spread } of rows) {
            const cells = [peer.padEnd(24), backend.padEnd(6), `${threads} thr`, precision.padEnd(5)];
            const usual = `${figure(subject, middle).padStart(14)} ±${Math.round(50 * spread)} %`;
            console.log(`  ${cells.join(" ")} ${usual.padEnd(22)} best ${figure(subject, best)}`);
        }
    }
    for (const { peer, reason } of skipped) console.log(`\nskipped: ${peer}: ${reason}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
