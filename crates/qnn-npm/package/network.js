// What the package does wherever it runs: bytes from whatever they come in, and the network in them.

import { PackedNetwork } from "./qnn_npm.js";

class Network {
    #packed;
    #classes;

    constructor(file) {
        this.#packed = new PackedNetwork(file);
        this.#classes = Object.freeze(classNames(file, this.#packed.classes()));
    }

    get #alive() {
        if (!this.#packed) throw new Error("This network has been freed; load it again.");
        return this.#packed;
    }

    get inputs() {
        return this.#alive.inputs();
    }

    get classes() {
        return this.#classes;
    }

    predict(pixels) {
        // Numbers of other types would become bytes silently: all ink from 0 to 1 is paper then.
        const type = ArrayBuffer.isView(pixels) && pixels[Symbol.toStringTag];
        if (type !== "Uint8Array" && type !== "Uint8ClampedArray") {
            throw new TypeError("The pixels of an image must be a Uint8Array: one byte a pixel, 0 for paper to 255 for ink.");
        }
        const logits = new Float32Array(this.#classes.length);
        const label = this.#alive.predict(pixels, logits);
        return { label, name: this.#classes[label], logits };
    }

    free() {
        this.#packed?.free();
        this.#packed = undefined;
    }
}

if (Symbol.dispose) Network.prototype[Symbol.dispose] = Network.prototype.free;

/** The names of the classes, which the header of a safetensors file has among its metadata. */
function classNames(file, count) {
    let names;
    try {
        const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
        const { __metadata__: metadata } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
        names = JSON.parse(metadata.classes);
    } catch {
        // Said below.
    }
    if (!Array.isArray(names) || names.length !== count || !names.every((name) => typeof name === "string")) {
        throw new Error("The names of the classes in this file cannot be read; it is damaged.");
    }
    return names;
}

/** The bytes of what `load` takes; `read` gives those behind an address, or a response with them. */
async function bytes(source, read) {
    if (typeof source === "string" || source instanceof URL) source = await read(source);
    if (source instanceof Response && !source.ok) {
        throw new Error(`The network could not be fetched: ${source.url} answers with status ${source.status}.`);
    }
    if (source instanceof Response || source instanceof Blob) source = await source.arrayBuffer();
    if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    if (source instanceof ArrayBuffer) return new Uint8Array(source);
    throw new TypeError("A network is loaded from an address, a path (in Node), bytes, a File, a Blob or a Response.");
}

/** Makes `load` of a way to start the WebAssembly module, once, and of a way to read addresses. */
export function loader(start, read) {
    let started;
    return async (source) => {
        started ??= start();
        try {
            await started;
        } catch (error) {
            started = undefined; // Perhaps there is a network the next time.
            throw error;
        }
        return new Network(await bytes(source, read));
    };
}
