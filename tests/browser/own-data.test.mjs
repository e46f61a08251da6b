// A visitor's own images, as a person brings them: a ZIP file of PNG images, a folder, a table, IDX files; shown before they are
// used, and explained where something is wrong.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { crc32, deflateSync, gzipSync } from "node:zlib";
import { accuracy, DIST, picture, site, steps, text, until } from "./support.mjs";

const here = site();

/** Opens the page with a small network that trains. */
const visit = (check, options) =>
    here.visit(
        async (page) => {
            await page.locator("#leaderboard").waitFor();
            await until(async () => (await steps(page)) > 0, "it trains");
            await check(page);
        },
        { path: "#race=mnist-128", ...options },
    );

const SIDE = 28;

/** Pixels of a bar that stands or lies, somewhere, a little different for each `number`. */
function bar(stands, number) {
    const at = 4 + (number % 18);
    const pixels = Buffer.alloc(SIDE * SIDE);
    for (let along = 3; along < SIDE - 3; along++) {
        for (const across of [at, at + 1]) pixels[stands ? along * SIDE + across : across * SIDE + along] = 255 - (number % 50);
    }
    return pixels;
}

/** A grey PNG image. */
function png(pixels) {
    const chunk = (name, data) => {
        const named = Buffer.concat([Buffer.from(name), data]);
        const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
        length.writeUInt32BE(data.length);
        sum.writeUInt32BE(crc32(named));
        return Buffer.concat([length, named, sum]);
    };
    const header = Buffer.alloc(13);
    header.writeUInt32BE(SIDE, 0);
    header.writeUInt32BE(SIDE, 4);
    header[8] = 8;
    const rows = Array.from({ length: SIDE }, (_, row) => Buffer.concat([Buffer.alloc(1), pixels.subarray(row * SIDE, (row + 1) * SIDE)]));
    const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
    return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(Buffer.concat(rows))), chunk("IEND", Buffer.alloc(0))]);
}

/** A ZIP file of these files, by their paths, as they are. */
function zip(files) {
    const parts = [];
    const list = [];
    let offset = 0;
    for (const [path, data] of files) {
        const name = Buffer.from(path);
        const common = Buffer.alloc(26);
        common.writeUInt16LE(20, 0);
        common.writeUInt32LE(crc32(data), 10);
        common.writeUInt32LE(data.length, 14);
        common.writeUInt32LE(data.length, 18);
        common.writeUInt16LE(name.length, 22);
        const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), common, name, data]);
        const entry = Buffer.alloc(14);
        entry.writeUInt32LE(offset, 10);
        list.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\x00", "latin1"), common, entry, name]));
        parts.push(local);
        offset += local.length;
    }
    const directory = Buffer.concat(list);
    const end = Buffer.alloc(18);
    end.writeUInt16LE(files.length, 4);
    end.writeUInt16LE(files.length, 6);
    end.writeUInt32LE(directory.length, 8);
    end.writeUInt32LE(offset, 12);
    return Buffer.concat([...parts, directory, Buffer.from("PK\x05\x06", "latin1"), end]);
}

/** Pictures of standing and of lying bars in a folder each, 60 of a kind. */
const PICTURES = ["standing", "lying"].flatMap((name) =>
    Array.from({ length: 60 }, (_, number) => [`bars/${name}/${number}.png`, png(bar(name === "standing", number))]),
);
const file = (name, content) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(content) });
const choose = (page, ...files) => page.locator("#files").setInputFiles(files);
const idx = (numbers, bytes) => {
    const header = Buffer.alloc(numbers.length * 4);
    numbers.forEach((number, index) => header.writeUInt32BE(number, index * 4));
    return Buffer.concat([header, Buffer.from(bytes)]);
};

/** Waits for the preview, and gives what it says and its rows. */
async function preview(page) {
    await page.locator("#use-import").waitFor();
    const rows = await page.locator("#own-data tbody tr").all();
    return [await text(page, "own-about"), await Promise.all(rows.map(async (row) => (await row.innerText()).split(/\s+/)))];
}

