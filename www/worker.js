// The worker of the engine: loads the build that this browser can run, with threads or without, and starts it.
// The page hears `Ready` when the engine listens, or an error event when it cannot run at all.
// `worker.js?threads=N` asks for N threads; 1 is the build without.

const asked = Number(new URL(location).searchParams.get("threads"));
const threads = asked || Math.min(navigator.hardwareConcurrency || 1, 8);

async function withThreads() {
    const engine = await import("./engine/threads/qnn_engine.js");
    await engine.default();
    await Promise.race([engine.initThreadPool(threads), failAfter(10, "the threads did not start")]);
    engine.start(threads);
}

async function withoutThreads() {
    const engine = await import("./engine/single/qnn_engine.js");
    await engine.default();
    engine.start(1);
}

function failAfter(seconds, message) {
    return new Promise((_, reject) => setTimeout(() => reject(new Error(message)), seconds * 1000));
}

// A module that returns one 128-bit vector.
function hasSimd() {
    const types = [1, 5, 1, 0x60, 0, 1, 0x7b];
    const functions = [3, 2, 1, 0];
    const code = [10, 8, 1, 6, 0, 0x41, 0, 0xfd, 15, 11]; // i32.const 0, i8x16.splat
    return WebAssembly.validate(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...types, ...functions, ...code]));
}

// A rejection that nobody awaits would stay in this worker; an error reaches the page.
addEventListener("unhandledrejection", ({ reason }) => reportError(reason));

try {
    if (!hasSimd()) throw new Error("this browser's WebAssembly has no SIMD; a newer one has");
    if (!crossOriginIsolated || threads === 1) {
        await withoutThreads();
    } else {
        try {
            await withThreads();
        } catch (error) {
            // Phones refuse the shared memory; what else goes wrong here need not stop the visitor either.
            console.warn("The engine runs on one thread:", error);
            await withoutThreads();
        }
    }
} catch (error) {
    reportError(new Error(`The engine could not start: ${error.message ?? error}`));
}
