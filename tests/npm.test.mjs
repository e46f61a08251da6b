// The npm package as those who install it have it: in Node, in a browser without a bundler, and under TypeScript.

import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { BLANK, launch, open, serve } from "./browser/support.mjs";
import { ROOT, run, writeFixture } from "./fixture.mjs";

// A project with nothing in it but the installed package and a network, images and the core's answers.
let project, load, network, images, answers;

const image = (index) => images.subarray(index * 784, (index + 1) * 784);

before(async () => {
    project = await mkdtemp(join(tmpdir(), "qnn-npm-"));
    await writeFixture(project);
    await run("./dev", ["npm", join(project, "built")], { cwd: ROOT });
    const [archive] = (await readdir(join(project, "built"))).filter((name) => name.endsWith(".tgz"));
    await writeFile(join(project, "package.json"), '{ "private": true, "type": "module" }');
    const quiet = ["--offline", "--no-audit", "--no-fund"];
    await run("npm", ["install", ...quiet, `./built/${archive}`], { cwd: project });
    network = await readFile(join(project, "network.safetensors"));
    images = await readFile(join(project, "images.bin"));
    answers = [...(await readFile(join(project, "answers.bin")))];
    ({ load } = await import(pathToFileURL(join(project, "node_modules", "qnn-infer", "node.js"))));
});

after(() => rm(project, { recursive: true, force: true }));

test("three lines in Node answer every test image as the core does", async () => {
    const program = `
        import { readFile } from "node:fs/promises";
        import { load } from "qnn-infer";
        const images = await readFile("images.bin");
        const network = await load("network.safetensors");
        const labels = [];
        for (let place = 0; place < images.length; place += network.inputs) {
            const { label } = network.predict(images.subarray(place, place + network.inputs));
            labels.push(label);
        }
        console.log(JSON.stringify(labels));`;
    await writeFile(join(project, "program.js"), program);
    const { stdout } = await run(process.execPath, ["program.js"], { cwd: project });
    assert.deepEqual(JSON.parse(stdout), answers);
});

test("a network has the names of its classes and a logit for each", async () => {
    const loaded = await load(network);
    assert.equal(loaded.inputs, 784);
    assert.deepEqual(loaded.classes, [..."0123456789"]);
    const { label, name, logits } = loaded.predict(new Uint8ClampedArray(image(0)));
    assert.equal(label, answers[0]);
    assert.equal(name, String(label));
    assert.equal(logits.length, 10);
    assert.equal(logits.indexOf(Math.max(...logits)), label);
});

test("a network is loaded from whatever has its bytes", async () => {
    const { buffer } = new Uint8Array(network);
    const path = join(project, "network.safetensors");
    const sources = [path, pathToFileURL(path), pathToFileURL(path).href, buffer, new Blob([network]), new Response(network)];
    for (const source of sources) {
        const loaded = await load(source);
        assert.equal(loaded.predict(image(1)).label, answers[1]);
        loaded.free();
    }
});

test("what is wrong is said", async () => {
    await assert.rejects(load(network.subarray(0, 1000)), { message: "This is not a safetensors file, or it is cut short or damaged." });
    const renamed = (from, to) => Buffer.from(network.toString("latin1").replace(from, to), "latin1");
    await assert.rejects(load(renamed('"version":"1"', '"version":"7"')), { message: /format version 7;/ });
    await assert.rejects(load(renamed('"classes"', '"glasses"')), { message: /^The names of the classes in this file cannot be read/ });
    await assert.rejects(load(new Response("", { status: 404 })), { message: /status 404\.$/ });
    await assert.rejects(load(7), { name: "TypeError", message: /^A network is loaded from/ });
    const loaded = await load(network);
    assert.throws(() => loaded.predict(new Uint8Array(783)), { message: "The network reads images of 784 pixels, not 783." });
    assert.throws(() => loaded.predict(new Float32Array(784)), { name: "TypeError", message: /must be a Uint8Array/ });
    loaded.free();
    loaded.free();
    assert.throws(() => loaded.predict(image(0)), { message: "This network has been freed; load it again." });
});

test("its types fit, and refuse what does not", async () => {
    const program = `
        import { load, type Network } from "qnn-infer";
        const network: Network = await load(new URL("network.safetensors", import.meta.url));
        const { label, name, logits }: { label: number; name: string; logits: Float32Array } = network.predict(new Uint8Array(784));
        const [first]: readonly string[] = network.classes;
        network.free();
        { using other = await load(new Blob([])); other.inputs.toFixed(); }
        // @ts-expect-error
        network.predict(new Float32Array(784));
        // @ts-expect-error
        await load(7);
        export { label, name, logits, first };`;
    await writeFile(join(project, "program.ts"), program);
    const compiler = fileURLToPath(new URL("node_modules/typescript/bin/tsc", import.meta.url));
    const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
    const said = await run(process.execPath, [compiler, ...options, "program.ts"], { cwd: project }).catch((error) => error);
    assert.equal(said.stdout, "");
    assert.equal(said.code, undefined);
});

test("three lines in a browser, without a bundler, answer every test image as the core does", async () => {
    const [browser, server] = await Promise.all([launch(), serve({ folder: project })]);
    try {
        const page = await open(browser, server.url + BLANK);
        const labels = await page.evaluate(async () => {
            const images = new Uint8Array(await (await fetch("images.bin")).arrayBuffer());
            const { load } = await import("/node_modules/qnn-infer/index.js");
            const network = await load("network.safetensors");
            const labels = [];
            for (let place = 0; place < images.length; place += network.inputs) {
                const { label } = network.predict(images.subarray(place, place + network.inputs));
                labels.push(label);
            }
            return labels;
        });
        assert.deepEqual(labels, answers);
        const file = await page.evaluate(async () => {
            const { load } = await import("/node_modules/qnn-infer/index.js");
            const bytes = await (await fetch("network.safetensors")).arrayBuffer();
            const network = await load(new File([bytes], "network.safetensors"));
            const missing = await load("missing.safetensors").catch(({ message }) => message);
            return { classes: network.classes, missing };
        });
        assert.deepEqual(file.classes, [..."0123456789"]);
        assert.match(file.missing, /missing\.safetensors answers with status 404\.$/);
    } finally {
        await Promise.all([browser.close(), server.close()]);
    }
});
