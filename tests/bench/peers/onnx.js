// Just enough of the ONNX format to write down a chain of layers: protocol buffers, by hand.

const FLOAT = 1;
const INT8 = 3;
const INT64 = 7;

const utf8 = new TextEncoder();

function varint(value) {
    const bytes = [];
    for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
    return [...bytes, value];
}

// A message is a list of byte arrays, so that weights are copied only once, at the end.
const integer = (field, value) => [Uint8Array.of(...varint(field * 8), ...varint(value))];
const message = (field, ...parts) => {
    const content = parts.flat();
    const length = content.reduce((sum, part) => sum + part.length, 0);
    return [Uint8Array.of(...varint(field * 8 + 2), ...varint(length)), ...content];
};
const text = (field, string) => message(field, utf8.encode(string));

const node = (type, inputs, outputs, ...attributes) => {
    const names = [...inputs.map((name) => text(1, name)), ...outputs.map((name) => text(2, name))];
    return message(1, ...names, text(4, type), ...attributes);
};
const integerAttribute = (name, value) => message(5, text(1, name), integer(3, value), integer(20, 2));

function tensor(name, type, dimensions, values) {
    const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    return message(5, ...dimensions.map((size) => integer(1, size)), integer(2, type), text(8, name), message(9, raw));
}

/** A float tensor going in or out; a dimension is a number, or a name where it may vary. */
function value(field, name, dimensions) {
    const shape = dimensions.map((size) => message(1, typeof size === "number" ? integer(1, size) : text(2, size)));
    return message(field, text(1, name), message(2, message(1, integer(1, FLOAT), message(2, ...shape))));
}

function model(...graph) {
    const parts = [integer(1, 8), message(7, text(2, "graph"), ...graph), message(8, integer(2, 17))].flat();
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
    }
    return bytes;
}

/** Two constant matrices, their product, and of it only the first number. */
export function productModel(a, b, [rows, inner, columns]) {
    return model(
        node("MatMul", ["a", "b"], ["c"]),
        node("Slice", ["c", "zeros", "ones"], ["first"]),
        tensor("a", FLOAT, [rows, inner], a),
        tensor("b", FLOAT, [inner, columns], b),
        tensor("zeros", INT64, [2], new BigInt64Array([0n, 0n])),
        tensor("ones", INT64, [2], new BigInt64Array([1n, 1n])),
        value(12, "first", [1, 1]),
    );
}

/** From `input0` to `input<layers>`: dense layers of float32, each a Gemm. */
const floatLayer = ({ inputs, outputs, weights, bias }, index, to) => [
    node("Gemm", [`input${index}`, `weights${index}`, `bias${index}`], [to]),
    tensor(`weights${index}`, FLOAT, [inputs, outputs], weights),
    tensor(`bias${index}`, FLOAT, [outputs], bias),
];

/** The same as ONNX Runtime's dynamic quantization leaves it: int8 weights, activations quantized as they come. */
function integerLayer({ inputs, outputs, weights, bias }, index, to) {
    const scale = weights.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0) / 127;
    const integers = Int8Array.from(weights, (weight) => Math.round(weight / scale));
    const name = (word) => `${word}${index}`;
    return [
        node("DynamicQuantizeLinear", [name("input")], ["quantized", "scale", "zero"].map(name)),
        node("MatMulInteger", ["quantized", "weights", "zero", "weightsZero"].map(name), [name("sums")]),
        node("Cast", [name("sums")], [name("floats")], integerAttribute("to", FLOAT)),
        node("Mul", [name("scale"), name("weightsScale")], [name("unit")]),
        node("Mul", [name("floats"), name("unit")], [name("product")]),
        node("Add", [name("product"), name("bias")], [to]),
        tensor(name("weights"), INT8, [inputs, outputs], integers),
        tensor(name("weightsZero"), INT8, [], Int8Array.of(0)),
        tensor(name("weightsScale"), FLOAT, [], Float32Array.of(scale)),
        tensor(name("bias"), FLOAT, [outputs], bias),
    ];
}

/** Dense layers with Relu between them, for any number of images. */
export function networkModel(layers, precision) {
    const layer = precision === "int8" ? integerLayer : floatLayer;
    const last = layers.length - 1;
    return model(
        ...layers.flatMap((of, index) =>
            index === last
                ? layer(of, index, "logits")
                : [...layer(of, index, `sum${index}`), node("Relu", [`sum${index}`], [`input${index + 1}`])],
        ),
        value(11, "input0", ["images", layers[0].inputs]),
        value(12, "logits", ["images", layers[last].outputs]),
    );
}
