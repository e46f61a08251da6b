// What there is to play with, as a visitor uses it: the race, the views below the chart, what is taught, shared, kept and taken.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { accuracy, open, picture, site, steps, text, until } from "./support.mjs";

const here = site();

/** Opens the page and waits until it stands. */
const visit = (check, options) =>
    here.visit(async (page) => {
        await page.locator("#leaderboard").waitFor();
        await check(page);
    }, options);

/** Two small networks, for what is not about their size. */
const SMALL = { path: "#race=mnist-128~mnist-128_w32_a32_g32" };
const rows = (page) => page.locator("#leaderboard tbody tr");
const cells = async (page, row) => (await rows(page).nth(row).locator("td").allInnerTexts()).map((cell) => cell.trim());
/** Draws a line across the pad through these places, the pad being 1 wide. */
async function draw(page, ...places) {
    await page.locator("#pad").scrollIntoViewIfNeeded();
    const { x, y, width, height } = await page.locator("#pad").boundingBox();
    await page.mouse.move(x + width * places[0][0], y + height * places[0][1]);
    await page.mouse.down();
    for (const [across, down] of places.slice(1)) {
        await page.mouse.move(x + width * across, y + height * down, { steps: 8 });
    }
    await page.mouse.up();
}
const SEVEN = [[0.25, 0.2], [0.75, 0.2], [0.45, 0.85]];

test("one bit races float32 from the start, on the same batches, and others join and leave", () =>
    visit(async (page) => {
        assert.equal(await rows(page).count(), 2);
        assert.match(await rows(page).nth(0).innerText(), /1-bit/);
        assert.match(await rows(page).nth(1).innerText(), /float32/);
        await until(async () => (await cells(page, 1))[0].includes("%"), "float32 is tested");
        const [binary, floats] = [await cells(page, 0), await cells(page, 1)];
        assert.match(binary[2], /83\.\d\sKB/);
        assert.match(floats[2], /2\.67\sMB/);
        await page.locator("#add-network").click();
        await until(async () => (await rows(page).count()) === 3, "another joins");
        assert.match(await rows(page).nth(2).innerText(), /2-bit/);
        // It comes up with the others, which wait for it.
        await until(async () => (await cells(page, 2))[0].includes("%"), "it is tested");
        for (let count = 4; count <= 5; count++) await page.locator("#add-network").click();
        assert.ok(await page.locator("#add-network").isDisabled());
        await until(async () => (await cells(page, 4))[0].includes("%"), "all five are tested");
        await picture(page, "race");
        await page.locator("input[value=seconds]").check();
        await page.waitForTimeout(300);
        await rows(page).nth(1).locator("input").check();
        assert.equal(await page.locator("#weight-bits").getAttribute("aria-valuetext"), "float32");
        await page.locator("#remove-network").click();
        assert.equal(await rows(page).count(), 4);
        const before = await steps(page);
        await until(async () => (await steps(page)) > before, "the others go on");
    }));

test("settings change for all networks or for the chosen one alone, and bits are each one's own", () =>
    visit(
        async (page) => {
            await page.locator("#learning-rate").fill("0.01");
            await page.locator("#learning-rate").press("Enter");
            await page.locator("#weight-bits").fill("1");
            await rows(page).nth(1).locator("input").check();
            assert.equal(await page.locator("#learning-rate").inputValue(), "0.01");
            assert.equal(await page.locator("#weight-bits").getAttribute("aria-valuetext"), "float32");
            await page.locator("#for-all").uncheck();
            await page.locator("#learning-rate").fill("0.003");
            await page.locator("#learning-rate").press("Enter");
            await page.locator("#batch-size").fill("50");
            await page.locator("#batch-size").press("Enter");
            await rows(page).nth(0).locator("input").check();
            assert.equal(await page.locator("#learning-rate").inputValue(), "0.01");
            assert.equal(await page.locator("#batch-size").inputValue(), "50");
        },
        { path: "#paused" },
    ));

