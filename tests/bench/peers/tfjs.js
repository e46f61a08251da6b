// TensorFlow.js on one of its backends. Its kernels on WebAssembly and in JavaScript are done when they return.

import { script } from "./page.js";

const FOLDER = "/node_modules/@tensorflow/";

export async function start({ backend, threads }) {
    await script(`${FOLDER}tfjs/dist/tf.min.js`);
    if (["wasm", "webgpu"].includes(backend)) {
        await script(`${FOLDER}tfjs-backend-${backend}/dist/tf-backend-${backend}.min.js`);
    }
    if (backend === "wasm") {
        tf.wasm.setWasmPaths(`${FOLDER}tfjs-backend-wasm/dist/`);
        // It takes half of what the browser says there is, at most.
        Object.defineProperty(navigator, "hardwareConcurrency", { value: 2 * threads });
        tf.wasm.setThreadsCount(threads);
        if (threads === 1) tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
    }
    if (!(await tf.setBackend(backend))) throw new Error(`the backend ${backend} does not start`);
    tf.enableProdMode();
    // Runs `compute` and gives the numbers it ends in; all else is freed.
    const read = async (compute) => {
        const result = tf.tidy(compute);
        const data = await result.data();
        result.dispose();
        return data;
    };
    const resident = ({ inputs, outputs, weights, bias }) => ({
        weights: tf.tensor2d(weights, [inputs, outputs]),
        bias: tf.tensor1d(bias),
    });
    const networks = new Map();
    return {
        async product(a, b, [rows, inner, columns]) {
            const [left, right] = [tf.tensor2d(a, [rows, inner]), tf.tensor2d(b, [inner, columns])];
            return async () => (await read(() => tf.slice(tf.matMul(left, right), [0, 0], [1, 1])))[0];
        },
        async answer(sizes, layers, pixels, images) {
            const key = String(sizes);
            if (!networks.has(key)) networks.set(key, layers().map(resident));
            const network = networks.get(key);
            return () =>
                read(() =>
                    network.reduce((values, { weights, bias }, layer) => {
                        const activation = layer < network.length - 1 ? "relu" : "linear";
                        return tf.fused.matMul({ a: values, b: weights, bias, activation });
                    }, tf.tensor2d(pixels, [images, sizes[0]])),
                );
        },
        async train(layers, pixels, targets, images) {
            const variables = layers.map((layer) => {
                const { weights, bias } = resident(layer);
                return { weights: tf.variable(weights), bias: tf.variable(bias) };
            });
            const optimizer = tf.train.adam(0.001);
            // Products of a transposed matrix miss the fast kernel on WebAssembly: with gradients as the library takes
            // them a step lasts six to twelve times as long. Transpose first, and spare the gradient of the pixels.
            const transposingProduct = (values, weights, isFirst) =>
                tf.customGrad((values, weights, save) => {
                    save([values, weights]);
                    return {
                        value: tf.matMul(values, weights),
                        gradFunc: (gradient, [values, weights]) => [
                            isFirst ? tf.zerosLike(values) : tf.matMul(gradient, tf.transpose(weights)),
                            tf.matMul(tf.transpose(values), gradient),
                        ],
                    };
                })(values, weights);
            const product = backend === "wasm" ? transposingProduct : (values, weights) => tf.matMul(values, weights);
            const forward = (x) =>
                variables.reduce((values, { weights, bias }, layer) => {
                    const sums = tf.add(product(values, weights, layer === 0), bias);
                    return layer < layers.length - 1 ? tf.relu(sums) : sums;
                }, x);
            const loss = () => {
                const x = tf.tensor2d(pixels, [images, layers[0].inputs]);
                const y = tf.tensor2d(targets, [images, layers.at(-1).outputs]);
                return tf.losses.softmaxCrossEntropy(y, forward(x));
            };
            return async () => (await read(() => optimizer.minimize(loss, true)))[0];
        },
    };
}
