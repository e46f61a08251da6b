// The worker of the engine: loads the build that this browser can run and starts it: with threads and relaxed SIMD, with
// threads, or without. The page hears `Ready` when the engine listens, or an error event when it cannot run at all.
// `worker.js?threads=N` asks for N threads, `&gpu` for a build with the GPU, `&build=single`, `threads`, `relaxed`, `gpu` or
// `single-gpu` for a build.

const asked = new URL(location).searchParams;
const threads = Number(asked.get("threads")) || Math.min(navigator.hardwareConcurrency || 1, 8);

// Modules of one function that gives a 128-bit vector: i32.const 0, i8x16.splat, and for relaxed SIMD another one and
// i8x16.relaxed_swizzle.
const SPLAT = [0x41, 0, 0xfd, 15];
const hasSimd = () => isValid(SPLAT);
const hasRelaxedSimd = () => isValid([...SPLAT, ...SPLAT, 0xfd, 0x80, 2]);

function isValid(instructions) {
    const body = [0, ...instructions, 11];
    const types = [1, 5, 1, 0x60, 0, 1, 0x7b];
    const functions = [3, 2, 1, 0];
    const code = [10, body.length + 2, 1, body.length, ...body];
    return WebAssembly.validate(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...types, ...functions, ...code]));
}

function bestBuild() {
    const withGpu = asked.has("gpu");
    const withThreads = crossOriginIsolated && threads > 1;
    if (withThreads && hasRelaxedSimd()) return withGpu ? "gpu" : "relaxed";
    if (withGpu) return "single-gpu";
    return withThreads ? "threads" : "single";
}

async function withThreads(build) {
    const engine = await import(`./engine/${build}/qnn_engine.js`);
    await engine.default();
    await Promise.race([engine.initThreadPool(threads), failAfter(10, "the threads did not start")]);
    engine.start(threads);
}

async function withoutThreads() {
    const engine = await import(`./engine/${asked.has("gpu") ? "single-gpu" : "single"}/qnn_engine.js`);
    await engine.default();
    engine.start(1);
}

function failAfter(seconds, message) {
    return new Promise((_, reject) => setTimeout(() => reject(new Error(message)), seconds * 1000));
}

// A rejection that nobody awaits would stay in this worker; an error reaches the page.
addEventListener("unhandledrejection", ({ reason }) => reportError(reason));

try {
    if (!hasSimd()) throw new Error("this browser's WebAssembly has no SIMD; a newer one has");
    const build = asked.get("build") ?? bestBuild();
    if (build.startsWith("single")) {
        await withoutThreads();
    } else {
        try {
            await withThreads(build);
        } catch (error) {
            // Phones refuse the shared memory; what else goes wrong here need not stop the visitor either.
            console.warn("The engine runs on one thread:", error);
            await withoutThreads();
        }
    }
} catch (error) {
    reportError(new Error(`The engine could not start: ${error.message ?? error}`));
}
