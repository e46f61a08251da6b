"""Dense networks of others, written by other programs, answer after the import as ONNX Runtime or numpy says they do."""

import os
import subprocess
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from safetensors.numpy import load_file, save_file

INPUTS, HIDDEN, CLASSES, IMAGES = 49, [24, 17], 10, 300
random = np.random.default_rng(7)
pixels = (random.integers(0, 256, [IMAGES, INPUTS]) * (random.random([IMAGES, INPUTS]) < 0.3)).astype(np.uint8)


def weights():
    """Weights, [units, inputs], and biases of all layers."""
    shapes = list(zip([*HIDDEN, CLASSES], [INPUTS, *HIDDEN]))
    return [
        ((random.standard_normal(shape) * 2 / shape[1] ** 0.5).astype(np.float32), random.normal(0, 0.2, shape[0]).astype(np.float32))
        for shape in shapes
    ]


def norm(units):
    """gamma, beta, mean and variance of batch normalization, some gammas negative."""
    return [
        random.normal(0.5, 0.7, units).astype(np.float32),
        random.normal(0, 0.2, units).astype(np.float32),
        random.normal(0, 0.5, units).astype(np.float32),
        random.uniform(0.5, 2, units).astype(np.float32),
    ]


class Graph:
    """A chain of nodes in the making."""

    def __init__(self, opset=17, elem_type=TensorProto.FLOAT):
        self.opset, self.elem_type, self.nodes, self.constants, self.value = opset, elem_type, [], [], "images"

    def constant(self, values):
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, op, *constants, **attributes):
        inputs = [self.value, *(one if isinstance(one, str) else self.constant(one) for one in constants)]
        output = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{op.lower()}{len(self.nodes)}", **attributes))
        self.value = output
        return self

    def file(self, path, shape=(INPUTS,)):
        images = helper.make_tensor_value_info("images", self.elem_type, ["batch", *shape])
        self.nodes.append(helper.make_node("Identity", [self.value], ["logits"]))
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
        graph = helper.make_graph(self.nodes, "test", [images], [logits], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


class Import(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        save_file({"pixels": pixels}, cls.path("pixels.safetensors"))

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def run_import(self, name, *options):
        answers = self.path("answers.safetensors")
        example = ["cargo", "run", "--quiet", "-p", "qnn-files", "--example", "dense_answers", "--"]
        arguments = [self.path(name), self.path("pixels.safetensors"), answers, *options]
        return subprocess.run(example + arguments, capture_output=True, text=True), answers

    def imported(self, name, *options):
        """The logits of the network as it was read, and of the trainer made of it."""
        result, answers = self.run_import(name, *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        answers = load_file(answers)
        return answers["original"], answers["trainer"]

    def refused(self, name):
        result, _ = self.run_import(name)
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("panicked", result.stderr)
        return result.stderr

    def runtime(self, name, images):
        session = onnxruntime.InferenceSession(self.path(name), providers=["CPUExecutionProvider"])
        return session.run(["logits"], {"images": images})[0]

    def compare(self, name, expected, *options):
        for logits in self.imported(name, *options):
            np.testing.assert_allclose(logits, expected, atol=2e-4 * np.abs(expected).max())

    def test_gemm_batch_normalization_and_relu_of_normalized_bytes(self):
        graph = Graph()
        graph.add("Flatten").add("Div", np.float32(255)).add("Sub", np.float32([0.13])).add("Div", np.float32([0.31]))
        for index, (weight, bias) in enumerate(weights()):
            graph.add("Gemm", weight, bias, transB=1)
            if index < 2:
                graph.add("BatchNormalization", *norm(len(bias)), epsilon=1e-3).add("Relu").add("Dropout")
        graph.file(self.path("gemm.onnx"), (1, 7, 7))
        self.compare("gemm.onnx", self.runtime("gemm.onnx", pixels.reshape(-1, 1, 7, 7).astype(np.float32)))

    def test_matmul_and_add_with_hard_tanh(self):
        graph = Graph()
        for index, (weight, bias) in enumerate(weights()):
            graph.add("MatMul", weight.T.copy()).add("Add", bias)
            if index < 2:
                graph.add("Clip", np.float32(-1), np.float32(1))
        graph.file(self.path("matmul.onnx"))
        self.compare("matmul.onnx", self.runtime("matmul.onnx", pixels.astype(np.float32) / 255))

    def test_bytes_that_the_graph_dequantizes(self):
        graph = Graph(elem_type=TensorProto.UINT8).add("DequantizeLinear", np.float32(1 / 128), np.uint8(100))
        for index, (weight, bias) in enumerate(weights()):
            graph.add("Gemm", weight, bias, transB=1)
            if index < 2:
                graph.add("Relu")
        graph.file(self.path("bytes.onnx"))
        self.compare("bytes.onnx", self.runtime("bytes.onnx", pixels))

    def test_relu_6_scalings_and_normalization_after_it(self):
        graph = Graph(opset=9, elem_type=TensorProto.UINT8)
        graph.add("Cast", to=TensorProto.FLOAT).add("Mul", np.float32(1 / 256))
        for index, (weight, bias) in enumerate(weights()):
            graph.add("Gemm", weight.T.copy(), bias, alpha=0.8, beta=1.5)
            if index < 2:
                graph.add("Clip", min=0.0, max=6.0).add("BatchNormalization", *norm(len(bias)))
                graph.add("Mul", random.uniform(0.5, 2, len(bias)).astype(np.float32)).add("Sub", np.float32(0.1))
        graph.add("Div", np.float32(3))
        graph.file(self.path("relu6.onnx"))
        self.compare("relu6.onnx", self.runtime("relu6.onnx", pixels))

    def test_tanh_and_sign_are_read_though_not_kept_in_training(self):
        for activation in ["Tanh", "Sign"]:
            graph = Graph()
            for index, (weight, bias) in enumerate(weights()):
                graph.add("Gemm", weight, bias, transB=1)
                if index < 2:
                    graph.add(activation)
            graph.file(self.path("tanh.onnx"))
            original, trainer = self.imported("tanh.onnx")
            expected = self.runtime("tanh.onnx", pixels.astype(np.float32) / 255)
            np.testing.assert_allclose(original, expected, atol=2e-4 * np.abs(expected).max())
            self.assertTrue(np.isfinite(trainer).all())

    def test_quantized_networks(self):
        for form, kinds in [(quantization.QuantFormat.QDQ, ["Gemm", "MatMul"]), (quantization.QuantFormat.QOperator, ["MatMul"])]:
            for weight_type in [quantization.QuantType.QInt8, quantization.QuantType.QUInt8]:
                with self.subTest(str(form), weights=str(weight_type)):
                    graph = Graph()
                    for index, (weight, bias) in enumerate(weights()):
                        graph.add("MatMul", weight.T.copy()).add("Add", bias)
                        if index < 2:
                            graph.add("Relu")
                    graph.file(self.path("float.onnx"))
                    images = pixels.astype(np.float32) / 255

                    class Images(quantization.CalibrationDataReader):
                        batches = iter([{"images": images}])

                        def get_next(self):
                            return next(self.batches, None)

                    quantization.quantize_static(
                        self.path("float.onnx"), self.path("quantized.onnx"), Images(), quant_format=form,
                        op_types_to_quantize=kinds, weight_type=weight_type, activation_type=weight_type, per_channel=form == quantization.QuantFormat.QDQ,
                    )
                    operators = {node.op_type for node in onnx.load(self.path("quantized.onnx")).graph.node}
                    self.assertTrue(operators & {"DequantizeLinear", "QLinearMatMul"})
                    expected = self.runtime("quantized.onnx", images)
                    self.assertGreater(np.abs(self.runtime("float.onnx", images) - expected).max(), 1e-3)
                    original, trainer = self.imported("quantized.onnx")
                    # Activations are rounded to 8 bits there, and not here.
                    np.testing.assert_allclose(original, expected, atol=4e-2 * np.abs(expected).max())
                    np.testing.assert_allclose(trainer, original, atol=2e-4 * np.abs(expected).max())

    def test_state_dicts(self):
        layers, norms = weights(), [norm(units) for units in HIDDEN]
        names = ["weight", "bias", "running_mean", "running_var"]

        def expected(activation, layers, norms):
            values = pixels.astype(np.float64) / 255
            for index, (weight, bias) in enumerate(layers):
                values = values @ weight.T.astype(np.float64) + bias
                if index < 2:
                    if norms:
                        gamma, beta, mean, variance = norms[index]
                        values = (values - mean) / np.sqrt(variance + 1e-5) * gamma + beta
                    values = activation(values)
            return values

        def relu(values):
            return np.maximum(values, 0)

        for product, normalization in [("0 3 6", "1 4"), ("fc9 fc10 fc11", "bn1 bn2"), ("net.0.linear net.1.linear net.2.linear", "net.0.bn net.1.bn")]:
            state = {f"{name}.{part}": values for name, layer in zip(product.split(), layers) for part, values in zip(names, layer)}
            for name, parts in zip(normalization.split(), norms):
                state |= {f"{name}.{part}": values for part, values in zip(names, parts)}
                state[f"{name}.num_batches_tracked"] = np.array(100)
            save_file(state, self.path("state.safetensors"))
            with self.subTest(product):
                self.compare("state.safetensors", expected(relu, layers, norms))

        plain = {f"layers.{index}.{part}": values for index, layer in enumerate(layers) for part, values in zip(names, layer)}
        for dtype in [np.float16, np.float64]:
            save_file({name: values.astype(dtype) for name, values in plain.items()}, self.path("state.safetensors"))
            rounded = [[values.astype(dtype) for values in layer] for layer in layers]
            with self.subTest(str(dtype)):
                self.compare("state.safetensors", expected(lambda x: np.clip(x, -1, 1), rounded, None), "hard-tanh")

        scales = [np.abs(weight).max(axis=1, keepdims=True) / 127 for weight, _ in layers]
        bytes_ = [np.rint(weight / scale).astype(np.int8) for (weight, _), scale in zip(layers, scales)]
        state = {f"{index}.weight": weight for index, weight in enumerate(bytes_)}
        state |= {f"{index}.weight_scale": scale for index, scale in enumerate(scales)}
        state |= {f"{index}.bias": bias for index, (_, bias) in enumerate(layers)}
        save_file(state, self.path("state.safetensors"))
        dequantized = [(weight * scale, bias) for weight, scale, (_, bias) in zip(bytes_, scales, layers)]
        self.compare("state.safetensors", expected(relu, dequantized, None))
        del state["1.weight_scale"]
        save_file(state, self.path("state.safetensors"))
        self.assertIn("1.weight", self.refused("state.safetensors"))

    def test_what_is_no_such_network_is_refused_by_its_node(self):
        layers = weights()
        graph = Graph().add("Gemm", *layers[0], transB=1).add("Sigmoid")
        graph.add("Gemm", *layers[1], transB=1).add("Relu").add("Gemm", *layers[2], transB=1)
        graph.file(self.path("sigmoid.onnx"))
        self.assertIn("sigmoid1", self.refused("sigmoid.onnx"))
        graph = Graph().add("Gemm", *layers[0], transB=1).add("Relu")
        graph.add("Gemm", np.eye(HIDDEN[0], dtype=np.float32)).add("Add", "value1").add("Relu")
        graph.add("Gemm", *layers[1], transB=1).add("Relu").add("Gemm", *layers[2], transB=1)
        graph.file(self.path("residual.onnx"))
        self.assertIn("add3", self.refused("residual.onnx"))
