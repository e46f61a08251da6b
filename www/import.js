// The worker that reads and writes a visitor's files: takes `{ read: [{ path, file }] }` or
// `{ write: { checkpoint, format, classes } }`, and tells the page how far it is and what came of it. It does one thing once;
// ending the worker cancels.

import init, { read, refusal, write } from "./engine/import/qnn_import.js";

// A rejection that nobody awaits would stay in this worker; an error reaches the page.
addEventListener("unhandledrejection", ({ reason }) => reportError(reason));

addEventListener("message", async ({ data }) => {
    await init();
    postMessage(data.write ? written(data.write) : await found(data.read));
});

function written({ checkpoint, format, classes }) {
    return write(checkpoint, format, classes);
}

async function found(offered) {
    const refused = refusal(offered.reduce((bytes, { file }) => bytes + file.size, 0));
    if (refused) return refused;
    const files = [];
    for (const { path, file } of offered) {
        try {
            files.push({ path, bytes: new Uint8Array(await file.arrayBuffer()) });
        } catch {
            return { Unreadable: { name: path } };
        }
    }
    const answer = read(files, (fraction) => postMessage({ Progress: { fraction } }));
    // They may be a hundred megabytes: a blob is handed on without its bytes.
    for (const set of ["train", "test"].flatMap((name) => answer.Read?.images[name] ?? [])) set.pixels = new Blob([set.pixels.Bytes]);
    return answer;
}
