// Does two things for the page, on hosts that only serve files: adds the headers that isolate it, without which there
// are no threads; and keeps what it loaded, so that it also opens without a network.

// Hosts are shared: this cache is the page's own by its name, and no other is looked into.
const CACHE = `qnn-playground ${registration.scope} 1`;

addEventListener("install", () => skipWaiting());

addEventListener("activate", (event) => event.waitUntil(forgetOldVersions()));

addEventListener("fetch", (event) => {
    const { request } = event;
    // What comes from elsewhere, for instance a mirror of the data, needs neither.
    if (request.method === "GET" && request.url.startsWith(registration.scope)) event.respondWith(answer(event));
});

async function forgetOldVersions() {
    const mine = `qnn-playground ${registration.scope} `;
    const names = (await caches.keys()).filter((name) => name.startsWith(mine) && name !== CACHE);
    await Promise.all(names.map((name) => caches.delete(name)));
}

async function answer(event) {
    const cache = await caches.open(CACHE);
    let response;
    try {
        // Asks the host whether its copy is still good: an old engine and a new page would not understand each other.
        response = await fetch(event.request, { cache: "no-cache" });
    } catch (error) {
        response = await cache.match(event.request);
        if (!response) throw error;
        return response;
    }
    if (response.type !== "basic") return response; // A redirect: the browser asks again.
    response = isolated(response);
    // A full disk must not keep the page from loading.
    if (response.status === 200) event.waitUntil(cache.put(event.request, response.clone()).catch(() => {}));
    return response;
}

function isolated(response) {
    const headers = new Headers(response.headers);
    headers.set("Cross-Origin-Opener-Policy", "same-origin");
    headers.set("Cross-Origin-Embedder-Policy", "require-corp");
    headers.set("Cross-Origin-Resource-Policy", "same-origin");
    const { status, statusText } = response;
    return new Response(response.body, { status, statusText, headers });
}