test("the bits of a unit are seen: weights, floats behind them, flips, histogram, activations, XNOR, words", () =>
    visit(async (page) => {
        await page.locator("#tab-bits").click();
        await page.locator("#unit-weights").waitFor();
        await until(async () => /[1-9]/.test(await page.locator("#flips tbody tr:first-child td:first-of-type").innerText()), "signs flip");
        assert.equal(await page.locator("#unit-weights").getAttribute("width"), "28");
        assert.equal(await page.locator("#histogram rect").count(), 64);
        assert.equal(await page.locator("#activations canvas").count(), 2);
        assert.match(await text(page, "words"), /different words of 8 .*of 25,088|different words of 8/s);
        assert.match(await text(page, "panel"), /choose layer 2/);
        await page.locator("#layer").selectOption("1");
        await page.locator("#unit").fill("7");
        await until(async () => (await page.locator("#xnor").count()) === 1, "there are words to step through");
        await page.locator("#train").click();
        await page.waitForTimeout(500);
        const count = async () => text(page, "xnor-count");
        assert.match(await count(), /Word 1 of 16/);
        await page.getByRole("button", { name: "Next word" }).click();
        assert.match(await count(), /Word 2 of 16: .* of 64 agree/);
        await page.getByRole("button", { name: "All words" }).click();
        const [, agreed, sum, least, above, output] = (await count()).match(/(\d+) of 512 agree: .* = (-?\d+)\. .*from (-?\d+) on the output is ([+−]1)\..*says ([+−]1)/);
        assert.equal(2 * agreed - 512, Number(sum));
        assert.equal(output === above, Number(sum) >= Number(least));
        await draw(page, ...SEVEN);
        await until(async () => /your drawing/i.test(await text(page, "panel")), "the drawing's activations are shown");
        await picture(page, "bits");
    }));

test("mistakes are counted by class and answer, and a cell shows its images", () =>
    visit(async (page) => {
        await page.locator("#tab-mistakes").click();
        await until(async () => (await page.locator("#confusion tbody tr").count()) === 10, "there is a matrix");
        await until(async () => (await accuracy(page)) > 85, "it learns");
        await page.locator("#train").click();
        await page.waitForTimeout(500);
        const counts = (await page.locator("#confusion tbody button").allInnerTexts()).map(Number);
        assert.equal(counts.length, 100);
        assert.equal(counts.reduce((sum, count) => sum + count), 1000);
        const right = counts.filter((_, place) => place % 11 === 0).reduce((sum, count) => sum + count);
        assert.ok(Math.abs(right / 10 - (await accuracy(page))) < 0.1);
        assert.equal(await page.locator(".mistakes .test-strip .wrong").count(), Math.min(24, 1000 - right));
        const most = counts.map((count, place) => [place % 11 ? count : -1, place]).sort((a, b) => b[0] - a[0])[0];
        await page.locator("#confusion tbody button").nth(most[1]).click();
        await until(async () => (await page.locator(".mistakes .test-strip li").count()) === Math.min(24, most[0]), "its images are shown");
        await picture(page, "mistakes");
    }, SMALL));

test("costs are drawn beside 32 bits", () =>
    visit(
        async (page) => {
            await page.locator("#tab-costs").click();
            assert.match(await text(page, "costs-answer"), /83\.\d\sKB\s*32 × less/);
            assert.match(await text(page, "costs-training"), /XNOR|integers|floats/i);
            await picture(page, "costs");
        },
        { path: "#paused" },
    ));

test("the bit-width map fills in the background, and a cell's network joins the race", () =>
    visit(async (page) => {
        await page.locator("#hidden").fill("32");
        await page.locator("#hidden").press("Enter");
        await page.locator("#tab-map").click();
        await page.locator("#map-run").click();
        await until(async () => (await page.locator("#map button").count()) >= 1, "the first network is done");
        await page.locator("#tab-digits").click();
        await page.waitForTimeout(1500);
        await page.locator("#tab-map").click();
        await until(async () => (await page.locator("#map button").count()) >= 2, "it went on meanwhile");
        await picture(page, "map");
        const percent = Number.parseFloat(await page.locator("#map button").first().innerText());
        assert.ok(percent > 60, percent);
        await page.locator("#map button").first().click();
        await until(async () => (await rows(page).count()) === 3, "it joins");
        await until(async () => (await steps(page)) >= 600, "it goes on from what it has learned");
    }));

