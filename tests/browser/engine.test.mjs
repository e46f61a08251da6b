// The engine starts in its worker, on as many threads as the host and the browser allow.

import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { after, before, test } from "node:test";
import { BLANK, firstMessage, launch, open, serve } from "./support.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** What the engine of a host says first, in a browser without service workers. */
async function firstMessageFrom(host, script) {
    const server = await serve(host);
    try {
        const page = await open(browser, server.url + BLANK, { serviceWorkers: "block" });
        return await firstMessage(page, script);
    } finally {
        await server.close();
    }
}

test("on an isolated page it has the threads asked for", async () => {
    assert.deepEqual(await firstMessageFrom({ isolated: true }, "worker.js?threads=3"), { Ready: { threads: 3 } });
});

test("on an isolated page it has a thread for each core, up to eight", async () => {
    const { Ready } = await firstMessageFrom({ isolated: true });
    assert.equal(Ready.threads, Math.min(availableParallelism(), 8));
});

test("on an isolated page it can be asked for one thread", async () => {
    const host = { isolated: true, without: (path) => /^engine\/(threads|relaxed)\//.test(path) };
    assert.deepEqual(await firstMessageFrom(host, "worker.js?threads=1"), { Ready: { threads: 1 } });
});

test("on a page that is not isolated it has one thread", async () => {
    assert.deepEqual(await firstMessageFrom({}), { Ready: { threads: 1 } });
});

test("where the threads cannot start it has one thread", async () => {
    const host = { isolated: true, without: (path) => /^engine\/(threads|relaxed)\/snippets\//.test(path) };
    assert.deepEqual(await firstMessageFrom(host, "worker.js?threads=2"), { Ready: { threads: 1 } });
});

test("where it cannot start at all the page hears an error", async () => {
    const host = { without: (path) => path.startsWith("engine/") };
    await assert.rejects(firstMessageFrom(host), /The engine could not start/);
});
