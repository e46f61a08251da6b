// What the tests in a browser share: servers for the built page, a headless Chromium, and pages that tell what went wrong.

import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { chromium } from "playwright-core";

/** The built page. */
export const DIST = process.env.QNN_DIST ?? fileURLToPath(new URL("../../dist/", import.meta.url));

const TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".gz": "application/gzip",
};

const COMPRESSED = new Set([".html", ".js", ".css", ".json", ".webmanifest", ".svg", ".wasm"]);

/** An empty page on which nothing happens by itself: to drive workers by hand. */
export const BLANK = "blank.html";

/** What the preset mnist-512 describes, as the page would send it. */
export const SPEC = {
    hidden: [512, 512],
    weight_bits: 1,
    activation_bits: 1,
    loss: "squared-hinge",
    optimizer: "adam",
    learning_rate: 0.03,
    learning_rate_decay: 0.7,
    batch_size: 100,
    seed: 1,
};

const ISOLATION = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
};

const compressed = new Map();

/** A file's bytes with gzip, compressed once for as long as it does not change. */
function compress(file, { mtimeMs }) {
    const name = `${file} ${mtimeMs}`;
    if (!compressed.has(name)) compressed.set(name, readFile(file).then(promisify(gzip)));
    return compressed.get(name);
}

/**
 * Serves a folder as a plain host of files does, compressed where that helps.
 * `isolated`: with the headers that isolate; `at`: the path it lies under; `without(path)`: true, or a promise of it, for files to hide.
 * Gives `url`, the address of the page, and `close()`. `url + BLANK` is an empty page of the same host.
 */
