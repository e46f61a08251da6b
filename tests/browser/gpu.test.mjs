// The GPU as a visitor meets it, on Chromium's software adapter: what the page says of it, training that moves there and back,
// a GPU that dies, a comparison that is cancelled, and browsers that have none.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLANK, launch, open, serve, SOFTWARE_WEBGPU, steps, text, until } from "./support.mjs";

/** Opens the page in a browser of its own with these flags, and then asks that it had no errors to report. */
async function visit(flags, check, { host = (url) => url, isolated = true, engine } = {}) {
    const server = await serve({ isolated });
    const browser = await launch(flags);
    try {
        const page = await open(browser, server.url + BLANK);
        if (engine) {
            const headers = { "content-type": "text/javascript", "cross-origin-embedder-policy": "require-corp" };
            await page.route("**/worker.js", (route) => route.fulfill({ headers, body: engine }));
        }
        await page.goto(`${host(server.url)}#look=machine&paused`);
        await check(page, browser);
        assert.deepEqual(page.problems, []);
    } finally {
        await browser.close();
        await server.close();
    }
}

/** A worker that answers a comparison as the engine of a visitor with a GPU might. */
const STAND_IN = `
const times = (kernel, milliseconds, correct) => ({ kernel, milliseconds: [milliseconds], correct });
const report = {
    adapter: "a stand-in", isSoftware: false, byTimestamps: false, limits: [1000, 100],
    trials: [
        {
            trial: { network: { layers: [784, 4096, 4096, 4096, 10], images: 10000 } }, agree: false,
            kernels: [times("planes", 10, 9431), times("naive", 120, 9431), times("tiled", 30, 9430)],
        },
        {
            trial: { product: { side: 8192 } }, agree: true, packing: [3],
            kernels: [times("planes", 20), times("naive", 500), times("tiled", 80)],
        },
    ],
    training: [{ hidden: [512, 512, 512], batchSize: 100, gpu: 20000, processor: 5000 }],
};
onmessage = ({ data }) => data === "CompareGpu" && postMessage({ Compared: { report } });
postMessage({ Ready: { threads: 1 } });
postMessage({ Gpu: { state: { Present: { adapter: "a stand-in", isSoftware: false } } } });
`;

/** Trains a small network, and moves it to the GPU when it has trained some steps. */
async function moveToGpu(page) {
    await until(() => page.locator("#backend").isVisible(), "there is a GPU");
    for (const [field, value] of [["batch-size", "10"], ["hidden", "16"]]) {
        await page.locator(`#${field}`).fill(value);
        await page.keyboard.press("Enter");
    }
    await page.locator("#train").click();
    await until(async () => (await steps(page)) > 20, "it trains");
    await page.locator("#backend").selectOption("gpu");
    await until(async () => /trains on the GPU/.test(await text(page, "backend-note")), "it trains on the GPU");
    await trainsOn(page);
}

async function trainsOn(page) {
    const from = await steps(page);
    await until(async () => (await steps(page)) > from + 10, "training goes on");
}

test("training moves to the GPU and back, and the page says what it runs on", () =>
    visit(SOFTWARE_WEBGPU, async (page) => {
        await moveToGpu(page);
        assert.match(await text(page, "gpu-about"), /adapter: .*swiftshader.*no GPU but a program/i);
        await page.locator("#train").click();
        await until(async () => /Paused at step/.test(await text(page, "status")), "it pauses");
        const paused = await steps(page);
        await page.locator("#step").click();
        await until(async () => (await steps(page)) === paused + 1, "one step is trained");
        await page.locator("#train").click();
        await trainsOn(page);
        // Another page in front of it.
        const other = await page.context().newPage();
        await other.bringToFront();
        await trainsOn(page);
        await other.close();
        await page.locator("#backend").selectOption("processor");
        await until(async () => /middle of training/.test(await text(page, "backend-note")), "it trains on the processor");
        await trainsOn(page);
        assert.equal(await text(page, "alert"), "");
    }));

