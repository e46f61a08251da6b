// The paper's comparison on the GPU that Chromium has, by the built page's engine: `./dev bench --gpu` runs it and puts its
// figures into the report. `node tests/bench-gpu.mjs FILE` writes them to a file. Where there is no GPU, Chromium computes on
// its software adapter.

import { stat, writeFile } from "node:fs/promises";
import { BLANK, converse, DIST, launch, open, serve, SOFTWARE_WEBGPU, SPEC } from "./browser/support.mjs";

const [file] = process.argv.slice(2);
const HARDWARE_WEBGPU = ["--enable-unsafe-webgpu", "--enable-features=Vulkan"];
const mnist = await stat(`${DIST}data/mnist/train-images-idx3-ubyte.gz`).catch(() => null);
const SETTINGS = [
    { Configure: { spec: { ...SPEC, hidden: [64] } } },
    { UseData: { source: mnist ? "Mnist" : "Procedural" } },
];

const server = await serve({ isolated: true });
const report = (await compare(HARDWARE_WEBGPU, false)) ?? (await compare(SOFTWARE_WEBGPU, true));
await server.close();
await writeFile(file, `${JSON.stringify(report)}\n`);

/** The report of a browser with these flags; nothing where it has no GPU, or only a program where that is not wanted. */
async function compare(flags, takesSoftware) {
    const browser = await launch(flags);
    try {
        const page = await open(browser, server.url + BLANK);
        const found = await converse(page, { messages: SETTINGS, until: { type: "Gpu" } });
        const { state } = found.find(({ type }) => type === "Gpu");
        const adapter = state.Present;
        if (!adapter || (adapter.isSoftware && !takesSoftware)) return null;
        console.error(`Chromium ${browser.version()} compares on ${adapter.adapter}.`);
        // The data is there by then: what is measured takes the data that there is.
        const messages = [...SETTINGS, { wait: 10_000 }, "CompareGpu"];
        const { report, problem } = (await converse(page, { messages, until: { type: "Compared" } })).find(({ type }) => type === "Compared");
        if (problem) throw new Error(problem);
        return report;
    } finally {
        await browser.close();
    }
}
