"""The guard's word pairs: a linear model over hashed words and neighbours. `train_guard.py` is the command; features come from the guard itself."""

import json
import struct
import subprocess

import numpy as np

from guard_rows import WINDOWS, weights_of

BITS = 18
# How freely weights may grow.
FREEDOM = 4.0


class Texts:
    """Windows of many texts as one sparse matrix."""

    def __init__(self, rows, binary):
        lines = "".join(json.dumps({"text": text, "channel": channel}) + "\n" for text, _, _, channel in rows)
        out = subprocess.run([binary], input=lines.encode(), stdout=subprocess.PIPE, check=True).stdout
        bags = [json.loads(line) for line in out.splitlines()]
        # Each with its features.
        self.windows = [window for bag in bags for window, _ in bag]
        windows = [features or [0] for bag in bags for _, features in bag]
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
    weight = weights_of(texts, keep)
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


def packed(mix):
    return struct.pack("<7f", *(mix[name] for name in ("pairs", "meaning", "threshold", "slope", "alone", "low", "high")))


def save(path, model, mix):
    """The mix, then weights of a byte each; `services/guard/src/injection/grams.rs` reads it."""
    weights, bias = model
    scale = float(np.abs(weights).max() / 127)
    path.write_bytes(struct.pack("<Iff", BITS, scale, bias) + packed(mix) + np.round(weights / scale).astype(np.int8).tobytes())
