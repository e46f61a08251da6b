// ONNX Runtime Web on WebAssembly; it does not train.

import { networkModel, productModel } from "./onnx.js";
import { script } from "./page.js";

const FOLDER = "/node_modules/onnxruntime-web/dist/";

export async function start({ threads }) {
    await script(`${FOLDER}ort.wasm.min.js`);
    // The server knows no type for .mjs, which a module must have: hand it over as a blob.
    const glue = await (await fetch(`${FOLDER}ort-wasm-simd-threaded.mjs`)).text();
    const { env, InferenceSession, Tensor } = ort;
    env.wasm.numThreads = threads;
    env.wasm.wasmPaths = {
        mjs: URL.createObjectURL(new Blob([glue], { type: "text/javascript" })),
        wasm: new URL(`${FOLDER}ort-wasm-simd-threaded.wasm`, location).href,
    };
    const sessions = new Map();
    return {
        // Both matrices are constants, so that neither is copied in at each run and `b` is packed beforehand; only
        // one number of the product is copied out. Without optimizations, for they would multiply once and for all.
        async product(a, b, shape) {
            const options = { graphOptimizationLevel: "disabled" };
            const session = await InferenceSession.create(productModel(a, b, shape), options);
            return async () => (await session.run({})).first.data[0];
        },
        async answer(sizes, layers, pixels, images, precision) {
            const key = `${sizes} ${precision}`;
            if (!sessions.has(key)) {
                sessions.set(key, await InferenceSession.create(networkModel(layers(), precision)));
            }
            const session = sessions.get(key);
            return async () => {
                const input0 = new Tensor("float32", pixels, [images, sizes[0]]);
                return (await session.run({ input0 })).logits.data;
            };
        },
    };
}
