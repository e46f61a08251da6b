// The package in Node: paths and addresses of files are read from the disk, other addresses fetched.

import { readFile } from "node:fs/promises";
import { loader } from "./network.js";
import init from "./qnn_npm.js";

const start = async () => init({ module_or_path: await readFile(new URL("./qnn_npm_bg.wasm", import.meta.url)) });

async function read(address) {
    const text = String(address);
    if (/^(https?|data|blob):/.test(text)) return fetch(text);
    return readFile(text.startsWith("file:") ? new URL(text) : text);
}

export const load = loader(start, read);
