// On a host that only serves files, at any path, the service worker isolates the page and keeps it for offline use.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BLANK, firstMessage, launch, open, serve } from "./support.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Opens the page and counts how often it loads; gives it to `check`. */
async function visit(host, check) {
    const server = await serve({ at: "/some/where/", ...host });
    const page = await open(browser, "about:blank");
    let loads = 0;
    page.on("domcontentloaded", () => loads++);
    try {
        await page.goto(server.url);
        await check(page, server, () => loads);
    } finally {
        await page.context().close();
        await server.close();
    }
}

const isolated = (page) => page.waitForFunction(() => crossOriginIsolated && document.readyState === "complete");

test("a plain host's page is isolated from its second load on", async () => {
    await visit({}, async (page, server, loads) => {
        await isolated(page);
        assert.equal(loads(), 2);
        await page.reload();
        await isolated(page);
        assert.equal(loads(), 3, "it stays isolated without loading twice");
    });
});

test("and its engine has threads", async () => {
    await visit({}, async (page, server) => {
        await isolated(page);
        await page.goto(server.url + BLANK);
        assert.deepEqual(await firstMessage(page, "worker.js?threads=2"), { type: "Ready", threads: 2 });
    });
});

test("once loaded it opens without a network", async () => {
    await visit({}, async (page, server) => {
        await isolated(page);
        await page.waitForLoadState("networkidle");
        await page.goto(server.url + BLANK);
        await firstMessage(page, "worker.js?threads=2");
        await server.close();
        await page.goto(server.url);
        await isolated(page);
        await page.goto(server.url + BLANK);
        assert.deepEqual(await firstMessage(page, "worker.js?threads=2"), { type: "Ready", threads: 2 });
        assert.deepEqual(page.problems, []);
    });
});

test("where there is no service worker the page loads once and stays", async () => {
    await visit({ without: (path) => path === "service-worker.js" }, async (page, server, loads) => {
        await page.waitForTimeout(1500);
        assert.equal(loads(), 1);
        assert.equal(await page.evaluate(() => crossOriginIsolated), false);
    });
});

test("a host that isolates by itself gets no service worker", async () => {
    await visit({ isolated: true }, async (page, server, loads) => {
        await isolated(page);
        assert.equal(loads(), 1);
        assert.equal(await page.evaluate(async () => (await navigator.serviceWorker.getRegistrations()).length), 0);
    });
});
