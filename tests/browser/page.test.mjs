// The built page as a visitor meets it: it trains by itself, its controls act, a drawing is answered, mistakes are said
// where they are made, an engine that dies is replaced, and nothing sticks out at any width.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accuracy, picture, site, steps, text, until } from "./support.mjs";

const { visit } = site();

/** Sets a range input to the position of a bit width. */
const slide = (page, id, position) => page.locator(`#${id}`).fill(String(position));

test("it trains by itself and learns", () =>
    visit(async (page) => {
        await until(async () => (await steps(page)) > 0, "it trains");
        await until(async () => (await accuracy(page)) > 80, "it reads four of five digits");
        assert.match(await text(page, "threads"), /threads/);
        assert.match(await text(page, "weight-bytes"), /32/);
        assert.ok((await page.locator("#test-strip canvas").count()) >= 10);
        assert.match(await page.locator("#chart").getAttribute("aria-label"), /\d/);
    }));

test("train, pause, one step, reset", () =>
    visit(
        async (page) => {
            await until(async () => /thread/.test(await text(page, "threads")), "the engine is ready");
            await page.locator("#step").click();
            await until(async () => (await steps(page)) === 1, "one step is trained");
            await page.locator("#train").click();
            await until(async () => (await steps(page)) > 20, "it trains");
            await page.locator("#train").click();
            await page.waitForTimeout(300);
            const paused = await steps(page);
            await page.waitForTimeout(500);
            assert.equal(await steps(page), paused);
            await page.locator("#reset").click();
            await until(async () => (await steps(page)) === 0, "it begins anew");
        },
        { path: "#paused" },
    ));

test("bits change in mid-training without losing what was learned", () =>
    visit(async (page) => {
        await until(async () => (await accuracy(page)) > 80, "it learns");
        const before = await steps(page);
        await slide(page, "weight-bits", 3);
        await slide(page, "activation-bits", 8);
        await slide(page, "gradient-bits", 4);
        await until(async () => (await steps(page)) > before + 120, "it goes on");
        assert.ok((await accuracy(page)) > 70);
        assert.match(await text(page, "weight-bytes"), /8 × smaller/);
    }));

test("what the machine has is told, and its roofline is measured and drawn while training goes on", () =>
    visit(async (page) => {
        await page.locator("#tab-machine").click();
        await until(async () => /with the relaxed instructions/.test(await text(page, "machine")), "SIMD is told");
        assert.match(await text(page, "machine"), /Processor\s+\d+ threads?.*WebGPU\s+\S/s);
        await page.locator("#roofline summary").first().click();
        await page.locator("#measure-roofline").click();
        await until(() => page.locator(".roofline svg[role=img]").isVisible(), "it is drawn");
        await picture(page, "roofline");
        assert.equal(await page.locator(".roofline path.roof").count(), 3);
        assert.equal(await page.locator(".roofline svg[role=img] path.point").count(), 9);
        const before = await steps(page);
        await until(async () => (await steps(page)) > before, "training goes on");
        await page.locator("#roofline details summary").click();
        const rows = await page.locator("#roofline tbody tr").all();
        const table = await Promise.all(rows.map((row) => row.locator("td").allInnerTexts()));
        const [popcount, , floats] = [0, 3, 6].map((first) => table.slice(first, first + 3).map((row) => row.map(Number.parseFloat)));
        // One image uses each weight once: of 4 bytes, or of an eighth of one.
        assert.ok(Math.abs(floats[0][1] - 0.25) < 0.01 && Math.abs(popcount[0][1] - 7.7) < 0.3, `${table}`);
        assert.ok(popcount[2][2] > floats[2][2], "signs are multiplied faster than floats");
        for (const [, , speed] of [...popcount, ...floats]) assert.ok(speed > 0, `${table}`);
    }));

test("kernels race, the page says how fast they are, and the visitor may overrule the race in mid-training", () =>
    visit(async (page) => {
        await page.locator("#tab-machine").click();
        await page.locator("#kernels summary").click();
        const speeds = await page.locator("#kernel-race tbody td:last-child").allInnerTexts();
        assert.equal(speeds.length, 5);
        assert.ok(speeds.every((speed) => Number(speed) > 0.1), speeds);
        const forward = page.locator("#kernels table:first-of-type tbody tr", { hasText: "activations by weights" });
        for (const [value, name] of [["popcount", "popcount"], ["multiply", "16-bit"], ["multiply-bytes", "8-bit"], ["lookup", "tables"]]) {
            await page.locator("#kernel").selectOption(value);
            await until(async () => (await forward.innerText()).includes(name), `${value} is in use`);
            const before = await steps(page);
            await until(async () => (await steps(page)) > before + 20, "it goes on");
        }
        await page.locator("#kernel").selectOption("fastest");
        // What cannot be multiplied as integers is not.
        await slide(page, "activation-bits", 8);
        await until(async () => (await forward.innerText()).includes("float32"), "floats are multiplied");
        assert.ok((await accuracy(page)) > 50);
    }));

test("a kernel that needs more memory than there is is refused, and the list says so", () =>
    visit(
        async (page) => {
            await page.locator("#tab-machine").click();
            await page.locator("#kernels summary").click();
            await page.locator("#hidden").fill("4096, 4096");
            await page.locator("#hidden").press("Enter");
            const race = page.locator("#kernel-race caption");
            await page.locator("#step").click();
            await until(async () => (await race.innerText()).includes("1024"), "the kernels race on the large network");
            await page.locator("#kernel").selectOption("multiply");
            await until(async () => /does not fit/.test(await text(page, "alert").catch(() => "")), "it is refused");
            assert.equal(await page.locator("#kernel").inputValue(), "fastest");
            // So is a network that is too large for any kernel, and the form says what is trained.
            await page.locator("#hidden").fill("8192, 8192, 8192");
            await page.locator("#hidden").press("Enter");
            await until(async () => (await page.locator("#hidden").inputValue()) === "4096, 4096", "the form is as it was");
            assert.match(await text(page, "alert"), /does not fit/);
        },
    ));

