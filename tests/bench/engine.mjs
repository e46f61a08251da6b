// Our own engine as a contender: a worker of the built page in a page of its own, asked to time one thing after another.

import { BLANK, open } from "../browser/support.mjs";

/**
 * Starts an engine of `build` ("single", "threads", "relaxed") with `threads` threads.
 * `measure(subject, milliseconds)`: what a run takes in milliseconds, and its multiply-accumulates.
 */
export async function openEngine(browser, url, { build, threads }) {
    const page = await open(browser, url + BLANK);
    await page.evaluate(
        ({ build, threads }) =>
            new Promise((resolve, reject) => {
                window.engine = new Worker(`worker.js?threads=${threads}&build=${build}`, { type: "module" });
                window.engine.onmessage = ({ data }) => (data.threads === threads ? resolve() : reject(new Error(`runs on ${data.threads} threads`)));
                window.engine.onerror = ({ message }) => reject(new Error(message));
            }),
        { build, threads },
    );
    const measure = (subject, milliseconds = 60) =>
        page.evaluate(
            (message) =>
                new Promise((resolve, reject) => {
                    window.engine.onmessage = ({ data }) => data.type === "Measured" && resolve(data);
                    window.engine.onerror = ({ message }) => reject(new Error(message));
                    window.engine.postMessage(message);
                }),
            { type: "Measure", subject, milliseconds },
        );
    return { measure, page, close: () => page.context().close() };
}
