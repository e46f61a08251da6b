/// <reference lib="esnext.disposable" />

/** What a network is loaded from: an address, in Node also a path, the bytes themselves, or what has them. */
export type Source = string | URL | Uint8Array | ArrayBuffer | Blob | Response;

/**
 * Loads a packed network of the format qnn from a safetensors file.
 *
 * Rejects with an `Error` whose message says in a sentence what is wrong: a file that cannot be had, that is damaged, or
 * that holds no packed network.
 */
export function load(source: Source): Promise<Network>;

/** A network that answers. */
export interface Network {
    /** Pixels of an image. */
    readonly inputs: number;
    /** The names of the classes, in the order of their labels. */
    readonly classes: readonly string[];
    /**
     * Reads one image: `inputs` bytes, row by row, 0 for paper to 255 for ink.
     *
     * Throws an `Error` where there is another number of pixels or the network has been freed.
     */
    predict(pixels: Uint8Array | Uint8ClampedArray): Prediction;
    /** Gives the network's memory back; it happens by itself when the network is collected as garbage, but later. */
    free(): void;
    /** The same, at the end of a block that declares the network with `using`. */
    [Symbol.dispose](): void;
}

/** What a network reads in an image. */
export interface Prediction {
    /** The class of the largest logit, of equals the first: its place in `classes`. */
    label: number;
    /** The name of that class. */
    name: string;
    /** How much speaks for each class, in the order of `classes`. */
    logits: Float32Array;
}
