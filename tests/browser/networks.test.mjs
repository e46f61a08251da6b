// A network is taken away as a file of every kind, and opened again. What the files say is read here by code of its own, from
// what docs/format.md says of them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { accuracy, DIST, picture, site, steps, text, until } from "./support.mjs";

const here = site();
let folder;
before(async () => (folder = await mkdtemp(join(tmpdir(), "networks-"))));
after(() => rm(folder, { recursive: true }));

/** Opens the page with a small network that has trained and been tested, and stands still. */
const visit = (check, path = "#race=mnist-128") =>
    here.visit(
        async (page) => {
            await until(async () => (await accuracy(page)) > 50, "it learns");
            await page.locator("#train").click();
            await until(async () => (await text(page, "train")) === "Train", "it pauses");
            await page.getByRole("button", { name: "Share and save" }).click();
            await check(page);
        },
        { path },
    );

/** Takes the network away by the button `name`: the file's name, its bytes, and where it lies. */
async function take(page, name) {
    const waiting = page.waitForEvent("download");
    await page.getByRole("button", { name, exact: true }).click();
    const download = await waiting;
    const path = join(folder, download.suggestedFilename());
    await download.saveAs(path);
    await until(async () => !(await page.locator("#own-data").isVisible()), "the dialog closes");
    return { name: download.suggestedFilename(), bytes: readFileSync(path), path };
}

/** The header of a safetensors file, and the bytes of its tensors. */
function parts(file) {
    const length = Number(file.readBigUInt64LE());
    const header = JSON.parse(file.subarray(8, 8 + length));
    return { header, tensor: (name) => file.subarray(8 + length + header[name].data_offsets[0], 8 + length + header[name].data_offsets[1]) };
}

/** The answer of a packed network of one bit to an image, one product after the other. */
function answer({ header, tensor }, pixels) {
    let input = [...pixels];
    for (let layer = 0; ; layer++) {
        const [, units, row] = header[`layers.${layer}.weight`].shape;
        const weight = tensor(`layers.${layer}.weight`);
        const sums = Array.from({ length: units }, (_, unit) =>
            input.reduce((sum, x, place) => sum + ((weight[unit * row + (place >> 3)] >> (place & 7)) & 1 ? x : -x), 0),
        );
        if (header[`layers.${layer}.multiplier`]) {
            const [multiplier, offset] = ["multiplier", "offset"].map((part) => tensor(`layers.${layer}.${part}`));
            const shift = BigInt(tensor(`layers.${layer}.score_shift`).readInt32LE());
            const scores = sums.map((sum, unit) => (BigInt(multiplier.readInt32LE(4 * unit)) * BigInt(sum) + offset.readBigInt64LE(8 * unit)) >> shift);
            return scores.reduce((best, score, unit) => (score > scores[best] ? unit : best), 0);
        }
        const [thresholds, falling] = ["thresholds", "falling"].map((part) => tensor(`layers.${layer}.${part}`));
        input = sums.map((sum, unit) => {
            const falls = (falling[unit >> 3] >> (unit & 7)) & 1;
            return sum >= thresholds.readInt32LE(4 * unit) !== Boolean(falls) ? 1 : -1;
        });
    }
}

/** MNIST's test images, if the page has them. */
function mnist() {
    const read = (name) => gunzipSync(readFileSync(join(DIST, "data/mnist", name)));
    try {
        return { pixels: read("t10k-images-idx3-ubyte.gz").subarray(16), labels: read("t10k-labels-idx1-ubyte.gz").subarray(8) };
    } catch {
        return null;
    }
}

test("a packed network answers elsewhere as it does here", async (t) => {
    const data = mnist();
    if (!data) return t.skip("no MNIST");
    await here.visit(
        async (page) => {
            await page.locator("#data").selectOption("mnist");
            await until(async () => (await text(page, "data-about")).includes("60,000"), "it trains on MNIST");
            await until(async () => (await accuracy(page)) > 50, "it learns");
            await page.locator("#train").click();
            await until(async () => (await text(page, "train")) === "Train", "it pauses");
            await page.getByRole("button", { name: "Reset" }).click();
            // Every network is tested after 20 steps.
            for (let step = 1; step <= 20; step++) {
                await page.getByRole("button", { name: "One step" }).click();
                await until(async () => (await steps(page)) === step, "it takes a step");
            }
            await until(async () => (await accuracy(page)) > 30, "it is tested");
            await page.getByRole("button", { name: "Share and save" }).click();
            const { bytes } = await take(page, "Packed (safetensors)");
            const network = parts(bytes);
            let correct = 0;
            for (let image = 0; image < data.labels.length; image++) {
                if (answer(network, data.pixels.subarray(784 * image, 784 * (image + 1))) === data.labels[image]) correct++;
            }
            assert.equal(correct / 100, await accuracy(page));
        },
        { path: "#race=mnist-128" },
    );
});

