// The example for microcontrollers: what it takes of one, and its answers in QEMU.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT, run, writeFixture } from "./fixture.mjs";

const IMAGES = 300;
const FOLDER = join(ROOT, "examples", "bare-metal");
// Of an STM32F407, whose memory the board in QEMU is given as well.
const [FLASH, RAM] = [1 << 20, 128 << 10];

const hasQemu = (() => {
    try {
        return Boolean(execFileSync("qemu-system-arm", ["--version"]));
    } catch {
        return false;
    }
})();

let folder, options;

before(async () => {
    folder = await mkdtemp(join(tmpdir(), "qnn-bare-metal-"));
    await writeFixture(folder);
    const images = (await readFile(join(folder, "images.bin"))).subarray(0, IMAGES * 784);
    await writeFile(join(folder, "few.bin"), images);
    const QNN_NETWORK = join(folder, "network.safetensors");
    const CARGO_TARGET_DIR = process.env.QNN_BARE_METAL_TARGET ?? join(FOLDER, "target");
    options = { cwd: FOLDER, env: { ...process.env, CARGO_TARGET_DIR, QNN_NETWORK, QNN_IMAGES: join(folder, "few.bin") } };
});

after(() => rm(folder, { recursive: true, force: true }));

/** Bytes of the program's parts by their names, as an ELF file of 32 bits has them. */
function sections(elf) {
    const [table, size, count, names] = [elf.readUInt32LE(32), elf.readUInt16LE(46), elf.readUInt16LE(48), elf.readUInt16LE(50)];
    const header = (index) => elf.subarray(table + index * size);
    const texts = elf.subarray(header(names).readUInt32LE(16));
    const name = (place) => texts.toString("latin1", place, texts.indexOf(0, place));
    const all = Array.from({ length: count }, (_, index) => header(index));
    return Object.fromEntries(all.map((one) => [name(one.readUInt32LE(0)), one.readUInt32LE(20)]));
}

test("the program for an STM32F407 fits it", async (context) => {
    await run("cargo", ["build", "--release"], options);
    const elf = await readFile(join(options.env.CARGO_TARGET_DIR, "thumbv7em-none-eabihf", "release", "bare-metal"));
    const size = sections(elf);
    const flash = size[".vector_table"] + size[".text"] + size[".rodata"] + size[".data"];
    const { length } = await readFile(options.env.QNN_NETWORK);
    context.diagnostic(`flash: ${flash - IMAGES * 784} bytes without the images, of which the network's file is ${length}`);
    context.diagnostic(`static RAM: ${size[".data"] + size[".bss"]} bytes`);
    assert.ok(length < flash && flash < FLASH);
});

test("it answers in QEMU as the core does", { skip: !hasQemu && "qemu-system-arm is not installed" }, async (context) => {
    const { stdout } = await run("cargo", ["run", "--release", "--features", "mps2-an386"], options);
    const lines = stdout.trim().split("\n");
    const answers = [...(await readFile(join(folder, "answers.bin"))).subarray(0, IMAGES)];
    assert.deepEqual(lines.slice(0, IMAGES).map(Number), answers);
    const [, ticks, stack] = lines[IMAGES].match(/^(\d+) ticks of SysTick for an image, (\d+) bytes of stack$/).map(Number);
    // The board's 25 MHz: 40 ns a tick, and a nanosecond an instruction.
    context.diagnostic(`${ticks * 40} instructions for an image; ${stack} bytes of stack, the network's buffer included`);
    assert.ok(0 < ticks && 0 < stack && stack < RAM);
});

test("the linter finds nothing in it", async () => {
    await run("cargo", ["clippy", "--release", "--", "-D", "warnings"], options);
});

test("it is not built without a network", async () => {
    const { stderr } = await run("cargo", ["build", "--release"], { ...options, env: { ...options.env, QNN_NETWORK: "missing" } }).catch(
        (error) => error,
    );
    assert.match(stderr, /missing \(QNN_NETWORK\) cannot be read/);
});
