// A network, images, and the answers of qnn-core to them, which the tests of other programs share.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Runs a program to its end; rejects where it fails, and gives what it printed as `stdout` and `stderr`. */
export const run = promisify(execFile);

/** Writes network.safetensors, images.bin and answers.bin into a folder: of MNIST where there is MNIST. */
export function writeFixture(folder) {
    const idx = process.env.QNN_DATA_DIR ? [join(process.env.QNN_DATA_DIR, "mnist")] : [];
    return run("cargo", ["run", "-p", "qnn-files", "--example", "fixture", "--", folder, "200", ...idx], { cwd: ROOT });
}
