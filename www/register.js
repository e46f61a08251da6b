// Registers the service worker, which keeps the page for offline use: when the first step is trained, to be in nobody's
// way. Where the host sends no headers that isolate the page the service worker adds them from the next load on, so
// there it is registered at once.
(async () => {
    const settled = firstStep();
    if (crossOriginIsolated) {
        sessionStorage.removeItem("isolating");
        await settled;
    }
    // Its script is asked for past the browser's cache: it tells one build from the next.
    await navigator.serviceWorker.register("service-worker.js", { updateViaCache: "none" });
    const { active } = await navigator.serviceWorker.ready;
    if (!crossOriginIsolated) {
        // Load again at once, unless the visitor has begun (then their next visit is isolated) or this is such a second
        // load and did not help: the page works as it is, on one thread.
        if (!navigator.userActivation?.hasBeenActive && !sessionStorage.getItem("isolating")) {
            sessionStorage.setItem("isolating", "yes");
            location.reload();
            return;
        }
        await settled;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => performance.mark("kept"); // From now on the page opens without a network.
    active.postMessage("keep", [port2]);
})().catch((error) => {
    // Private windows, blocked storage.
    console.info("The page opens only with a network, and where its host does not isolate it on one thread:", error.message);
});

/** Waits for the first step, or where none is trained until five seconds after the page has loaded. */
function firstStep() {
    return new Promise((done) => {
        new PerformanceObserver(done).observe({ type: "mark", buffered: true });
        addEventListener("load", () => setTimeout(done, 5000));
    });
}
