// axe-core, with all its rules, over each view of the built page: as it opens, then each tab, then all that unfolds, then
// a step of the tour; at the width of a desk and of a phone, light, dark, and in forced colours. It says nothing of how the
// page is to use.

import assert from "node:assert/strict";
import { test } from "node:test";
import axe from "axe-core";
import { open, site } from "./support.mjs";

const here = site();

/** A table of four images of a pixel each. */
const TABLE = "label,pixel\nlight,9\nlight,8\ndark,250\ndark,255\n";

/** Adds what axe finds in the page as it is now, a line for each element, to what it `found` before in other views. */
async function check(page, view, found) {
    const violations = await page.evaluate(async () => {
        // Those too that are off unless asked for: experimental ones and those of level AAA.
        const rules = Object.fromEntries(axe.getRules().map(({ ruleId }) => [ruleId, { enabled: true }]));
        return (await axe.run(document, { rules, resultTypes: ["violations"] })).violations;
    });
    for (const { id, nodes } of violations) {
        for (const { target, failureSummary } of nodes) {
            const line = `${id}: ${target}: ${failureSummary.split("\n").slice(1).join(";")}`;
            if (!found.has(line)) found.set(line, view);
        }
    }
}

/** Checks the page, and then all that is folded away in it. */
async function checkView(page, view, found) {
    await check(page, view, found);
    const folded = page.locator("details:not([open]) > summary:visible");
    if ((await folded.count()) === 0) return;
    while ((await folded.count()) > 0) await folded.first().click();
    await check(page, `${view}, unfolded`, found);
}

for (const [width, height] of [[1280, 800], [390, 844]]) {
    for (const [name, looks] of [
        ["light", { colorScheme: "light" }],
        ["dark", { colorScheme: "dark" }],
        ["forced colours", { forcedColors: "active" }],
    ]) {
        test(`axe finds nothing at ${width} pixels, ${name}`, async () => {
            const page = await open(here.browser, here.server.url, { viewport: { width, height }, ...looks });
            try {
                // Trained a little, so that there is something in every figure, and then at rest.
                await page.waitForFunction(() => Number.parseFloat(document.querySelector("#test-accuracy")?.innerText) > 50);
                await page.locator("#train").click();
                await page.evaluate(axe.source);
                const found = new Map();
                await checkView(page, "as it opens", found);
                for (const tab of await page.locator("[role=tab]").all()) {
                    await tab.click();
                    if (await page.locator("#roofline").isVisible()) {
                        await page.locator("#roofline > summary").click();
                        await page.locator("#measure-roofline").click();
                        await page.locator(".roofline").waitFor();
                    }
                    await checkView(page, await tab.innerText(), found);
                }
                await page.locator("#tour").click();
                await page.locator("#lesson input").first().check();
                await checkView(page, "the tour", found);
                await page.locator("#files").setInputFiles([{ name: "images.csv", mimeType: "text/csv", buffer: Buffer.from(TABLE) }]);
                await page.locator("#use-import").waitFor();
                await checkView(page, "the preview of files", found);
                assert.deepEqual([...found].map(([line, view]) => `${view}: ${line}`), []);
            } finally {
                await page.context().close();
            }
        });
    }
}