/** Uses what is shown, which trains on so many images, and waits until it has been learned. */
async function learns(page, images) {
    await page.locator("#use-import").click();
    await until(async () => !(await page.locator("#own-data").isVisible()), "the preview closes");
    await until(async () => (await text(page, "data-about")).startsWith(`${images} training`), "the files are in use");
    await until(async () => (await accuracy(page)) > 90, "the bars are told apart");
}

test("pictures in a ZIP file are shown, used and learned, and every part of the page knows the classes", () =>
    visit(async (page) => {
        const junk = [["__MACOSX/bars/lying/0.png", Buffer.from("x")], ["bars/readme.txt", Buffer.from("x")]];
        await choose(page, file("bars.zip", zip([...junk, ...PICTURES])));
        const [about, rows] = await preview(page);
        assert.match(about, /^108 images to train on and 12 to test with, in 2 classes, 28 × 28 pixels/);
        assert.deepEqual(rows.map((row) => row.slice(0, 3)), [["lying", "54", "6"], ["standing", "54", "6"]]);
        assert.match(await text(page, "own-notes"), /Every tenth image of each class is kept for the test: 12 in all/);
        assert.match(await text(page, "own-notes"), /Files left out: 1, hidden files/);
        assert.equal(await page.locator("#own-data .examples canvas").count(), 16);
        await picture(page, "own-data");
        await learns(page, 108);
        await page.locator("#tab-mistakes").click();
        assert.match(await page.locator("#panel").innerText(), /standing/);
        // A new engine learns the same data.
        const engine = page.workers().find((worker) => worker.url().includes("worker.js"));
        await engine.evaluate(() => setTimeout(() => { throw new Error("killed by a test"); }));
        await until(async () => /killed by a test/.test(await text(page, "alert")), "the engine dies");
        const before = await steps(page);
        await until(async () => (await steps(page)) > before + 20, "another goes on");
        assert.match(await page.locator("#panel").innerText(), /standing/);
    }));

test("a race on own images survives a reload, with the images", () =>
    visit(
        async (page) => {
            await choose(page, file("bars.zip", zip(PICTURES)));
            await page.locator("#use-import").click();
            await until(async () => (await accuracy(page)) > 90 && (await text(page, "data-about")).startsWith("108 "), "it learns");
            const kept = () =>
                page.evaluate(async () => {
                    for (const name of await caches.keys()) {
                        const race = name.startsWith("qnn-kept") && (await (await caches.open(name)).keys()).find(({ url }) => url.endsWith("/kept/race"));
                        if (race && (await (await (await caches.open(name)).match(race)).json()).is_own) return true;
                    }
                    return false;
                });
            await until(kept, "it is kept");
            await page.reload();
            await page.locator("#resume").click();
            await until(async () => (await text(page, "data-about")).startsWith("108 "), "the images are in use");
            await until(async () => (await accuracy(page)) > 90, "it knows what it knew");
            assert.equal(await text(page, "alert"), "");
            await page.locator("#tab-mistakes").click();
            await until(async () => /standing/.test(await page.locator("#panel").innerText()), "the classes are there");
            // What is discarded goes with its images.
            await page.reload();
            await page.locator("#discard").click();
            const left = () =>
                page.evaluate(async () => {
                    const stores = (await caches.keys()).filter((name) => name.startsWith("qnn-kept"));
                    const names = await Promise.all(stores.map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
                    return names.flat().filter((url) => /images|pixels|labels/.test(url));
                });
            await until(async () => (await left()).length === 0, "no image is left");
        },
        // A link would be what the visitor came for.
        { path: "" },
    ));

test("a folder is read with the folders in it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "bars-"));
    try {
        for (const [path, data] of PICTURES) {
            await mkdir(dirname(join(folder, path)), { recursive: true });
            await writeFile(join(folder, path), data);
        }
        await visit(async (page) => {
            await page.locator("#folder").setInputFiles(folder);
            const [, rows] = await preview(page);
            assert.deepEqual(rows.map(([name]) => name), ["lying", "standing"]);
            await learns(page, 108);
        });
    } finally {
        await rm(folder, { recursive: true });
    }
});

