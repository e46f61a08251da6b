// jax-js on WebAssembly. Every use of an array consumes a reference to it: `.ref` keeps it for the next.

const ADAM = { rate: 0.001, first: 0.9, second: 0.999, epsilon: 1e-8 };

export async function start({ threads }) {
    // It looks for these two itself: with shared memory it splits each kernel among as many workers as there are
    // cores, without it computes on the page's own thread.
    if (threads === 1) globalThis.SharedArrayBuffer = undefined;
    Object.defineProperty(navigator, "hardwareConcurrency", { value: threads });
    const jax = await import("/node_modules/@jax-js/jax/dist/index.js");
    const { numpy: np, nn, tree } = jax;
    // Nothing is to be awaited without workers.
    const read = (array) => (threads === 1 ? array.dataSync() : array.data());
    // Output by output: a product with few rows is twice as fast if the inputs of an output lie side by side.
    const resident = ({ inputs, outputs, weights, bias }) => ({
        weights: np.array(
            Float32Array.from(weights, (_, at) => weights[(at % inputs) * outputs + Math.floor(at / inputs)]),
            { shape: [outputs, inputs] },
        ),
        bias: np.array(bias),
    });
    const forward = (network, x) =>
        network.reduce((values, { weights, bias }, layer) => {
            const sums = np.matmul(values, weights.transpose()).add(bias);
            return layer < network.length - 1 ? nn.relu(sums) : sums;
        }, x);
    const networks = new Map();
    return {
        async product(a, b, [rows, inner, columns]) {
            const left = np.array(a, { shape: [rows, inner] });
            const right = np.array(b, { shape: [inner, columns] });
            return async () => {
                const product = np.matmul(left.ref, right.ref);
                // First all of it, then a copy of one number: asked for at once, only that one would be computed.
                await product.blockUntilReady();
                return (await read(product.slice(0, 0)))[0];
            };
        },
        async answer(sizes, layers, pixels, images) {
            const key = String(sizes);
            if (!networks.has(key)) networks.set(key, layers().map(resident));
            const network = networks.get(key);
            const predict = jax.jit(forward);
            return async () => read(predict(tree.ref(network), np.array(pixels, { shape: [images, sizes[0]] })));
        },
        async train(layers, pixels, targets, images) {
            const loss = (network, x, y) =>
                nn.logSoftmax(forward(network, x)).mul(y).sum().mul(-1 / images);
            const { first, second, epsilon } = ADAM;
            const step = jax.jit((network, means, squares, rate, x, y) => {
                const [value, gradients] = jax.valueAndGrad(loss)(tree.ref(network), x, y);
                means = tree.map((m, g) => m.mul(first).add(g.mul(1 - first)), means, tree.ref(gradients));
                squares = tree.map((s, g) => s.mul(second).add(g.ref.mul(g).mul(1 - second)), squares, gradients);
                network = tree.map(
                    (p, m, s) => p.sub(m.mul(rate.ref).div(np.sqrt(s).add(epsilon))),
                    network,
                    tree.ref(means),
                    tree.ref(squares),
                );
                rate.dispose();
                return [value, network, means, squares];
            });
            let network = layers.map(resident);
            let means = tree.map((array) => np.zerosLike(array), tree.ref(network));
            let squares = tree.map((array) => np.zerosLike(array), tree.ref(network));
            let steps = 0;
            return async () => {
                steps++;
                const rate = (ADAM.rate * Math.sqrt(1 - second ** steps)) / (1 - first ** steps);
                let value;
                [value, network, means, squares] = step(
                    network,
                    means,
                    squares,
                    np.array([rate]),
                    np.array(pixels, { shape: [images, layers[0].inputs] }),
                    np.array(targets, { shape: [images, layers.at(-1).outputs] }),
                );
                if (threads > 1) await jax.blockUntilReady([network, means, squares]);
                return (await read(value))[0];
            };
        },
    };
}
