#!/usr/bin/env python3
"""GPTCache and Signalbox's cache side by side: the same pairs, the same encoder, the same counting, in one run.

    python3 -m venv /tmp/gptcache && /tmp/gptcache/bin/pip install gptcache sqlalchemy faiss-cpu onnxruntime tokenizers
    cargo build --release --bin signalbox
    /tmp/gptcache/bin/python scripts/compare_gptcache.py DATA [--limit N]       # DATA/cache/*.jsonl with a, b and label, as for `cache eval`

GPTCache runs as its documentation sets it up: faiss and SQLite, its distance evaluation, its threshold of 0.8 (and 0.9 beside it), with
all-MiniLM-L6-v2 as its encoder, the file that Signalbox uses. Its other evaluation downloads a model and is not run. Each pair has a cache of its own
that knows `a` and is asked `b`.
"""

import argparse
import json
import logging
import os
import pathlib
import subprocess
import tempfile

import numpy as np
import onnxruntime
from gptcache import Cache, Config
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.processor.pre import get_prompt
from gptcache.similarity_evaluation import SearchDistanceEvaluation
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TOOLS = pathlib.Path(os.environ.get("SIGNALBOX_CACHE", pathlib.Path.home() / ".cache/signalbox"))
THRESHOLDS = (0.8, 0.9)


class Encoder:
    """Mean of the last layer, of length one; each text once."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self.known = {}

    def __call__(self, text, **_):
        if text not in self.known:
            ids = np.array([self.tokenizer.encode(text).ids], np.int64)
            ones = np.ones_like(ids)
            hidden = self.session.run(None, dict(input_ids=ids, attention_mask=ones, token_type_ids=ones * 0))[0][0]
            vector = hidden.mean(0)
            self.known[text] = (vector / np.linalg.norm(vector)).astype(np.float32)
        return self.known[text]


def hits(rows, encode, folder):
    """For each threshold, whether GPTCache answers the second question of each pair with the first one's answer."""
    manager = get_data_manager(
        CacheBase("sqlite", sql_url=f"sqlite:///{folder}/cache.db"),
        VectorBase("faiss", dimension=384, index_path=f"{folder}/faiss.index", top_k=1),
        max_size=10,
    )
    caches = []
    for threshold in THRESHOLDS:
        cache = Cache()
        cache.init(pre_embedding_func=get_prompt, embedding_func=encode, data_manager=manager,
                   similarity_evaluation=SearchDistanceEvaluation(), config=Config(similarity_threshold=threshold, log_time_func=None))
        caches.append(cache)
    found = np.zeros((len(THRESHOLDS), len(rows)), bool)
    for at, row in enumerate(rows):
        ids = manager.v._index.ntotal
        assert ids == 0, "the cache of the last pair is gone"
        put(row["a"], "answer", cache_obj=caches[0])
        for n, cache in enumerate(caches):
            found[n, at] = get(row["b"], cache_obj=cache) == "answer"
        manager.v._index.reset()
    return found


def told(name, hit, label):
    right, wrong = int((hit & label).sum()), int((hit & ~label).sum())
    share = lambda part, of: f"{100 * part / of:6.1f} %" if of else "     –  "
    print(f"{name:<34}{share(right, label.sum())}{share(wrong, right + wrong):>14}{share(wrong, (~label).sum()):>14}{right + wrong:>8}")


def main():
    # It writes its index once more at its end, when the folder is gone.
    logging.disable(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=4000, help="pairs of each file")
    parser.add_argument("--signalbox", type=pathlib.Path, default=TARGET / "release/signalbox")
    args = parser.parse_args()
    encode = Encoder(TOOLS / "models/all-MiniLM-L6-v2")
    for path in sorted((args.data / "cache").glob("*.jsonl")):
        rows = [json.loads(line) for line in path.open() if line.strip()]
        rows = [row for row in rows if "a" in row and "b" in row][: args.limit]
        for number, row in enumerate(rows):
            row["id"] = str(number)
        label = np.array([int(row["label"]) == 1 for row in rows])
        with tempfile.TemporaryDirectory() as folder:
            found = hits(rows, encode, folder)
            own = pathlib.Path(folder)
            (own / "cache").mkdir()
            (own / "cache/pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            command = [args.signalbox, "cache", "eval", "--data", own, "--predictions", own / "predictions", "--json"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            judged = {row["id"]: row for row in map(json.loads, (own / "predictions").open())}
        ours = np.array([judged[row["id"]]["decision"] == "hit" for row in rows])
        print(f"\n{path.name}: {label.sum()} pairs with one answer, {(~label).sum()} with two")
        print(f"{'':<34}{'hit':>8}{'wrong hits':>14}{'false hits':>14}{'hits':>8}")
        for threshold, hit in zip(THRESHOLDS, found):
            told(f"GPTCache, threshold {threshold}", hit, label)
        told("Signalbox, as it comes", ours, label)


if __name__ == "__main__":
    main()
