// The npm package in Node, asked by `./dev anywhere`: node.mjs FOLDER TIMED, in a project that has it installed.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { load } from "qnn-infer";

const [folder, timed] = process.argv.slice(2);
const images = await readFile(join(folder, "images.bin"));
const network = await load(join(folder, "network.safetensors"));
const image = (index) => images.subarray(index * network.inputs, (index + 1) * network.inputs);
const count = images.length / network.inputs;
await writeFile(join(folder, "node.answers"), Uint8Array.from({ length: count }, (_, index) => network.predict(image(index)).label));
const times = Array.from({ length: Number(timed) }, (_, index) => {
    const began = performance.now();
    network.predict(image(index));
    return 1e3 * (performance.now() - began);
});
console.log(JSON.stringify({ node: times.sort((a, b) => a - b)[times.length >> 1] }));
