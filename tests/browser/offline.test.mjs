// After one visit the page opens and trains without its host, on threads; what it keeps is whole and of one build; and
// it can be installed.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFile, cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { DIST, launch, launchProfile, open, serve } from "./support.mjs";

const DEV = fileURLToPath(new URL("../../dev", import.meta.url));

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Serves the page, opens it, gives both to `check`, and then asks that the page had no errors to report. */
async function visit(host, check) {
    const server = await serve({ at: "/some/where/", ...host });
    const page = await open(browser, "about:blank");
    if (host.prepare) await page.addInitScript(host.prepare);
    try {
        // A plain host's page loads again by itself, unless a script of ours passes for the visitor's hand.
        let loads = host.isolated ? 1 : 2;
        const loaded = new Promise((done) => page.on("load", () => --loads === 0 && done()));
        await page.goto(server.url + (host.fragment ?? ""));
        await loaded;
        await check(page, server);
        assert.deepEqual(page.problems, []);
    } finally {
        await page.context().close();
        await server.close();
    }
}

/** Waits until the service worker has all it keeps by itself. */
const kept = (page) => page.waitForFunction(() => performance.getEntriesByName("kept").length > 0);

const trains = (page) => page.waitForFunction(() => document.querySelector("#step-count")?.innerText.match(/[1-9]/));

const read = (page, path) => page.evaluate(async (path) => (await fetch(path)).text(), path);

for (const [name, host] of [["one that isolates", { isolated: true }], ["a plain one", {}]]) {
    test(`without its host, ${name}, it opens, trains on threads, and reads a drawing`, () =>
        visit(host, async (page, server) => {
            await kept(page);
            await server.close();
            await page.reload();
            await trains(page);
            assert.ok(await page.evaluate(() => crossOriginIsolated));
            assert.match(await page.locator("#threads").innerText(), /threads/);
            await page.waitForFunction(() => Number.parseFloat(document.querySelector("#test-accuracy").innerText) > 85);
            const { x, y, width, height } = await page.locator("#pad").boundingBox();
            // A plain 1.
            await page.mouse.move(x + width * 0.5, y + height * 0.15);
            await page.mouse.down();
            for (let share = 0.2; share < 0.9; share += 0.05) await page.mouse.move(x + width * 0.5, y + height * share);
            await page.mouse.up();
            await page.waitForFunction(() => document.querySelector("#answer").innerText.includes("1"));
            for (const path of ["manifest.webmanifest", "icons/icon.svg", "icons/icon-512.png", "engine/single/qnn_engine.js"]) {
                assert.ok(await page.evaluate(async (path) => (await fetch(path)).ok, path), path);
            }
        }));
}

test("the service worker lets the first step go before it", () =>
    visit({ isolated: true }, async (page) => {
        await kept(page);
        const [step, script] = await page.evaluate(() => [
            performance.getEntriesByName("first-step")[0].startTime,
            performance.getEntriesByName("kept")[0].startTime,
        ]);
        assert.ok(step < script);
    }));

test("where a browser has no service workers the page trains all the same", () =>
    visit({ isolated: true, prepare: () => delete Navigator.prototype.serviceWorker }, async (page) => {
        await trains(page);
        assert.equal(await page.evaluate(() => navigator.serviceWorker), undefined);
    }));

// A browser whose every core trains takes a minute until it looks for a new service worker.
const CALM = { isolated: true, fragment: "#paused" };

/** Gives `check` a folder with the page and some data that it does not keep by itself. */
async function withDeployment(check) {
    const folder = await mkdtemp(join(tmpdir(), "qnn-"));
    const deploy = () => execFileSync(DEV, ["offline"], { env: { ...process.env, TRUNK_STAGING_DIR: folder } });
    try {
        await cp(DIST, folder, { recursive: true, filter: (path) => !path.startsWith(join(DIST, "data")) });
        await mkdir(join(folder, "data"));
        await writeFile(join(folder, "data/used.gz"), "used");
        await writeFile(join(folder, "data/unused.gz"), "unused");
        deploy();
        await check(folder, deploy);
    } finally {
        await rm(folder, { recursive: true });
    }
}