test("every format can be taken, and what needs a compiler compiles", () =>
    visit(async (page) => {
        await picture(page, "networks-share");
        const packed = await take(page, "Packed (safetensors)");
        assert.match(packed.name, /^qnn-w1-a1-step\d+\.safetensors$/);
        assert.ok(packed.bytes.length < 24_000, `${packed.bytes.length}`);
        const { header } = parts(packed.bytes);
        assert.equal(header.__metadata__.format, "qnn");
        assert.equal(JSON.parse(header.__metadata__.classes).length, 10);
        assert.equal(header.__metadata__.progress, undefined);

        const whole = await take(page, "To go on training (safetensors)");
        assert.ok(parts(whole.bytes).header["layers.0.latent_weight"]);

        const onnx = await take(page, "ONNX");
        assert.ok(onnx.bytes.includes("MatMulInteger") && onnx.bytes.length < 30_000);
        const c = await take(page, "C source");
        execFileSync("cc", ["-std=c99", "-Wall", "-Werror", "-c", c.path, "-o", join(folder, "network.o")]);
        const rust = await take(page, "Rust source");
        assert.match(String(rust.bytes), /pub fn predict\(pixels: &\[u8; INPUTS\]\) -> usize/);
    }));

test("what was taken is opened again, and goes on", () =>
    visit(async (page) => {
        const trained = await steps(page);
        for (const name of ["To go on training (safetensors)", "Packed (safetensors)"]) {
            const file = await take(page, name);
            await page.locator("#files").setInputFiles(file.path);
            await page.locator("#use-import").waitFor();
            assert.match(await text(page, "own-heading"), /^A network: 1-bit$/);
            assert.match(await text(page, "own-about"), /^784-128-10; bits of the weights: 1, of the activations: 1\.$/);
            await picture(page, `networks-open-${name.split(" ")[0]}`);
            await page.locator("#use-import").click();
            await until(async () => !(await page.locator("#own-data").isVisible()), "it closes");
        }
        assert.equal(await page.locator("#leaderboard tbody tr").count(), 3);
        await page.locator("#train").click();
        // The second goes on where it was, the third begins with steps of its own.
        await until(async () => (await steps(page)) > 0, "the third trains");
        await page.locator("#leaderboard tbody tr").nth(1).click();
        await until(async () => (await steps(page)) >= trained, "the second goes on");
    }));

test("networks that cannot be packed or opened say why", () =>
    visit(async (page) => {
        await page.getByRole("button", { name: "Packed (safetensors)", exact: true }).click();
        await page.getByText("Packed networks hold weights and activations of 1 to 8 bits", { exact: false }).waitFor();
        const damaged = join(folder, "damaged.safetensors");
        await writeFile(damaged, "nothing");
        await page.locator("#files").setInputFiles(damaged);
        await page.locator("#own-problem").waitFor();
        assert.match(await text(page, "own-problem"), /not a safetensors file/);
        await picture(page, "networks-wrong");
        await page.locator("#cancel-import").click();
    }, "#race=mnist-128_w32_a32"));

/** A safetensors file of float32 tensors, by name: shape and numbers. */
function floats(tensors) {
    const header = {};
    let end = 0;
    for (const [name, [shape, numbers]] of Object.entries(tensors)) {
        header[name] = { dtype: "F32", shape, data_offsets: [end, (end += 4 * numbers.length)] };
    }
    const text = Buffer.from(JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    return Buffer.concat([length, text, ...Object.values(tensors).map(([, numbers]) => Buffer.from(Float32Array.from(numbers).buffer))]);
}

test("a network of another program joins the race and is trained on with fewer bits", () =>
    visit(async (page) => {
        const weights = (units, inputs) => Array.from({ length: units * inputs }, (_, place) => Math.sin(place * place) / Math.sqrt(inputs));
        const foreign = join(folder, "theirs.safetensors");
        const layer = (units, inputs) => [[units, inputs], weights(units, inputs)];
        await writeFile(foreign, floats({ "fc1.weight": layer(32, 784), "fc1.bias": [[32], Array(32).fill(0)], "fc2.weight": layer(10, 32), "fc2.bias": [[10], Array(10).fill(0)] }));
        await page.locator("#files").setInputFiles(foreign);
        await page.locator("#use-import").waitFor();
        assert.match(await text(page, "own-about"), /^784-32-10; bits of the weights: 32/);
        assert.match(await page.locator("#own-data").innerText(), /comes from another program/);
        await page.locator("#use-import").click();
        await until(async () => !(await page.locator("#own-data").isVisible()), "it closes");
        await page.locator("#train").click();
        await until(async () => (await accuracy(page)) > 40, "it learns");
        await page.locator("#weight-bits").fill("0");
        await until(async () => (await page.locator("#leaderboard tbody tr").nth(1).innerText()).includes("W 1"), "it has fewer bits");
        assert.ok((await steps(page)) > 0);
    }));
