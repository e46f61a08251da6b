// Isolates the page where its host sends no headers for it: the service worker adds them from the next load on.
(async () => {
    if (crossOriginIsolated) {
        sessionStorage.removeItem("isolating");
        return;
    }
    await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
    // Load again at once, unless the visitor has begun (then their next visit is isolated) or this is such a second
    // load and did not help: the page works as it is, on one thread.
    if (navigator.userActivation?.hasBeenActive || sessionStorage.getItem("isolating")) return;
    sessionStorage.setItem("isolating", "yes");
    location.reload();
})().catch((error) => console.info("The page stays on one thread:", error.message)); // Private windows, blocked storage.
