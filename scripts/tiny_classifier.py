"""Writes the tiny classifier of the guard's tests: a graph and a tokenizer of the form that real ones have.

It knows five words and calls a text an attack (label 1) when `ignore` and `instructions` stand in it often enough:
logits are 0 and 4 * count - 6. Usage: python scripts/tiny_classifier.py services/guard/testdata/classifier
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = ["[UNK]", "[PAD]", "ignore", "instructions", "please"]


def graph() -> onnx.ModelProto:
    def number(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    nodes = [
        # Of the five words, the third and the fourth count.
        helper.make_node("Gather", ["weights", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["each", "mask"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["sum", "bias"], ["attack"]),
        helper.make_node("Mul", ["sum", "zero"], ["harmless"]),
        helper.make_node("Concat", ["harmless", "attack"], ["logits"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    constants = [
        number("weights", np.array([0, 0, 4, 4, 0], dtype=np.float32)),
        number("axis", np.array([1], dtype=np.int64)),
        number("bias", np.array([-6], dtype=np.float32)),
        number("zero", np.array([0], dtype=np.float32)),
    ]
    made = helper.make_graph(nodes, "tiny_classifier", inputs, outputs, constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def tokenizer() -> dict:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(graph(), folder / "model.onnx")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(), indent=1) + "\n")


if __name__ == "__main__":
    main()