test("the rest of the paper is chosen in mid-training: a preset without floats, levels, rounding, dropout", () =>
    visit(async (page) => {
        await until(async () => (await accuracy(page)) > 70, "it learns");
        const goesOn = async (what) => {
            const before = await steps(page);
            await until(async () => (await steps(page)) > before + 30, what);
        };
        await page.locator("#preset").selectOption("all-integer");
        assert.equal(await page.locator("#gradient-bits").getAttribute("aria-valuetext"), "6 bits");
        assert.equal(await page.locator("#optimizer").inputValue(), "shift AdaMax");
        assert.match(await text(page, "energy"), /1\.17\sµJ/);
        await goesOn("all-integer trains on");
        await page.locator(".settings summary").click();
        await page.locator("#activation-rounding").selectOption("stochastic");
        await page.locator("#weight-levels").selectOption("logarithmic");
        await slide(page, "weight-bits", 2);
        assert.match(await text(page, "weight-bits-values"), /8 values: powers of two/);
        await page.locator("#hidden-dropout").fill("1");
        await page.locator("#hidden-dropout").press("Enter");
        assert.match(await text(page, "hidden-dropout-problem"), /below 1/);
        await page.locator("#hidden-dropout").fill("0,1");
        await page.locator("#hidden-dropout").press("Enter");
        await goesOn("it trains on");
        assert.ok((await accuracy(page)) > 50);
    }));

test("a drawing is answered, also while it trains, and an empty pad is not", () =>
    visit(async (page) => {
        await until(async () => (await accuracy(page)) > 85, "it learns");
        const { x, y, width, height } = await page.locator("#pad").boundingBox();
        // A plain 1.
        await page.mouse.move(x + width * 0.5, y + height * 0.15);
        await page.mouse.down();
        for (let share = 0.2; share < 0.9; share += 0.05) await page.mouse.move(x + width * 0.5, y + height * share);
        await page.mouse.up();
        await until(async () => /1/.test(await text(page, "answer")), "it reads the 1");
        await page.locator("#clear").click();
        await until(async () => !/\d/.test(await text(page, "answer")), "it guesses nothing");
    }));

test("settings that make no sense are refused where they are typed", () =>
    visit(async (page) => {
        for (const [id, wrong, right] of [
            ["learning-rate", "NaN", "0.01"],
            ["hidden", "512, 9000", "64"],
            ["hidden", "", "64"],
            ["batch-size", "1", "50"],
        ]) {
            const field = page.locator(`#${id}`);
            await field.fill(wrong);
            await field.press("Enter");
            assert.equal(await field.getAttribute("aria-invalid"), "true", `${id} ${wrong}`);
            assert.ok((await text(page, `${id}-problem`)).length > 10);
            await field.fill(right);
            await field.press("Enter");
            assert.notEqual(await field.getAttribute("aria-invalid"), "true");
        }
    }));

test("an engine that dies is replaced and goes on from where it was", () =>
    visit(async (page) => {
        await until(async () => (await steps(page)) > 120, "it trains");
        const engine = page.workers().find((worker) => worker.url().includes("worker.js"));
        await engine.evaluate(() => setTimeout(() => { throw new Error("killed by a test"); }));
        await until(async () => /killed by a test/.test(await text(page, "alert").catch(() => "")), "it is said");
        // From the checkpoint of step 100, not from the beginning.
        const first = await steps(page);
        assert.ok(first >= 100, `${first} steps`);
        await until(async () => (await steps(page)) > 150, "another goes on");
        assert.ok((await accuracy(page)) > 70);
    }));

test("everything has a name and can be reached by keyboard", () =>
    visit(
        async (page) => {
            await page.locator("#train").waitFor();
            const nameless = await page.evaluate(() => {
                const named = (element) =>
                    element.ariaLabel || element.labels?.length || element.innerText?.trim() || element.getAttribute("aria-labelledby");
                const all = [...document.querySelectorAll("button, input, select, canvas[tabindex], [role=img]")];
                return all.filter((element) => element.checkVisibility() && !named(element)).map((element) => element.outerHTML);
            });
            assert.deepEqual(nameless, []);
            const reached = new Set();
            for (let i = 0; i < 60; i++) {
                await page.keyboard.press("Tab");
                reached.add(await page.evaluate(() => document.activeElement.id));
            }
            for (const id of ["train", "step", "reset", "weight-bits", "activation-bits", "learning-rate", "pad", "data"]) {
                assert.ok(reached.has(id), `${id} is not reached by Tab`);
            }
            await page.locator("#weight-bits").focus();
            await page.keyboard.press("ArrowRight");
            assert.match(await text(page, "weight-bytes"), /16/);
        },
        { path: "#paused" },
    ));

for (const [width, height] of [[1440, 900], [820, 1180], [390, 844], [320, 640]]) {
    for (const colorScheme of ["light", "dark"]) {
        test(`nothing sticks out at ${width} pixels, ${colorScheme}`, () =>
            visit(
                async (page) => {
                    await until(async () => (await steps(page)) > 10, "it trains");
                    const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
                    assert.ok(content <= window, `${content} pixels of ${window}`);
                    if (process.env.QNN_SCREENSHOTS) {
                        await until(async () => (await accuracy(page)) > 90, "there is something to see");
                        await page.screenshot({ path: `${process.env.QNN_SCREENSHOTS}/${width}-${colorScheme}.png`, fullPage: true });
                    }
                },
                { viewport: { width, height }, colorScheme },
            ));
    }
}