test("the pad has an eraser, undo and clear, and every network answers", () =>
    visit(async (page) => {
        await until(async () => (await accuracy(page)) > 85, "it learns");
        await draw(page, [0.5, 0.15], [0.5, 0.85]);
        await until(async () => (await page.locator("#answers strong").allInnerTexts()).every((answer) => answer === "1"), "both read a 1");
        await page.locator("#erase").click();
        await draw(page, [0.5, 0.05], [0.5, 0.95]);
        await until(async () => (await text(page, "answer")) === "?", "all is erased");
        await page.locator("#undo").click();
        await until(async () => /1/.test(await text(page, "answer")), "it is undone");
        await page.locator("#clear").click();
        await until(async () => (await text(page, "answer")) === "?", "it is cleared");
        await page.locator("#undo").click();
        await until(async () => /1/.test(await text(page, "answer")), "that is undone too");
        await picture(page, "pad");
    }, SMALL));

test("drawings are taught, a new class too, and networks learn from drawings alone", () =>
    visit(async (page) => {
        const teach = async (name, ...places) => {
            await page.locator("#clear").click().catch(() => {});
            await draw(page, ...places);
            await page.locator("#class").fill(name);
            await page.locator("#teach").click();
        };
        await until(async () => (await accuracy(page)) > 50, "it learns");
        await draw(page, ...SEVEN);
        await page.locator("#class").fill("7");
        await page.locator("#teach").click();
        await until(async () => /1 drawings/.test(await page.locator(".teach").innerText()), "it is taught");
        const before = await steps(page);
        await until(async () => (await steps(page)) > before + 20, "the networks go on");
        await teach("bar", [0.1, 0.5], [0.9, 0.5]);
        await until(async () => (await page.locator("#shares li").count()) === 11, "there is a new class");
        await until(async () => (await accuracy(page)) > 50, "it learns it");
        await page.locator("#clear").click();
        await draw(page, [0.1, 0.45], [0.9, 0.5]);
        await until(async () => (await text(page, "answer")) === "bar", "it knows a bar");
        await page.locator("#data").selectOption("drawings");
        await until(async () => (await page.locator("#shares li").count()) === 2, "only what was drawn is known");
        await until(async () => (await accuracy(page)) === 100, "both are learned");
        await picture(page, "taught");
    }, SMALL));

test("a link carries the race, and nonsense in it is said", () =>
    visit(async (page) => {
        await page.locator("#add-network").click();
        await page.locator("#hidden").fill("64");
        await page.locator("#hidden").press("Enter");
        await page.locator("#tab-costs").click();
        await page.locator("#share").click();
        const link = await page.locator("#link").inputValue();
        assert.ok(link.length < 200, link);
        await picture(page, "share");
        const other = await open(here.browser, link, { viewport: { width: 390, height: 844 } });
        await until(async () => (await rows(other).count()) === 3, "the race is there");
        assert.equal(await other.locator("#hidden").inputValue(), "64");
        assert.equal(await other.locator("#tab-costs").getAttribute("aria-selected"), "true");
        await until(async () => (await steps(other)) > 0, "it trains");
        await other.context().close();
        const wrong = await open(here.browser, `${here.server.url}#race=mnist-512_w9`);
        assert.match(await text(wrong, "alert"), /could not be read.*w9/);
        assert.equal(await rows(wrong).count(), 2);
        await wrong.context().close();
    }));

