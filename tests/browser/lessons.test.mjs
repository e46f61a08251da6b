// The guided tour, by keyboard alone: each of its six steps has a formula, sets the playground to a race that shows it, asks
// what the visitor expects, and then tells what to look for and what is measured.

import assert from "node:assert/strict";
import { test } from "node:test";
import { site, text, until } from "./support.mjs";

const { visit } = site();

/** Waits until this step of the tour is open. */
const isAt = (page, step) => until(async () => (await text(page, "lesson-step")) === `Step ${step} of 6`, `step ${step} is open`);

/** Where the keyboard is: the id of the element, or the name of a radio button. */
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.name || "");

/** Presses Tab until the keyboard is there. */
async function tabTo(page, where) {
    for (let i = 0; i < 12; i++) {
        if ((await focused(page)) === where) return;
        await page.keyboard.press("Tab");
    }
    assert.equal(await focused(page), where);
}

// Of each step: the networks by the beginnings of their names, the tab, and what the settings of the chosen network say.
const STEPS = [
    { networks: ["1-bit", "float32"], tab: "tab-costs", measured: /1-bit.*float32.*%/ },
    { networks: ["1-bit"], tab: "tab-bits", layer: "1", measured: /signs of layer 2/ },
    { networks: ["1-bit", "1-bit"], tab: "tab-bits", layer: "1", normalization: "shift", measured: /shift-based.*%/ },
    { networks: ["1-bit"], tab: "tab-bits", layer: "0", measured: /signs of layer 1/ },
    { networks: ["1-bit", "1-bit"], tab: "tab-costs", gradient: "6 bits", measured: /G 6.*%/ },
    { networks: ["1-bit", "float32"], tab: "tab-machine", gradient: "6 bits", measured: /1-bit.*float32.*images\/s/ },
];

test("the tour is walked by keyboard, and each step sets the playground", () =>
    visit(
        async (page) => {
            await until(async () => /thread/.test(await text(page, "threads")), "the engine is ready");
            await page.locator("#tour").focus();
            await page.keyboard.press("Enter");
            const headings = new Set();
            for (const [place, step] of STEPS.entries()) {
                const name = `step ${place + 1}`;
                await until(async () => (await focused(page)) === "lesson-heading", `the heading of ${name} has the focus`);
                await isAt(page, place + 1);
                headings.add(await text(page, "lesson-heading"));
                const formulas = await page.locator("#lesson math").evaluateAll((all) =>
                    all.map((math) => [math.namespaceURI, math.getAttribute("aria-label").length, math.getBoundingClientRect().width]),
                );
                assert.ok(formulas.length > 0, name);
                for (const [namespace, words, width] of formulas) {
                    assert.equal(namespace, "http://www.w3.org/1998/Math/MathML");
                    assert.ok(words > 10 && width > 20, `${name}: ${words} ${width}`);
                }

                await tabTo(page, "lesson-set");
                await page.keyboard.press("Enter");
                const networks = async () => (await page.locator("#leaderboard tbody th").allInnerTexts()).map((one) => one.trim());
                await until(async () => {
                    const now = await networks();
                    return now.length === step.networks.length && now.every((one, i) => one.startsWith(step.networks[i]));
                }, `${name} has its networks`);
                assert.equal(await page.locator("[role=tab][aria-selected=true]").getAttribute("id"), step.tab);
                if (step.layer) assert.equal(await page.locator("#layer").inputValue(), step.layer);
                if (step.normalization) {
                    assert.ok((await page.locator("#normalization").inputValue()).includes(step.normalization), name);
                }
                if (step.gradient) {
                    assert.equal(await page.locator("#gradient-bits").getAttribute("aria-valuetext"), step.gradient);
                }

                assert.equal(await page.locator("#lesson-here").count(), 0);
                await tabTo(page, "prediction");
                await page.keyboard.press("Space");
                assert.equal(await page.locator("#lesson input:checked").count(), 1);
                await until(async () => step.measured.test(await text(page, "lesson-here")), `${name} says what is measured`);

                await tabTo(page, place + 1 < STEPS.length ? "lesson-next" : "lesson-close");
                await page.keyboard.press("Enter");
            }
            assert.equal(headings.size, STEPS.length);
            await until(async () => (await focused(page)) === "tour", "the tour is over");
            assert.equal(await page.locator("#lesson").count(), 0);
        },
        { path: "#paused" },
    ));

test("a link leads to a step, which forgets what was expected when it is left", () =>
    visit(
        async (page) => {
            await isAt(page, 3);
            await page.locator("#lesson input").first().check();
            await page.locator("#lesson-here").waitFor();
            await page.locator("#lesson-back").click();
            await isAt(page, 2);
            assert.equal(await page.locator("#lesson input:checked").count(), 0);
            await page.locator("#share").click();
            assert.match(await page.locator("#link").inputValue(), /lesson=2/);
        },
        { path: "#paused&lesson=3" },
    ));

test("no step sticks out on a narrow phone", () =>
    visit(
        async (page) => {
            for (let step = 1; step <= 6; step++) {
                await isAt(page, step);
                await page.locator("#lesson input").first().check();
                await page.locator("#lesson-here").waitFor();
                const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
                assert.ok(content <= window, `step ${step}: ${content} pixels of ${window}`);
                const wide = await page.evaluate(() => {
                    const { right } = document.querySelector("#lesson .formulas").getBoundingClientRect();
                    return [...document.querySelectorAll("#lesson math *")].some((part) => part.getBoundingClientRect().right > right);
                });
                assert.ok(!wide, `the formula of step ${step} is too wide`);
                if (step < 6) await page.locator("#lesson-next").click();
            }
        },
        { path: "#paused&lesson=1", viewport: { width: 320, height: 640 } },
    ));