test("when the GPU dies, training goes on with the processor and the page says so", () =>
    visit(SOFTWARE_WEBGPU, async (page, browser) => {
        await moveToGpu(page);
        const reached = await steps(page);
        const devtools = await browser.newBrowserCDPSession();
        await devtools.send("Browser.crashGpuProcess").catch(() => {});
        await until(async () => /The GPU was lost.*goes on with the processor/s.test(await text(page, "alert")), "the loss is said");
        await trainsOn(page);
        assert.ok((await steps(page)) > reached / 2, "nearly all that was learned stays");
        assert.equal(await page.locator("#backend").inputValue(), "processor");
        // A new one comes up when it is asked for.
        await page.locator("#backend").selectOption("gpu");
        await until(async () => /trains on the GPU/.test(await text(page, "backend-note")), "it trains on the GPU again");
        await trainsOn(page);
    }));

test("a comparison shows how far it is and can be cancelled, and training goes on", () =>
    visit(SOFTWARE_WEBGPU, async (page) => {
        await until(() => page.locator("#compare").isVisible(), "there is a GPU");
        await page.locator("#train").click();
        await trainsOn(page);
        await page.locator("#compare").click();
        await until(() => page.locator("#comparing").isVisible(), "it compares");
        await until(async () => /Train/.test(await text(page, "train")), "training pauses");
        await page.locator("#compare").click();
        await until(async () => !(await page.locator("#comparing").isVisible()), "it has been cancelled");
        assert.equal(await page.evaluate(() => document.activeElement.id), "compare");
        await trainsOn(page);
    }));

test("what a comparison has shown is drawn beside the paper's figures, and told in full", () =>
    visit(
        [],
        async (page) => {
            await until(() => page.locator("#compare").isVisible(), "there is a GPU");
            await page.locator("#compare").click();
            await until(() => page.locator(".speed-ups").isVisible(), "there is a chart");
            const chart = page.locator(".speed-ups svg");
            const said = await chart.getAttribute("aria-label");
            assert.match(said, /A network reads digits, against naive float32: 12 times as fast here, 7 times in the paper/);
            assert.match(said, /A large product, against the best float32: 4 times as fast here, 3.4 times in the paper/);
            // Twice as fast is as far from once as four times is from twice.
            const [network, paper] = await chart.locator("rect").evaluateAll((bars) => bars.map((bar) => bar.width.baseVal.value));
            assert.ok(Math.abs(network / paper - Math.log2(12) / Math.log2(7)) < 0.01, `${network} ${paper}`);
            await page.locator("#gpu summary").click();
            const figures = await text(page, "gpu");
            assert.match(figures, /Timed by the browser's clock/);
            assert.match(figures, /XNOR and a count of bits\s+10\s+36,806\s+9,431/);
            assert.match(figures, /The kernels do not agree/);
            assert.match(await page.locator(".disagreement").innerText(), /different answers/);
            assert.match(figures, /512-512-512\s+20,000\s+5,000/);
        },
        { engine: STAND_IN },
    ));

test("where there is no adapter the page says what to do, and trains", () =>
    visit([], async (page) => {
        await until(async () => /offers no GPU/.test(await text(page, "gpu-about")), "it is said");
        assert.equal(await page.locator("#backend").count(), 0);
        await page.locator("#train").click();
        await trainsOn(page);
    }));

test("where the address is not secure the page says so, and trains", () =>
    visit(
        [...SOFTWARE_WEBGPU, "--host-resolver-rules=MAP insecure.test 127.0.0.1"],
        async (page) => {
            await until(async () => /only to pages from https/.test(await text(page, "gpu-about")), "it is said");
            await page.locator("#train").click();
            await trainsOn(page);
        },
        { host: (url) => url.replace("localhost", "insecure.test"), isolated: false },
    ));