export async function serve({ folder = DIST, isolated = false, at = "/", without = () => false } = {}) {
    const server = createServer(async (request, response) => {
        const { pathname } = new URL(request.url, "http://localhost");
        const path = decodeURIComponent(pathname.slice(at.length)).replace(/^$|\/$/, "$&index.html");
        const file = join(folder, normalize(`/${path}`));
        const headers = {
            "content-type": TYPES[extname(file)] ?? "application/octet-stream",
            ...(isolated && ISOLATION),
        };
        const found = await stat(file).catch(() => null);
        const there = pathname.startsWith(at) && !(await without(path));
        if (there && path === BLANK) {
            response.writeHead(200, headers).end('<!doctype html><title>Blank</title><link rel="icon" href="data:,">');
        } else if (there && found?.isFile() && COMPRESSED.has(extname(file))) {
            const bytes = await compress(file, found);
            response.writeHead(200, { ...headers, "content-encoding": "gzip", "content-length": bytes.length }).end(bytes);
        } else if (there && found?.isFile()) {
            response.writeHead(200, headers);
            createReadStream(file).pipe(response);
        } else {
            response.writeHead(404, headers).end();
        }
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    return {
        url: `http://localhost:${server.address().port}${at}`,
        async close() {
            server.closeAllConnections();
            await new Promise((resolve) => server.close(resolve));
        },
    };
}

/** A headless Chromium with an empty profile; `flags` are added to the usual ones. */
export const launch = (flags) => chromium.launch(settings(flags));

/** The same, but its pages are not private ones, which cannot be installed: gives the context of its only profile. */
export const launchProfile = (flags) => chromium.launchPersistentContext("", settings(flags));

function settings(flags = []) {
    return {
        executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
        chromiumSandbox: false,
        args: [
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            // Pages in the background are no slower than the one in front.
            "--disable-renderer-backgrounding",
            "--disable-backgrounding-occluded-windows",
            ...flags,
        ],
    };
}

/** WebGPU without a GPU: slow, but right. */
export const SOFTWARE_WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/**
 * Opens an address in a context of its own; `options` are Playwright's, for instance `viewport`, `colorScheme`,
 * `serviceWorkers: "block"`. The page's `problems` fill with what it reports as errors; closing its context ends it.
 */
export async function open(browser, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(String(error)));
    page.on("console", (message) => {
        if (message.type() === "error") page.problems.push(`${message.text()} (${message.location().url})`);
    });
    await page.goto(url);
    return page;
}

/** Starts `worker.js` in the page and gives the first message of the engine, or throws what the worker's error says. */
export function firstMessage(page, script = "worker.js") {
    return page.evaluate(
        (script) =>
            new Promise((resolve, reject) => {
                const worker = new Worker(script, { type: "module" });
                const end = (then, value) => (worker.terminate(), then(value));
                worker.onmessage = ({ data }) => end(resolve, data);
                worker.onerror = (event) => end(reject, new Error(event.message ?? "the worker did not load"));
            }),
        script,
    );
}

/**
 * Talks with an engine of its own, in the page: sends the messages when it is ready, `{ wait }` being a pause of so
 * many milliseconds. Listens until all of `until` has come about: so many `steps`
 * trained, so many requests `refused`, a message of that `type`, all messages `sent`. Gives all that the engine said
 * but checkpoints, each message as its `type`, its fields, and its time `at`, in milliseconds from the start.
 */
export function converse(page, { script = "worker.js", messages, until }) {
    return page.evaluate(
        ({ script, messages, until }) =>
            new Promise((resolve, reject) => {
                const began = performance.now();
                const worker = new Worker(script, { type: "module" });
                const heard = [];
                const reached = { steps: 0, refused: 0, type: null, sent: false };
                const finish = () => {
                    const { steps = 0, refused = 0, type, sent } = until;
                    if (reached.steps < steps || reached.refused < refused) return;
                    if ((type && reached.type !== type) || (sent && !reached.sent)) return;
                    worker.terminate();
                    resolve(heard);
                };
                const send = async () => {
                    for (const message of messages) {
                        if (message.wait) {
                            await new Promise((done) => setTimeout(done, message.wait));
                        } else {
                            heard.push({ type: "sent", message, at: performance.now() - began });
                            worker.postMessage(message);
                        }
                    }
                    reached.sent = true;
                    finish();
                };
                worker.onerror = ({ message }) => reject(new Error(message));
                worker.onmessage = ({ data }) => {
                    const [[type, fields]] = typeof data === "string" ? [[data]] : Object.entries(data);
                    if (type === "Ready") send();
                    if (type === "Progress") reached.steps += fields.steps.length;
                    if (type.endsWith("Refused")) reached.refused++;
                    if (type === until.type) reached.type = type;
                    if (type !== "Checkpoint") heard.push({ type, ...fields, at: performance.now() - began });
                    finish();
                };
            }),
        { script, messages, until },
    );
}

/** What an element says, by its id. */
export const text = (page, id) => page.locator(`#${id}`).innerText();
/** Steps that the chosen network has trained. */
export const steps = async (page) => Number((await text(page, "step-count")).replace(/\D/g, ""));
/** Its accuracy on the test set, in percent. */
export const accuracy = async (page) => Number.parseFloat(await text(page, "test-accuracy"));

/** Pictures of the page as it is now, into the folder `QNN_SCREENSHOTS` where there is one: of each width, light and dark. */
export async function picture(page, name) {
    if (!process.env.QNN_SCREENSHOTS) return;
    for (const width of [1440, 820, 390]) {
        for (const colorScheme of ["light", "dark"]) {
            await page.setViewportSize({ width, height: 900 });
            await page.emulateMedia({ colorScheme });
            await page.waitForTimeout(300);
            await page.screenshot({ path: `${process.env.QNN_SCREENSHOTS}/${name}-${width}-${colorScheme}.png`, fullPage: true });
        }
    }
    await page.setViewportSize({ width: 1280, height: 800 });
}

/** Waits until `holds` does, a minute at the most. */
export async function until(holds, what) {
    for (let i = 0; i < 600; i++) {
        if (await holds()) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.fail(`it never came about that ${what}`);
}

/**
 * A browser and an isolated host of the built page for the tests of a file, which both end with them: `browser`, `server`, and
 * `visit(check, { path, ...options })`, which opens the page, gives it to `check`, and then asks that it had no errors to report.
 */
export function site() {
    const site = {};
    before(async () => {
        site.browser = await launch();
        site.server = await serve({ isolated: true });
    });
    after(async () => {
        await site.browser.close();
        await site.server.close();
    });
    site.visit = async (check, { path = "", ...options } = {}) => {
        const page = await open(site.browser, site.server.url + path, options);
        try {
            await check(page);
            assert.deepEqual(page.problems, []);
        } finally {
            await page.context().close();
        }
    };
    return site;
}
