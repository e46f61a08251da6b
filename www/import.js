// The worker that reads a visitor's files: takes an array of `{ path, file }`, and tells the page how far it is and what came
// of it. It reads once; ending the worker cancels.

import init, { read, refusal } from "./engine/import/qnn_import.js";

// A rejection that nobody awaits would stay in this worker; an error reaches the page.
addEventListener("unhandledrejection", ({ reason }) => reportError(reason));

addEventListener("message", async ({ data }) => {
    await init();
    const refused = refusal(data.reduce((bytes, { file }) => bytes + file.size, 0));
    if (refused) return postMessage(refused);
    const files = [];
    for (const { path, file } of data) {
        try {
            files.push({ path, bytes: new Uint8Array(await file.arrayBuffer()) });
        } catch {
            return postMessage({ Unreadable: { name: path } });
        }
    }
    const answer = read(files, (fraction) => postMessage({ Progress: { fraction } }));
    const { train, test } = answer.Read?.images ?? {};
    // Moved, not copied: they may be a hundred megabytes.
    postMessage(answer, train ? [train, test].flatMap(({ pixels, labels }) => [pixels.buffer, labels.buffer]) : []);
});
