#!/usr/bin/env python3
"""Writes FOLDER/model.onnx from the weights of all-MiniLM-L6-v2 in FOLDER: export_minilm.py FOLDER

A BERT encoder as sentence-transformers publishes it (opset 17, float32), written out with the package `onnx` alone.
Inputs: input_ids, attention_mask, token_type_ids, int64 [batch, sequence]. Output: last_hidden_state, float32
[batch, sequence, 384]; pooling is the caller's. The graph is compared with a float64 computation of the same weights
before the file is put in place. The same input gives the same bytes, so that all replicas name the model alike.
"""

import json
import math
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 17
# The oldest format that knows opset 17: readable by every ONNX Runtime that does.
IR_VERSION = 8
# Added to the score of a padded position: its weight becomes exactly 0 in float32.
MASKED = -10000.0
LEAST_COSINE = 0.9999
# "[CLS] how do i reset my password [SEP]" and "[CLS] hello world [SEP]", padded.
SAMPLE = [[101, 2129, 2079, 1045, 25141, 2026, 20786, 102], [101, 7592, 2088, 102, 0, 0, 0, 0]]


def read_safetensors(path):
    """Gives name -> array: eight bytes of length, a JSON header, then the raw tensors."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


class Graph:
    """Collects nodes and constants; every operation gives the name of its output."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def op(self, kind, *inputs, **attributes):
        name = attributes.pop("out", f"{kind.lower()}_{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{len(self.nodes)}", **attributes))
        return name

    def constant(self, name, value):
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name):
        return self.constant(name, self.weights[name])

    def linear(self, x, name):
        # Stored as [in, out], so that no transposition is left to run time.
        kernel = self.constant(f"{name}.weight.T", self.weights[f"{name}.weight"].T)
        return self.op("Add", self.op("MatMul", x, kernel), self.weight(f"{name}.bias"))

    def layer_norm(self, x, name, epsilon, **attributes):
        return self.op("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"),
                       axis=-1, epsilon=epsilon, **attributes)

    def embeddings(self, epsilon):
        one = self.constant("one", np.array([1], np.int64))
        length = self.op("Slice", self.op("Shape", "input_ids"), one, self.constant("two", np.array([2], np.int64)))
        positions = self.op("Slice", self.weight("embeddings.position_embeddings.weight"),
                            self.constant("zero", np.array([0], np.int64)), length)
        words = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        types = self.op("Gather", self.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
        total = self.op("Add", self.op("Add", words, types), positions)
        return self.layer_norm(total, "embeddings.LayerNorm", epsilon)

    def mask(self):
        """0 where a token counts, MASKED where not: [batch, 1, 1, sequence]."""
        axes = self.constant("mask_axes", np.array([1, 2], np.int64))
        counts = self.op("Unsqueeze", self.op("Cast", "attention_mask", to=TensorProto.FLOAT), axes)
        absent = self.op("Sub", self.constant("one_f", np.array(1, np.float32)), counts)
        return self.op("Mul", absent, self.constant("masked", np.array(MASKED, np.float32)))

    def attention(self, x, mask, prefix, heads, size):
        split = self.constant("split_heads", np.array([0, 0, heads, size], np.int64))

        def project(part, order):
            parts = self.op("Reshape", self.linear(x, f"{prefix}.attention.self.{part}"), split)
            return self.op("Transpose", parts, perm=order)

        query, key, value = project("query", [0, 2, 1, 3]), project("key", [0, 2, 3, 1]), project("value", [0, 2, 1, 3])
        scale = self.constant("scale", np.array(math.sqrt(size), np.float32))
        scores = self.op("Add", self.op("Div", self.op("MatMul", query, key), scale), mask)
        context = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        joined = self.op("Reshape", self.op("Transpose", context, perm=[0, 2, 1, 3]),
                         self.constant("join_heads", np.array([0, 0, heads * size], np.int64)))
        return self.linear(joined, f"{prefix}.attention.output.dense")

    def gelu(self, x):
        spread = self.op("Erf", self.op("Div", x, self.constant("sqrt2", np.array(math.sqrt(2), np.float32))))
        both = self.op("Mul", x, self.op("Add", spread, self.constant("one_f", np.array(1, np.float32))))
        return self.op("Mul", both, self.constant("half", np.array(0.5, np.float32)))

    def model(self, config):
        heads, epsilon, layers = (config[key] for key in ("num_attention_heads", "layer_norm_eps", "num_hidden_layers"))
        size = config["hidden_size"] // heads
        x, mask = self.embeddings(epsilon), self.mask()
        for layer in range(layers):
            prefix = f"encoder.layer.{layer}"
            attended = self.op("Add", self.attention(x, mask, prefix, heads, size), x)
            x = self.layer_norm(attended, f"{prefix}.attention.output.LayerNorm", epsilon)
            inner = self.gelu(self.linear(x, f"{prefix}.intermediate.dense"))
            outer = self.op("Add", self.linear(inner, f"{prefix}.output.dense"), x)
            last = {"out": "last_hidden_state"} if layer == layers - 1 else {}
            x = self.layer_norm(outer, f"{prefix}.output.LayerNorm", epsilon, **last)
        names = ("input_ids", "attention_mask", "token_type_ids")
        shape = ["batch", "sequence"]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in names]
        output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, config["hidden_size"]])
        graph = helper.make_graph(self.nodes, "all-MiniLM-L6-v2", inputs, [output], list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="signalbox")
        model.ir_version = IR_VERSION
        return model


def reference(weights, config, ids, mask):
    """The same encoder in float64, written independently of the graph."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    erf = np.vectorize(math.erf)

    def dense(x, name):
        return np.einsum("bsi,oi->bso", x, w[f"{name}.weight"]) + w[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return (centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
                * w[f"{name}.weight"] + w[f"{name}.bias"])

    batch, length = ids.shape
    heads = config["num_attention_heads"]
    x = norm(w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:length]
             + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{p}.attention.self.{part}").reshape(batch, length, heads, -1)
                   for part in ("query", "key", "value"))
        scores = np.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(q.shape[-1])
        scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
        share = np.exp(scores - scores.max(-1, keepdims=True))
        context = np.einsum("bhij,bjhd->bihd", share / share.sum(-1, keepdims=True), v).reshape(batch, length, -1)
        x = norm(dense(context, f"{p}.attention.output.dense") + x, f"{p}.attention.output.LayerNorm")
        inner = dense(x, f"{p}.intermediate.dense")
        inner = inner * (1 + erf(inner / math.sqrt(2))) / 2
        x = norm(dense(inner, f"{p}.output.dense") + x, f"{p}.output.LayerNorm")
    return x


def mean_pool(hidden, mask):
    """One unit vector per text."""
    summed = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    weights = read_safetensors(os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    model = Graph(weights).model(config)
    onnx.checker.check_model(model, full_check=True)

    ids = np.array(SAMPLE, np.int64)
    mask = (ids != config["pad_token_id"]).astype(np.int64)
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (hidden,) = ReferenceEvaluator(model).run(None, feed)
    cosines = (mean_pool(hidden.astype(np.float64), mask) * mean_pool(reference(weights, config, ids, mask), mask)).sum(1)
    print(f"   graph against float64: cosine at least {cosines.min():.7f}")
    if not cosines.min() > LEAST_COSINE:
        sys.exit(f"error: the graph differs from its weights (cosine {cosines.min():.7f})")

    # Under its name only when complete.
    path = os.path.join(folder, "model.onnx")
    onnx.save(model, path + ".part")
    os.replace(path + ".part", path)
    print(f"   {path} ({os.path.getsize(path) / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
