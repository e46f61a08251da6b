"""A reader of packed networks in numpy, written from the specification of the format (docs/format.md) alone: that it
answers as the library does shows that others can write one."""

import numpy as np
from safetensors import safe_open


def scores(path, pixels):
    """The scores, [images, classes], of uint8 pixels, [images, inputs]."""
    with safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "qnn" and file.metadata()["version"] == "1"
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    integers = pixels.astype(np.float64)  # Products and sums are whole numbers far below 2^53: exact.
    for layer in range(9):
        part = {name.split(".", 2)[2]: tensor for name, tensor in tensors.items() if name.startswith(f"layers.{layer}.")}
        sums = np.rint(integers @ weights(part["weight"], integers.shape[1]).T).astype(np.int64)
        if "multiplier" in part:
            scores = part["multiplier"].astype(np.int64) * sums + part["offset"] >> part["score_shift"]
            return np.clip(scores, -(2**24), 2**24)
        integers = activations(part, sums).astype(np.float64)


def weights(planes, inputs):
    """Weights, [units, inputs], of bit planes, [digits, units, bytes], whose lowest bit is the first."""
    bits = np.unpackbits(planes, axis=2, count=inputs, bitorder="little").astype(np.float64)
    if len(bits) == 1:
        return 2 * bits[0] - 1
    coefficients = 2.0 ** np.arange(len(bits))
    coefficients[-1] *= -1  # two's complement
    return np.tensordot(coefficients, bits, 1)


def activations(part, sums):
    """What becomes of sums, [images, units]."""
    levels = part["levels"].astype(np.int64)
    if "thresholds" in part:
        reached = (sums[:, :, None] >= part["thresholds"]).sum(axis=2)
        falling = np.unpackbits(part["falling"], count=sums.shape[1], bitorder="little").astype(bool)
        return levels[np.where(falling, len(levels) - 1 - reached, reached)]
    outputs = part["scale"] * (sums.astype(np.float32) * part["unit"]) + part["shift"]
    return np.rint(np.clip(outputs * np.float32(-levels[0]), levels[0], levels[-1]))  # ties to even
