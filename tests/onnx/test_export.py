"""Exported networks in ONNX Runtime, and packed files read by other code: both answer as the library does."""

import os
import subprocess
import tempfile
import unittest

import numpy as np
import onnx.reference
import onnxruntime
import reader
from safetensors.numpy import load_file

PACKED = ["1-bit", "2-bit", "4-bit", "8-bit", "7-bit-weights", "1-bit-weights", "logarithmic-3-bit"]
FLOAT = ["float", "1-bit", "2-bit", "8-bit", "logarithmic-3-bit", "logarithmic-5-bit"]


def batches(pixels, size):
    return (pixels[first : first + size] for first in range(0, len(pixels), size))


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        fixture = ["cargo", "run", "--quiet", "-p", "qnn-files", "--example", "onnx_fixture", "--", cls.folder.name]
        subprocess.run(fixture, check=True)
        cls.pixels = load_file(cls.path("images.safetensors"))["pixels"]
        assert len(cls.pixels) >= 2000

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def answers(self, name):
        return load_file(self.path(f"{name}.answers.safetensors"))

    def run_model(self, name, size):
        """All outputs for all images, by their names, in batches of `size`."""
        session = onnxruntime.InferenceSession(self.path(name), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        parts = [session.run(None, {"pixels": pixels}) for pixels in batches(self.pixels, size)]
        return {name: np.concatenate(values) for name, *values in zip(names, *parts)}

    def test_models_are_sound(self):
        for name in [f"{name}.onnx" for name in PACKED] + [f"{name}.float.onnx" for name in FLOAT]:
            with self.subTest(name):
                model = onnx.load(self.path(name))
                onnx.checker.check_model(model, full_check=True)
                inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
                self.assertEqual(inferred.graph.output, model.graph.output)

    def test_packed_networks_answer_exactly_alike(self):
        for name in PACKED:
            answers = self.answers(name)
            self.assertGreater(len(set(answers["labels"])), 5, "a network that tells digits apart")
            for size in [1, 1000]:
                with self.subTest(name, batch=size):
                    found = self.run_model(f"{name}.onnx", size)
                    np.testing.assert_array_equal(found["scores"], answers["scores"])
                    np.testing.assert_array_equal(found["label"], answers["labels"])
                    np.testing.assert_array_equal(found["logits"], answers["logits"])

    def test_other_runtimes_answer_exactly_alike(self):
        unoptimized = onnxruntime.SessionOptions()
        unoptimized.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        images = {"pixels": self.pixels[:100]}
        for name in PACKED:
            path, scores = self.path(f"{name}.onnx"), self.answers(name)["scores"][:100]
            runtimes = {
                "the standard's own evaluator": onnx.reference.ReferenceEvaluator(path),
                "ONNX Runtime without folding": onnxruntime.InferenceSession(path, unoptimized, providers=["CPUExecutionProvider"]),
            }
            for runtime, session in runtimes.items():
                with self.subTest(name, runtime=runtime):
                    np.testing.assert_array_equal(session.run(["scores"], images)[0], scores)

    def test_networks_of_floats_answer_alike_but_for_rounding(self):
        for name in FLOAT:
            logits = self.answers(name)["logits"]
            for size in [1, 1000]:
                with self.subTest(name, batch=size):
                    found = self.run_model(f"{name}.float.onnx", size)
                    alike = np.isclose(found["logits"], logits, atol=1e-4).all(axis=1)
                    # Sums next to the middle of two levels may fall to either, where there are many levels.
                    self.assertGreaterEqual(alike.mean(), 1 if name in ["float", "1-bit", "2-bit"] else 0.9)
                    first, second = np.sort(logits, axis=1)[:, :-3:-1].T
                    clear = alike & (first - second > 1e-3)
                    self.assertGreater(clear.mean(), 0.85)
                    np.testing.assert_array_equal(found["label"][clear], logits.argmax(axis=1)[clear])

    def test_a_reader_written_from_the_specification_answers_alike(self):
        for name in PACKED:
            with self.subTest(name):
                path = self.path(f"{name}.safetensors")
                scores = np.concatenate([reader.scores(path, pixels) for pixels in batches(self.pixels, 1000)])
                answers = self.answers(name)
                np.testing.assert_array_equal(scores, answers["scores"])
                np.testing.assert_array_equal(scores.argmax(axis=1), answers["labels"])
