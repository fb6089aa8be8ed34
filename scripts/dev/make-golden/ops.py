# SPDX-License-Identifier: Apache-2.0
"""What the reference evaluator of ONNX makes of each primitive, in F64.

    python3 ops.py OUTPUT.gguf

One operator a case, evaluated alone. Windows are boolean masks, which ONNX's Attention takes; everything else is an
operator of its own name. Inputs are rounded to F32 before, results after.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from container import Golden

RANDOM = np.random.default_rng(20260101)


def draw(*shape, scale=1.0):
    return RANDOM.normal(0.0, scale, shape).astype(np.float32).astype(np.float64)


def evaluate(operator, inputs, outputs=1, **attributes):
    """Outputs of one ONNX operator; an input that is None is absent."""
    names = [f"i{n}" if value is not None else "" for n, value in enumerate(inputs)]
    node = helper.make_node(operator, names, [f"o{n}" for n in range(outputs)], **attributes)
    given = {name: value for name, value in zip(names, inputs) if value is not None}
    info = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in given.items()]
    results = [helper.make_tensor_value_info(f"o{n}", TensorProto.UNDEFINED, None) for n in range(outputs)]
    model = helper.make_model(helper.make_graph([node], "case", info, results),
                              opset_imports=[helper.make_opsetid("", 24)])
    return ReferenceEvaluator(model).run(None, given)


class Cases:
    def __init__(self, path):
        self.golden = Golden(path, f"onnx {onnx.__version__}, numpy {np.__version__}")
        self.count = 0

    def add(self, op, numbers, arrays):
        key = f"case.{self.count}."
        self.golden.text(key + "op", op)
        for name, value in numbers.items():
            self.golden.number(key + name, value)
        for name, value in arrays.items():
            kind = np.int32 if np.asarray(value).dtype.kind == "i" else np.float32
            self.golden.array(key + name, value, kind)
        self.count += 1

    def save(self):
        self.golden.number("golden.cases", self.count)
        self.golden.save()


def matmul(cases):
    x, w, bias = draw(5, 67), draw(9, 67), draw(9)
    y, = evaluate("Gemm", [x, w, bias], transB=1)
    cases.add("MATMUL", {}, {"x": x, "w": w, "bias": bias, "y": y})


def rms_norm(cases):
    x, w = draw(5, 48, scale=0.1), draw(48)
    y, = evaluate("RMSNormalization", [x, w], axis=-1, epsilon=1e-3)
    cases.add("RMS_NORM", {"eps": 1e-3}, {"x": x, "w": w, "y": y})


def rope(cases, half, rotary):
    heads, dim = 2, 32
    positions = np.array([0, 1, 7, 100, 4095], dtype=np.int64)
    frequencies = (10000.0 ** (-np.arange(0, rotary, 2) / rotary)).astype(np.float32).astype(np.float64)
    angles = positions[:, None] * frequencies
    x = draw(len(positions), heads * dim)
    y, = evaluate("RotaryEmbedding", [x[None], np.cos(angles)[None], np.sin(angles)[None]], num_heads=heads,
                  interleaved=0 if half else 1, rotary_embedding_dim=rotary)
    cases.add("ROPE", {"half": int(half), "head_dim": dim, "rotary_dim": rotary},
              {"x": x, "positions": positions, "inverse_frequencies": frequencies, "y": y[0]})


def glu(cases, kind):
    gate, up = draw(4, 40, scale=2.0), draw(4, 40)
    if kind == 0:
        act, = evaluate("Swish", [gate])
    elif kind == 3:
        act, = evaluate("Relu", [gate])
    else:
        act, = evaluate("Gelu", [gate], approximate="tanh" if kind == 2 else "none")
    y, = evaluate("Mul", [act, up])
    cases.add("GLU", {"activation": kind}, {"x": gate, "up": up, "y": y})


def softmax(cases):
    x = draw(4, 37, scale=4.0)
    y, = evaluate("Softmax", [x], axis=-1)
    cases.add("SOFTMAX", {}, {"x": x, "y": y})


def topk(cases):
    x = RANDOM.permutation(4 * 33).reshape(4, 33).astype(np.float64)
    values, indices = evaluate("TopK", [x, np.array([5], dtype=np.int64)], outputs=2, axis=-1, largest=1, sorted=1)
    cases.add("TOPK", {"k": 5}, {"x": x, "y": values, "indices": indices})


def attention(cases, heads, kv_heads, window, softcap, bidirectional):
    rows, dim, v_dim = 13, 16, 12
    q, k, v = draw(rows, heads * dim, scale=2.0), draw(rows, kv_heads * dim), draw(rows, kv_heads * v_dim)
    distance = np.arange(rows)[:, None] - np.arange(rows)[None]
    if bidirectional:
        distance = abs(distance)
    mask = (distance >= 0) & ((distance < window) if window else True)
    scale = float(np.float32(dim ** -0.5))
    y = evaluate("Attention", [q[None], k[None], v[None], mask], q_num_heads=heads, kv_num_heads=kv_heads, scale=scale,
                 softcap=softcap)[0]
    cases.add("ATTENTION", {"heads": heads, "kv_heads": kv_heads, "window": window, "scale": scale,
                            "softcap": softcap, "bidirectional": int(bidirectional)},
              {"x": q, "k": k, "v": v, "y": y[0]})


def main():
    cases = Cases(sys.argv[1])
    matmul(cases)
    rms_norm(cases)
    for half in (False, True):
        rope(cases, half, 32)
        rope(cases, half, 20)
    for kind in range(4):
        glu(cases, kind)
    softmax(cases)
    topk(cases)
    attention(cases, 4, 2, 0, 0.0, False)
    attention(cases, 6, 3, 5, 0.0, False)
    attention(cases, 4, 1, 1, 0.0, False)
    attention(cases, 4, 4, 7, 2.0, True)
    cases.save()


main()