test("a table is read, and Escape leaves everything as it was", () =>
    visit(async (page) => {
        const line = (stands, number) => [stands ? "|" : "-", ...[...bar(stands, number)].map((pixel) => (pixel / 255).toFixed(2))].join();
        const lines = Array.from({ length: 80 }, (_, number) => line(number % 2 === 0, number));
        const header = ["label", ...Array.from({ length: SIDE * SIDE }, (_, pixel) => `pixel${pixel}`)].join();
        const table = file("bars.csv", [header, ...lines].join("\n"));
        await choose(page, table);
        const [, rows] = await preview(page);
        assert.deepEqual(rows.map((row) => row.slice(0, 3)), [["-", "36", "4"], ["|", "36", "4"]]);
        assert.match(await text(page, "own-notes"), /Pixels of 0 to 1 were stretched/);
        await page.keyboard.press("Escape");
        await until(async () => !(await page.locator("#own-data").isVisible()), "it closes");
        assert.equal(await page.locator("#data").inputValue(), "procedural");
        await choose(page, table);
        await preview(page);
        await learns(page, 72);
    }));

test("Fashion-MNIST is known by its checksums", async (context) => {
    const folder = join(DIST, "data/fashion-mnist");
    if (!(await stat(folder).catch(() => null))) return context.skip("no Fashion-MNIST");
    const files = (await readdir(folder)).map((name) => join(folder, name));
    await visit(async (page) => {
        await page.locator("#files").setInputFiles(files);
        await page.locator("#use-import").waitFor({ timeout: 60_000 });
        assert.equal(await text(page, "own-heading"), "Fashion-MNIST");
        assert.match(await text(page, "own-about"), /^60,000 images to train on and 10,000 to test with, in 10 classes/);
        await picture(page, "own-data-fashion");
        await page.locator("#use-import").click();
        await until(async () => (await accuracy(page)) > 70, "it learns");
        await page.locator("#tab-mistakes").click();
        await until(async () => /Ankle boot/.test(await page.locator("#panel").innerText()), "the classes have names");
    });
});

test("IDX files of other data are known by their numbers", () =>
    visit(async (page) => {
        const count = 400;
        const all = Array.from({ length: count }, (_, number) => bar(number % 2 === 0, number));
        const images = idx([0x803, count, SIDE, SIDE], Buffer.concat(all));
        const labels = idx([0x801, count], all.map((_, number) => number % 2));
        await choose(page, file("labels", labels), file("images.gz", gzipSync(images)));
        const [about, rows] = await preview(page);
        assert.match(about, /360 images to train on and 40 to test with, in 2 classes/);
        assert.deepEqual(rows.map(([name]) => name), ["0", "1"]);
        await learns(page, 360);
    }));

test("a folder that is dropped is read, with the folders in it", async () => {
    const folder = await mkdtemp(join(tmpdir(), "bars-"));
    try {
        // A class in two places.
        const many = PICTURES.concat(PICTURES.slice(60).map(([path, data]) => [path.replace("lying/", "more/lying/"), data]));
        for (const [path, data] of many) {
            await mkdir(dirname(join(folder, path)), { recursive: true });
            await writeFile(join(folder, path), data);
        }
        await visit(async (page) => {
            const devtools = await page.context().newCDPSession(page);
            const data = { items: [], files: [join(folder, "bars")], dragOperationsMask: 1 };
            for (const type of ["dragEnter", "dragOver", "drop"]) await devtools.send("Input.dispatchDragEvent", { type, x: 200, y: 200, data });
            const [, rows] = await preview(page);
            assert.deepEqual(rows.map((row) => row.slice(0, 3)), [["lying", "108", "12"], ["standing", "54", "6"]]);
        });
    } finally {
        await rm(folder, { recursive: true });
    }
});

