#!/usr/bin/env python3
"""Writes services/cache/models/words.bin: common English words by how common they are, each with a short vector.

    cargo build -p signalbox-cache --example cache_inputs && python3 scripts/cache_words.py

Words are the whole words of the embedding model's own vocabulary, which is in order of how common they are; each is embedded by itself by
that model (all-MiniLM-L6-v2, Apache-2.0). Vectors are centred, cut to their 40 main directions and rounded to a byte. No chance is involved.
"""
import json, os, pathlib, struct, subprocess, sys
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CACHE = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "signalbox")
MODEL = pathlib.Path(os.environ.get("SIGNALBOX_MODEL_DIR", CACHE / "models/all-MiniLM-L6-v2"))
WIDTH = 40


def main():
    vocabulary = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
    words = [w for w, _ in sorted(vocabulary.items(), key=lambda item: item[1]) if w.isascii() and w.isalpha() and len(w) > 1]
    lines = "".join(json.dumps({"text": word}) + "\n" for word in words)
    ran = subprocess.run([TARGET / "debug/examples/cache_inputs"], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    vectors = np.frombuffer(ran.stdout, "<f4").reshape(len(words), -1).astype(np.float64)
    vectors -= vectors.mean(0)
    _, _, directions = np.linalg.svd(vectors, full_matrices=False)
    short = vectors @ directions[:WIDTH].T
    short /= np.linalg.norm(short, axis=1, keepdims=True)
    scale = 1 / 127
    text = "\n".join(words).encode()
    out = struct.pack("<IIIf", len(words), WIDTH, len(text), scale) + text + np.round(short / scale).clip(-127, 127).astype("i1").tobytes()
    (ROOT / "services/cache/models/words.bin").write_bytes(out)
    print(f"{len(words)} words, {len(out)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
