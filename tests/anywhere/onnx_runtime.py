"""ONNX Runtime, asked by `./dev anywhere`: onnx_runtime.py FOLDER TIMED. One thread, as all others."""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime

folder, timed = sys.argv[1], int(sys.argv[2])
images = np.fromfile(f"{folder}/images.bin", np.uint8)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
microseconds = {}
for name, file in [("onnx", "network.onnx"), ("float", "float.onnx")]:
    session = onnxruntime.InferenceSession(f"{folder}/{file}", options, providers=["CPUExecutionProvider"])
    rows = images.reshape(-1, session.get_inputs()[0].shape[1])
    labels = [session.run(["label"], {"pixels": rows[first : first + 1000]})[0] for first in range(0, len(rows), 1000)]
    np.concatenate(labels).astype(np.uint8).tofile(f"{folder}/{name}.answers")
    times = []
    for row in rows[:timed]:
        pixels = row[None]
        began = time.perf_counter()
        session.run(["label"], {"pixels": pixels})
        times.append(1e6 * (time.perf_counter() - began))
    microseconds[name] = statistics.median(times)
print(json.dumps(microseconds))