/** Has the browser look for a new service worker, as it does at the next visit, and waits for what comes of it. */
const update = (page) =>
    page.evaluate(async () => {
        const registration = await navigator.serviceWorker.getRegistration();
        const worker = (await registration.update()).installing;
        if (!worker) return "no other";
        return new Promise((done) => {
            const tell = () => ["activated", "redundant"].includes(worker.state) && done(worker.state);
            worker.onstatechange = tell;
            tell();
        });
    });

test("a new deployment is taken whole or not at all, and what both have stays", () =>
    withDeployment((folder, deploy) =>
        visit({ ...CALM, folder }, async (page, server) => {
            await kept(page);
            assert.equal(await read(page, "data/used.gz"), "used");
            await page.evaluate(async () => {
                await caches.open(`qnn-playground ${document.baseURI} 1`);
                await caches.open("another page's");
            });
            // One half has arrived: the list names a worker.js that is not there yet.
            await appendFile(join(folder, "worker.js"), "// Another build.\n");
            await appendFile(join(folder, "manifest.webmanifest"), "\n");
            deploy();
            await cp(join(DIST, "worker.js"), join(folder, "worker.js"));
            assert.equal(await update(page), "redundant");
            // And now the other.
            await appendFile(join(folder, "worker.js"), "// Another build.\n");
            assert.equal(await update(page), "activated");
            assert.equal(await update(page), "no other");
            await server.close();
            assert.match(await read(page, "worker.js"), /Another build/);
            assert.match(await read(page, "manifest.webmanifest"), /\n\n$/);
            assert.equal(await read(page, "data/used.gz"), "used");
            await assert.rejects(read(page, "data/unused.gz"));
            // But for what the page keeps of a visitor's race.
            const names = (await page.evaluate(() => caches.keys())).filter((name) => !name.startsWith("qnn-kept "));
            assert.deepEqual(names.sort(), ["another page's", `qnn-playground ${server.url} 2`]);
            page.problems.length = 0; // The browser reports the file that could not be had.
        }),
    ));

test("before the new one is whole, the old one is what opens without a network", () =>
    withDeployment((folder, deploy) =>
        visit({ ...CALM, folder }, async (page, server) => {
            await kept(page);
            await appendFile(join(folder, "worker.js"), "// Another build.\n");
            deploy();
            await cp(join(DIST, "worker.js"), join(folder, "worker.js"));
            assert.equal(await update(page), "redundant");
            await server.close();
            await page.reload();
            await page.waitForFunction(() => document.querySelector("#threads")?.innerText.includes("threads"));
            assert.doesNotMatch(await read(page, "worker.js"), /Another build/);
        }),
    ));

test("it can be installed, and its icons are of the sizes that the manifest claims", async () => {
    const server = await serve({ isolated: true, at: "/some/where/" });
    const context = await launchProfile();
    try {
        const page = await context.newPage();
        await page.goto(server.url);
        const session = await context.newCDPSession(page);
        const { url, errors, data } = await session.send("Page.getAppManifest");
        assert.equal(url, `${server.url}manifest.webmanifest`);
        assert.deepEqual(errors, []);
        assert.deepEqual((await session.send("Page.getInstallabilityErrors")).installabilityErrors, []);
        const { icons } = JSON.parse(data);
        assert.ok(icons.some(({ purpose }) => purpose === "maskable"));
        icons.push({ src: await page.locator("link[rel=apple-touch-icon]").getAttribute("href"), sizes: "192x192" });
        for (const { src, sizes } of icons) {
            const size = await page.evaluate(async (src) => {
                const image = new Image();
                image.src = src;
                await image.decode();
                return `${image.naturalWidth}x${image.naturalHeight}`;
            }, src);
            if (sizes !== "any") assert.equal(size, sizes, src);
        }
    } finally {
        await context.close();
        await server.close();
    }
});