test("the chart, the measurements and a network are taken away as files", () =>
    visit(async (page) => {
        await until(async () => (await accuracy(page)) > 50, "there is something to take");
        await page.locator("#share").click();
        const take = async (name) => {
            const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
            return [download.suggestedFilename(), await readFile(await download.path())];
        };
        const [svgName, svg] = await take("Chart (SVG)");
        assert.equal(svgName, "qnn-chart.svg");
        assert.match(svg.toString(), /^<svg .*<polyline.*<\/svg>\n$/s);
        const [, png] = await take("Chart (PNG)");
        assert.equal(png.subarray(1, 4).toString(), "PNG");
        const [, csv] = await take("Measurements (CSV)");
        const lines = csv.toString().trim().split("\n");
        assert.equal(lines[0], "network,kind,step,seconds,epoch,loss,accuracy");
        assert.ok(lines.some((line) => /^"1-bit",test,/.test(line)) && lines.some((line) => /^"float32",training,/.test(line)));
        const [name, network] = await take("To go on training (safetensors)");
        assert.match(name, /^qnn-w1-a1-step\d+-training\.safetensors$/);
        assert.match(network.subarray(8, 200).toString(), /^\{"__metadata__":/);
    }, SMALL));

test("a race survives a reload, and can be discarded", () =>
    visit(async (page) => {
        await until(async () => (await steps(page)) > 220, "it learns");
        await draw(page, ...SEVEN);
        await page.locator("#class").fill("7");
        await page.locator("#teach").click();
        // It was taught before what is kept.
        const kept = () =>
            page.evaluate(async () => {
                for (const name of (await caches.keys()).filter((name) => name.startsWith("qnn-kept"))) {
                    const race = (await (await caches.open(name)).keys()).find(({ url }) => url.endsWith("/kept/race"));
                    if (race && (await (await (await caches.open(name)).match(race)).json()).drawings.length === 1) return true;
                }
                return false;
            });
        await until(kept, "it is kept");
        await page.reload();
        await page.locator("#resume").waitFor();
        await picture(page, "kept");
        await page.locator("#resume").click();
        await until(async () => (await steps(page)) > 150, "it goes on from where it was");
        await until(async () => (await accuracy(page)) > 80, "it knows what it knew");
        await until(async () => /1 drawings/.test(await page.locator(".teach").innerText()), "what was taught is there");
        await page.reload();
        await page.locator("#discard").click();
        assert.equal(await page.locator("#kept").count(), 0);
        await page.reload();
        await page.locator("#leaderboard").waitFor();
        await until(async () => (await steps(page)) > 0, "another race trains");
        assert.equal(await page.locator("#kept").count(), 0);
    }));

test("the page speaks Chinese where the browser does, and when asked", () =>
    visit(
        async (page) => {
            assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
            assert.match(await page.locator("#share").innerText(), /[\u4e00-\u9fff]/);
            await until(async () => (await steps(page)) > 0, "it trains");
            await picture(page, "chinese");
            await page.locator("#language").selectOption("en");
            assert.equal(await page.locator("#share").innerText(), "Share and save");
            await page.reload();
            assert.equal(await page.locator("html").getAttribute("lang"), "en");
        },
        { locale: "zh-CN" },
    ));

test("five networks race without a task of over 50 ms, and charts are drawn 60 times a second", (context) =>
    visit(async (page) => {
        for (let count = 3; count <= 5; count++) await page.locator("#add-network").click();
        await until(async () => (await cells(page, 4))[0].includes("%"), "all five are tested");
        const measure = () =>
            page.evaluate(async () => {
                const long = [];
                const observer = new PerformanceObserver((list) => long.push(...list.getEntries().map((entry) => entry.duration)));
                observer.observe({ type: "longtask" });
                let frames = 0;
                const began = performance.now();
                while (performance.now() - began < 3000) {
                    await new Promise(requestAnimationFrame);
                    frames++;
                }
                observer.disconnect();
                return [long.length, frames / 3];
            });
        // What else the machine does makes it no better: its best of some stretches counts.
        const stretches = [];
        for (let i = 0; i < 6 && !stretches.some(([long, frames]) => long === 0 && frames > 55); i++) {
            stretches.push(await measure());
        }
        context.diagnostic(`tasks of over 50 ms, and frames a second: ${JSON.stringify(stretches)}`);
        assert.ok(stretches.some(([long, frames]) => long === 0 && frames > 55), JSON.stringify(stretches));
    }));
