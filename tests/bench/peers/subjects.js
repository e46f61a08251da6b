// What is measured, and the numbers it is measured on: the same on every peer's page and on node's side.

export const SUBJECTS = {
    product: "product 1024x1024x1024",
    answerLarge: "answer 1 x 784-4096-4096-4096-10",
    answersLarge: "answer 256 x 784-4096-4096-4096-10",
    answerSmall: "answer 1 x 784-512-512-10",
    trainSmallBatch: "train 784-512-512-10 batch 100",
    trainLargeBatch: "train 784-512-512-10 batch 1000",
};

const numbers = (text) => text.split(/[x-]/).map(Number);

/** A subject taken apart: its `kind` with the `shape` of a product, or the `sizes` of a network and its `images`. */
export function parse(subject) {
    const [kind, ...words] = subject.split(" ");
    if (kind === "product") return { kind, shape: numbers(words[0]) };
    if (kind === "answer") return { kind, images: Number(words[0]), sizes: numbers(words[2]) };
    return { kind, images: Number(words[2]), sizes: numbers(words[0]) };
}

/** Numbers spread evenly between -bound and bound, the same at every call. */
export function random(length, bound, seed = 1) {
    let state = seed;
    return Float32Array.from({ length }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        return (state / 2 ** 31) * bound;
    });
}

/** Dense layers of such sizes: `weights` lie input by input, and keep the spread of what goes through them. */
export function network(sizes) {
    return sizes.slice(1).map((outputs, layer) => {
        const inputs = sizes[layer];
        return {
            inputs,
            outputs,
            weights: random(inputs * outputs, Math.sqrt(6 / inputs), layer + 1),
            bias: random(outputs, 0.1, layer + 100),
        };
    });
}

/** A batch: `pixels` from 0 to 1 and `targets`, a row of zeros with one 1 for each image. */
export function batch(images, [inputs], classes = 10) {
    const pixels = random(images * inputs, 1, 7).map(Math.abs);
    const targets = new Float32Array(images * classes);
    for (let image = 0; image < images; image++) targets[image * classes + ((image * 7) % classes)] = 1;
    return { pixels, targets };
}

/** What a network must answer, in plain JavaScript: dense layers with max(0, x) between them. */
export function answer(layers, pixels, images) {
    return layers.reduce((values, { inputs, outputs, weights, bias }, layer) => {
        const next = new Float32Array(images * outputs);
        for (let image = 0; image < images; image++) {
            for (let output = 0; output < outputs; output++) {
                let sum = bias[output];
                for (let input = 0; input < inputs; input++) {
                    sum += values[image * inputs + input] * weights[input * outputs + output];
                }
                next[image * outputs + output] = layer < layers.length - 1 ? Math.max(0, sum) : sum;
            }
        }
        return next;
    }, pixels);
}

/** The mean cross-entropy of logits against targets. */
export function crossEntropy(logits, targets, images) {
    const classes = logits.length / images;
    let sum = 0;
    for (let image = 0; image < images; image++) {
        const row = logits.subarray(image * classes, (image + 1) * classes);
        const total = row.reduce((total, value) => total + Math.exp(value), 0);
        const target = row[targets.subarray(image * classes, (image + 1) * classes).indexOf(1)];
        sum += Math.log(total) - target;
    }
    return sum / images;
}
