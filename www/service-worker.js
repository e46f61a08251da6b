// Does two things for the page: keeps it, so that after one visit it opens without a network, whole and of one build; and
// adds the headers that isolate it, without which there are no threads, where its host sends none.
// `./dev offline` puts FILES above this: every file of the build by its path, with the SHA-256 of its bytes.

// Hosts are shared: this cache is the page's own by its name, and no other is looked into. A file is kept under its
// hash, so that the files of two builds never pass for each other, and what both have is fetched once.
const MINE = `qnn-playground ${registration.scope} `;
const CACHE = `${MINE}2`;

addEventListener("install", (event) => {
    skipWaiting();
    // The first takes over at once, for a page may wait to be isolated. A later one takes over when it has its whole
    // build: until then the one before it answers, with the build before.
    if (registration.active) event.waitUntil(keepBuild());
});

addEventListener("activate", (event) => event.waitUntil(Promise.all([clients.claim(), forgetOldBuilds()])));

// The page has nothing better to do.
addEventListener("message", (event) => event.waitUntil(keepBuild().then(() => event.ports[0].postMessage("kept"))));

addEventListener("fetch", (event) => {
    const { request } = event;
    // What comes from elsewhere, for instance a mirror of the data, needs neither.
    if (request.method === "GET" && request.url.startsWith(registration.scope)) event.respondWith(answer(event));
});

async function answer(event) {
    let response;
    try {
        // Asks the host whether its copy is still good: an old engine and a new page would not understand each other.
        response = await fetch(event.request, { cache: "no-cache" });
    } catch (error) {
        const kept = await find(pathOf(event.request));
        if (!kept) throw error;
        return kept;
    }
    if (response.type !== "basic") return response; // A redirect: the browser asks again.
    response = isolated(response);
    // A full disk must not keep the page from loading.
    if (response.status === 200) event.waitUntil(keep(pathOf(event.request), response.clone()).catch(() => {}));
    return response;
}

/** The path of a file in FILES; the page itself is asked for by its folder. */
function pathOf(request) {
    const path = new URL(request.url).pathname.slice(new URL(registration.scope).pathname.length);
    return decodeURIComponent(path) || "index.html";
}

const key = (path) => `${registration.scope}?sha256=${FILES[path]}`;

async function find(path) {
    const cache = await caches.open(CACHE);
    return cache.match(key(path));
}

/** Keeps a file, unless it is not of this build: the host may have a newer one. Tells whether it has it now. */
async function keep(path, response) {
    if (!(path in FILES)) return false;
    if (await find(path)) return true;
    const bytes = await response.arrayBuffer();
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if (Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") !== FILES[path]) return false;
    const cache = await caches.open(CACHE);
    await cache.put(key(path), isolated(new Response(bytes, response)));
    return true;
}

/** Keeps what this browser may need of the build; the rest is kept when it is used. */
async function keepBuild() {
    for (const path of Object.keys(FILES).filter(isNeeded)) {
        if (await find(path)) continue;
        const response = await fetch(path, { cache: "no-cache" });
        if (!(await keep(path, response))) throw new Error(`${path} is not of this build`);
    }
}

function isNeeded(path) {
    if (path.startsWith("data/")) return false; // Large, and not everybody asks for it.
    const [, build] = path.match(/^engine\/(threads|relaxed)\//) ?? [];
    return !build || build === threadedBuild();
}

/** The build with threads that worker.js chooses, by a module of one i8x16.relaxed_swizzle, as there. */
function threadedBuild() {
    const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0];
    const code = [10, 15, 1, 13, 0, 0x41, 0, 0xfd, 15, 0x41, 0, 0xfd, 15, 0xfd, 0x80, 2, 11];
    return WebAssembly.validate(new Uint8Array([...header, ...code])) ? "relaxed" : "threads";
}

async function forgetOldBuilds() {
    const names = (await caches.keys()).filter((name) => name.startsWith(MINE) && name !== CACHE);
    await Promise.all(names.map((name) => caches.delete(name)));
    const cache = await caches.open(CACHE);
    const mine = new Set(Object.keys(FILES).map(key));
    const old = (await cache.keys()).filter(({ url }) => !mine.has(url));
    await Promise.all(old.map((request) => cache.delete(request)));
}

function isolated(response) {
    const headers = new Headers(response.headers);
    headers.set("Cross-Origin-Opener-Policy", "same-origin");
    headers.set("Cross-Origin-Embedder-Policy", "require-corp");
    headers.set("Cross-Origin-Resource-Policy", "same-origin");
    const { status, statusText } = response;
    return new Response(response.body, { status, statusText, headers });
}
