// The frame of a peer's page: prepares a subject when it is first asked for, warms it up, and times it.

import { answer, batch, crossEntropy, network, parse, random } from "./subjects.js";

const WARM_UP = 500;
const TIMED = 60;

async function repeat(operation, milliseconds) {
    const began = performance.now();
    for (let operations = 1; ; operations++) {
        await operation();
        const passed = performance.now() - began;
        if (passed >= milliseconds) return passed / operations;
    }
}

/** Gives a function to call again and again: a product's first number, an answer's logits, or a step's loss. */
function prepare(library, subject, precision) {
    const { kind, shape, sizes, images } = parse(subject);
    if (kind === "product") {
        const [rows, inner, columns] = shape;
        return library.product(random(rows * inner, 1, 1), random(inner * columns, 1, 2), shape);
    }
    const { pixels, targets } = batch(images, sizes, sizes.at(-1));
    if (kind === "train") return library.train(network(sizes), pixels, targets, images);
    return library.answer(sizes, () => network(sizes), pixels, images, precision);
}

/** Throws unless the peer computes, on small sizes, what plain JavaScript does. */
async function check(library, precisions) {
    const near = (name, is, should, tolerance) => {
        if (!(Math.abs(is - should) <= tolerance)) throw new Error(`${name} gives ${is} instead of ${should}`);
    };
    const [a, b] = [random(8 * 16, 1, 1), random(16 * 8, 1, 2)];
    const first = a.subarray(0, 16).reduce((sum, value, index) => sum + value * b[index * 8], 0);
    near("product", await (await prepare(library, "product 8x16x8"))(), first, 1e-4);

    const sizes = [32, 64, 48, 10];
    const { pixels, targets } = batch(3, sizes);
    const logits = answer(network(sizes), pixels, 3);
    for (const precision of precisions) {
        const given = await (await prepare(library, `answer 3 x ${sizes.join("-")}`, precision))();
        const tolerance = precision === "f32" ? 1e-4 : 0.15;
        logits.forEach((logit, index) => near(`answer ${precision}`, given[index], logit, tolerance));
    }
    if (!library.train) return;
    const step = await prepare(library, `train ${sizes.join("-")} batch 3`);
    near("first loss", await step(), crossEntropy(logits, targets, 3), 1e-4);
    for (let count = 0; count < 200; count++) await step();
    near("last loss", await step(), 0, 0.1);
}

/** Loads a peer, checks it, and gives `measure(subject, precision)`: mean milliseconds of one operation. */
export async function start(module, { precisions, ...options }) {
    const library = await (await import(module)).start(options);
    await check(library, precisions);
    const operations = new Map();
    return {
        async measure(subject, precision) {
            const key = `${subject} ${precision}`;
            if (!operations.has(key)) {
                operations.set(key, await prepare(library, subject, precision));
                await repeat(operations.get(key), WARM_UP);
            }
            return repeat(operations.get(key), TIMED);
        },
    };
}

/** Loads a classic script. */
export function script(source) {
    return new Promise((resolve, reject) => {
        const onerror = () => reject(new Error(`${source} does not load`));
        const element = document.createElement("script");
        document.head.append(Object.assign(element, { src: source, onload: resolve, onerror }));
    });
}
