// Our own engine as a contender: a worker of the built page in a page of its own, asked to time one thing after another.

import { BLANK, open } from "../browser/support.mjs";

/** Starts an engine of `build` ("single", "threads", "relaxed") with `threads` threads. */
export async function openEngine(browser, url, { build, threads }) {
    const page = await open(browser, url + BLANK);
    await page.evaluate(
        ({ build, threads }) =>
            new Promise((resolve, reject) => {
                window.engine = new Worker(`worker.js?threads=${threads}&build=${build}`, { type: "module" });
                window.engine.onmessage = ({ data }) =>
                    data.Ready && (data.Ready.threads === threads ? resolve() : reject(new Error(`runs on ${data.Ready.threads} threads`)));
                window.engine.onerror = ({ message }) => reject(new Error(message));
            }),
        { build, threads },
    );
    const ask = (message, answer) =>
        page.evaluate(
            ([message, answer]) =>
                new Promise((resolve, reject) => {
                    window.engine.onmessage = ({ data }) => data[answer] && resolve(data[answer]);
                    window.engine.onerror = ({ message }) => reject(new Error(message));
                    window.engine.postMessage(message);
                }),
            [message, answer],
        );
    return {
        /** What a run takes in milliseconds, the mean over `milliseconds` or more, and its multiply-accumulates. */
        measure: (subject, milliseconds = 60) => ask({ Measure: { subject, milliseconds, again: true } }, "Measured"),
        /** The names of the kernels. */
        kernels: async () => (await ask("ListKernels", "Kernels")).names,
        page,
        close: () => page.context().close(),
    };
}
