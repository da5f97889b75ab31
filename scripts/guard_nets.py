"""The guard's networks over embeddings: their inputs, which the guard itself computes, and their training. `train_guard.py` is the command.

Inputs are kept in the cache folder, by the code that makes them.
"""

import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np

from guard_rows import WINDOWS, weights_of

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path.home() / ".cache/signalbox") / "guard-inputs"


def key(text, channel):
    return hashlib.sha256(f"{channel}\0{text}".encode()).hexdigest()


def inputs(found, binary):
    """The windows of each text, from the cache or from the guard."""
    CACHE.mkdir(parents=True, exist_ok=True)
    source = b"".join((ROOT / f"services/guard/src/injection/{n}.rs").read_bytes() for n in ("signals", "windows"))
    stamp = hashlib.sha256(b"".join(source.split())).hexdigest()[:12]
    store = CACHE / f"{stamp}.bin"
    known = {}
    if store.exists():
        raw = store.read_bytes()
        at = 0
        while at + 40 <= len(raw):
            name, count, width = raw[at:at + 32].hex(), *struct.unpack_from("<II", raw, at + 32)
            end = at + 40 + count * width * 4
            if end > len(raw):
                break
            known[name] = np.frombuffer(raw, "<f4", count * width, at + 40).reshape(count, width)
            at = end
    missing = {key(t, c): (t, c) for t, _, _, c in sorted(found, key=lambda row: len(row[0])) if key(t, c) not in known}
    names = list(missing)
    print(f"{len(found)} texts, {len(names)} of them new", file=sys.stderr)
    batch = 2000
    for at in range(0, len(names), batch):
        part = names[at:at + batch]
        lines = "".join(json.dumps({"text": missing[n][0], "channel": missing[n][1]}) + "\n" for n in part)
        raw = subprocess.run([binary], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
        # The width is the same for all: what is left after the counts, by the windows.
        width = width_of(raw, len(part))
        offset = 0
        with store.open("ab") as out:
            for name in part:
                (count,) = struct.unpack_from("<I", raw, offset)
                body = raw[offset + 4:offset + 4 + count * width * 4]
                known[name] = np.frombuffer(body, "<f4").reshape(count, width)
                out.write(bytes.fromhex(name) + struct.pack("<II", count, width) + body)
                offset += 4 + count * width * 4
        print(f"  {at + len(part)}/{len(names)}", end="\r", file=sys.stderr)
    return [known[key(t, c)] for t, _, _, c in found]


def width_of(raw, texts):
    for width in range(385, 600):
        at = 0
        for _ in range(texts):
            if at + 4 > len(raw):
                break
            at += 4 + struct.unpack_from("<I", raw, at)[0] * width * 4
        else:
            if at == len(raw):
                return width
    raise SystemExit("the guard's inputs have no width that fits")


class Bags:
    """Windows of many texts in one matrix; a text is as bad as its worst window."""

    def __init__(self, windows, found):
        self.x = np.concatenate(windows).astype(np.float32)
        self.start = np.cumsum([0] + [len(w) for w in windows])
        self.label = np.array([label for _, label, _, _ in found], np.float32)
        self.source = np.array([source for _, _, source, _ in found])

    def worst(self, scores):
        """The index of each text's highest window."""
        return np.array([a + int(np.argmax(scores[a:b])) for a, b in zip(self.start[:-1], self.start[1:])])


def forward(net, x, drop=None):
    hidden = np.maximum(x @ net["a"] + net["b"], 0)
    if drop is not None:
        hidden = hidden * drop
    return hidden, hidden @ net["c"] + net["d"]


def train(bags, keep, seed, hidden=40, epochs=16, decay=2e-3, rate=2e-3, smooth=0.03):
    """One network with one hidden layer, by Adam; each epoch looks at the window that is the worst so far, and at a random one."""
    rng = np.random.default_rng(seed)
    size = bags.x.shape[1]
    net = {"a": rng.normal(0, (2 / size) ** 0.5, (size, hidden)).astype(np.float32), "b": np.zeros(hidden, np.float32),
           "c": rng.normal(0, hidden ** -0.5, hidden).astype(np.float32), "d": np.float32(0)}
    moments = {k: [np.zeros_like(v), np.zeros_like(v)] for k, v in net.items()}
    chosen, weight, step = np.flatnonzero(keep), weights_of(bags, keep), 0
    for epoch in range(epochs):
        worst = bags.worst(forward(net, bags.x)[1])
        anyone = bags.start[:-1] + (rng.random(len(worst)) * np.diff(bags.start)).astype(int)
        harmless = chosen[(bags.label[chosen] == 0) & (np.diff(bags.start)[chosen] > 1)]
        texts = np.concatenate([chosen, harmless])
        index = np.concatenate([worst[chosen], anyone[harmless]])
        order = rng.permutation(len(texts))
        speed = rate * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        for at in range(0, len(order), 256):
            part = order[at:at + 256]
            x, y, w = bags.x[index[part]], bags.label[texts[part]], weight[texts[part]]
            # Signals are dropped now and then: the embedding must not lean on a few words.
            x = x.copy()
            x[:, 384:] *= rng.random((len(part), size - 384)) > 0.15
            drop = (rng.random((len(part), hidden)) > 0.25) / np.float32(0.75)
            h, logit = forward(net, x, drop)
            y = y * (1 - 2 * smooth) + smooth
            error = ((1 / (1 + np.exp(-logit)) - y) * w / len(part)).astype(np.float32)
            back = np.outer(error, net["c"]) * (h > 0) * drop
            grads = {"a": x.T @ back, "b": back.sum(0), "c": h.T @ error, "d": error.sum()}
            step += 1
            for name, grad in grads.items():
                m, v = moments[name]
                m += 0.1 * (grad - m)
                v += 0.001 * (grad * grad - v)
                update = m / (1 - 0.9 ** step) / (np.sqrt(v / (1 - 0.999 ** step)) + 1e-8)
                net[name] = (net[name] - speed * (update + (decay * net[name] if name in "ac" else 0) / rate * 0.1)).astype(np.float32)
                moments[name] = [m, v]
    return net


def score(nets, bags):
    logits = np.mean([forward(net, bags.x)[1] for net in nets], axis=0)
    # Of many windows one is high by chance.
    return logits[bags.worst(logits)] - WINDOWS * np.log(np.diff(bags.start))


def save(path, nets, threshold):
    hidden, size = nets[0]["a"].shape[1], nets[0]["a"].shape[0]
    with open(path, "wb") as out:
        out.write(struct.pack("<IIIf", len(nets), hidden, size, threshold))
        for net in nets:
            first = np.concatenate([net["a"].T, net["b"][:, None]], axis=1)
            out.write(first.astype("<f4").tobytes() + net["c"].astype("<f4").tobytes() + struct.pack("<f", net["d"]))
