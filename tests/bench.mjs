// What the built page costs and gives, measured in headless Chromium: `./dev bench [--json FILE]`.

import { readdir, readFile, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { BLANK, DIST, launch, open, serve } from "./browser/support.mjs";

const { values: options } = parseArgs({ options: { json: { type: "string" } } });

/** Bytes over the wire, gzipped, of the page and of each build of the engine. */
async function sizes() {
    const total = { page: 0, single: 0, threads: 0 };
    for (const file of await readdir(DIST, { recursive: true, withFileTypes: true })) {
        const path = join(file.parentPath ?? file.path, file.name);
        const [top, build] = path.slice(DIST.length).split("/");
        if (!file.isFile() || top === "data") continue;
        total[top === "engine" ? build : "page"] += gzipSync(await readFile(path)).length;
    }
    return total;
}

/** Milliseconds from making the worker to `Ready`, the third time, when the browser has compiled and cached. */
async function start(browser, isolated) {
    const server = await serve({ isolated });
    const page = await open(browser, server.url + BLANK, { serviceWorkers: "block" });
    const once = () =>
        page.evaluate(async () => {
            const began = performance.now();
            const worker = new Worker("worker.js", { type: "module" });
            const { threads } = await new Promise((resolve, reject) => {
                worker.onmessage = ({ data }) => resolve(data);
                worker.onerror = ({ message }) => reject(new Error(message));
            });
            worker.terminate();
            return { threads, milliseconds: Math.round(performance.now() - began) };
        });
    await once();
    await once();
    const result = await once();
    await page.context().close();
    await server.close();
    return result;
}

const browser = await launch();
const report = {
    date: new Date().toISOString().slice(0, 10),
    browser: `Chromium ${browser.version()}`,
    machine: `${cpus().length} x ${cpus()[0].model}`,
    gzippedBytes: await sizes(),
    engineStart: [await start(browser, false), await start(browser, true)],
};
await browser.close();

console.log(JSON.stringify(report, null, 4));
if (options.json) await writeFile(options.json, `${JSON.stringify(report, null, 4)}\n`);