test("files that are dropped are read", () =>
    visit(async (page) => {
        await page.evaluate((bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "bars.zip"));
            window.dispatchEvent(new DragEvent("dragover", { dataTransfer: transfer, cancelable: true }));
            window.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
        }, [...zip(PICTURES)]);
        const [, rows] = await preview(page);
        assert.equal(rows.length, 2);
    }));

test("what is wrong with files is said, in the visitor's language, and training goes on", async () => {
    const images = idx([0x803, 10, 4, 4], new Array(160).fill(7));
    const labels = idx([0x801, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const some = PICTURES.slice(0, 3);
    const cases = [
        [[["images.gz", gzipSync(images).subarray(0, 30)]], /images\.gz is cut short/, /images\.gz 被截断/],
        [[["images", images.subarray(0, 100)]], /claims 176 bytes and it holds 100/, /文件头声明 176 字节/],
        [[["images", images], ["labels", idx([0x801, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 200])]], /a label 200/, /标签 200/],
        [[["images", images], ["labels", idx([0x801, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8])]], /10 images but labels has 9/, /10 幅图像.*9 个标签/],
        [[["images", images]], /these are 1 of images and 0 of labels/, /1 个图像文件和 0 个标签文件/],
        [[["music.mp3", Buffer.from([0xff, 0xfb, 0x90, 0, 1])]], /None of the 1 files can be used/, /1 个文件都无法使用/],
        [[["bars.zip", zip(some)]], /All images are of the class `standing`/, /所有图像都属于类别.*standing/],
        [[["bars.zip", zip(PICTURES).subarray(0, 4000)]], /bars\.zip is a damaged ZIP archive/, /bars\.zip 是损坏的 ZIP/],
        [[["bars.zip", zip([["a/1.png", png(bar(true, 1)).subarray(0, 60)]])]], /a\/1\.png is a damaged PNG image/, /a\/1\.png 是损坏的 PNG/],
        [[["t.csv", "label,a,b,c\n1,2,3,4\n"]], /3 pixel columns, which make no square/, /3 个像素列/],
        [[["t.csv", "label,a,b,c,d\n1,2,3,4,x\n"]], /line 2, column 5: `x` is no pixel/, /第 2 行第 5 列/],
        [[["images", images], ["t.csv", "label,a\n1,2\n"]], /an IDX file, but t\.csv is a text file/, /IDX 文件.*t\.csv 是文本文件/],
    ];
    for (const [language, index] of [["en", 1], ["zh-CN", 2]]) {
        await visit(
            async (page) => {
                for (const one of cases) {
                    await choose(page, ...one[0].map(([name, content]) => file(name, content)));
                    await page.locator("#own-problem").waitFor();
                    assert.match(await text(page, "own-problem"), one[index]);
                    if (one === cases[0]) await picture(page, `own-data-wrong-${language}`);
                    const before = await steps(page);
                    await until(async () => (await steps(page)) > before, "training goes on");
                    await page.locator("#cancel-import").click();
                    await until(async () => !(await page.locator("#own-data").isVisible()), "it closes");
                }
            },
            { locale: language },
        );
    }
});

test("training goes on while large files are read, and reading can be cancelled", () =>
    visit(async (page) => {
        const images = gzipSync(idx([0x803, 300_000, SIDE, SIDE], Buffer.alloc(300_000 * SIDE * SIDE)), { level: 1 });
        await choose(page, file("images", images));
        await page.locator("#reading").waitFor();
        const before = await steps(page);
        await until(async () => (await steps(page)) > before, "training goes on");
        assert.ok(await page.locator("#reading").isVisible(), "it still reads");
        await page.locator("#cancel-import").click();
        await until(async () => !(await page.locator("#own-data").isVisible()), "it is cancelled");
        await until(() => !page.workers().some((worker) => worker.url().includes("import.js")), "nothing reads on");
        assert.equal(await page.locator("#data").inputValue(), "procedural");
    }));
