// On a host that only serves files, at any path, the service worker isolates the page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BLANK, firstMessage, launch, open, serve } from "./support.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** Opens the page and gives it to `check`, with `loaded(n)`, which waits until the page has loaded n times. */
async function visit(host, check) {
    const server = await serve({ at: "/some/where/", ...host });
    const page = await open(browser, "about:blank");
    let loads = 0;
    page.on("load", () => loads++);
    // Counted from outside: a script that the test runs in the page passes for the visitor's hand, and a page that the
    // visitor has begun to use does not load again.
    const loaded = async (n) => {
        for (let i = 0; i < 200 && loads < n; i++) await page.waitForTimeout(100);
        assert.equal(loads, n, "times loaded");
    };
    try {
        await page.goto(server.url);
        await check(page, loaded, server);
    } finally {
        await page.context().close();
        await server.close();
    }
}

const isIsolated = (page) => page.evaluate(() => crossOriginIsolated);

test("a plain host's page is isolated from its second load on", async () => {
    await visit({}, async (page, loaded) => {
        await loaded(2);
        assert.ok(await isIsolated(page));
        await page.reload();
        assert.ok(await isIsolated(page));
        await loaded(3);
    });
});

test("and its engine has threads", async () => {
    await visit({}, async (page, loaded, server) => {
        await loaded(2);
        await page.goto(server.url + BLANK);
        assert.deepEqual(await firstMessage(page, "worker.js?threads=2"), { Ready: { threads: 2 } });
    });
});

test("a page that the visitor has begun to use does not load again", async () => {
    let release;
    const begun = new Promise((resolve) => (release = resolve));
    const without = async (path) => void (path === "service-worker.js" && (await begun));
    await visit({ without }, async (page, loaded) => {
        await page.mouse.click(9, 9);
        release();
        await page.evaluate(async () => void (await navigator.serviceWorker.ready));
        await page.waitForTimeout(1000);
        await loaded(1);
    });
});

test("where there is no service worker the page loads once and stays", async () => {
    await visit({ without: (path) => path === "service-worker.js" }, async (page, loaded) => {
        await page.waitForTimeout(1500);
        await loaded(1);
        assert.equal(await isIsolated(page), false);
    });
});

test("a page that its host isolates does not load again", async () => {
    await visit({ isolated: true }, async (page, loaded) => {
        await page.evaluate(async () => void (await navigator.serviceWorker.ready));
        await page.waitForTimeout(1000);
        assert.ok(await isIsolated(page));
        await loaded(1);
    });
});
