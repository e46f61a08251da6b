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
    // They may be a hundred megabytes: a blob is handed on without its bytes.
    for (const set of ["train", "test"].flatMap((name) => answer.Read?.images[name] ?? [])) set.pixels = new Blob([set.pixels.Bytes]);
    postMessage(answer);
});
