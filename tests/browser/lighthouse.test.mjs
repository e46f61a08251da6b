// Lighthouse's figures of the built page, for a desk and for a phone on a slow network. Its phone is a model: it loads the
// page at full speed and computes how long a slow one would take.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import lighthouse from "lighthouse";
import desk from "lighthouse/core/config/desktop-config.js";
import { launch, serve } from "./support.mjs";

const CATEGORIES = ["performance", "accessibility", "best-practices"];
const LEAST = 0.95;
// Where the host is as fast as here, its model takes the program of the page, now and then, for a part of the first words.
const TRIES = 5; // What else the machine does can slow a run down or lose its trace, and never speeds it up.

/** A port that nobody uses. */
async function freePort() {
    const server = createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address();
    await new Promise((resolve) => server.close(resolve));
    return port;
}

/** Runs Lighthouse once, in a browser of its own. */
async function measure(url, config) {
    const port = await freePort();
    const browser = await launch([`--remote-debugging-port=${port}`]);
    try {
        return (await lighthouse(url, { port, onlyCategories: CATEGORIES, logLevel: "silent" }, config)).lhr;
    } finally {
        await browser.close();
    }
}

/** A category's figure, with the audits that keep it from being full. */
function* figures({ title, score, auditRefs }, audits) {
    yield `${title}: ${Math.round(score * 100)}`;
    for (const { id, weight } of auditRefs) {
        const { score, title, displayValue = "" } = audits[id];
        if (score !== null && score < 0.9) yield `    ${id}, weight ${weight}: ${title} ${displayValue}`;
    }
}

for (const [name, config] of [["a desk", desk], ["a phone", undefined]]) {
    test(`Lighthouse gives performance, accessibility and best practices at least ${LEAST * 100} of 100, for ${name}`, async (context) => {
        const server = await serve({ isolated: true });
        let lacking;
        try {
            for (let i = 0; i < TRIES && lacking?.length !== 0; i++) {
                const { runtimeError, categories, audits } = await measure(server.url, config);
                const all = Object.values(categories);
                for (const category of all) for (const line of figures(category, audits)) context.diagnostic(line);
                lacking = runtimeError ? [runtimeError.message] : all.filter(({ score }) => score < LEAST).map(({ title }) => title);
            }
        } finally {
            await server.close();
        }
        assert.deepEqual(lacking, []);
    });
}
