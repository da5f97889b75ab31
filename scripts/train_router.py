#!/usr/bin/env python3
"""Trains the router's complexity model: services/router/models/complexity.json, and left_out.json beside it.

    cargo build --workspace --examples
    SIGNALBOX_DATA=... python3 scripts/train_router.py --clones DIR

DIR holds clones as scripts/router_collections.py lists them. What the model sees of a text comes from the router itself, so that training and
serving cannot drift apart. Demand is the sum of the features, each in units of its spread, with equal weights: fitted weights did worse on every
source that was left out. Kind is one ridge regression of what a task asks for (its name tells, see KINDS) on the prompt's vector; results of models
do not enter it. Results enter the calibration alone, and only by scores of a model that has not seen the source: each source is left out once.
Seeded; numpy alone. Vectors are kept in $CARGO_TARGET_DIR between runs: they take longer than all the rest.
"""
import argparse, collections, hashlib, json, os, pathlib, subprocess
import numpy as np
import router_collections

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
KEPT = TARGET / "router_vectors.npz"
MODELS = ROOT / "services/router/models"
NAMES = "numbers operators latex code_signs conditions quantities mathematics tasks code_words sentence_length length numeric_options".split()
# How much kind counts beside demand, and how strongly the regression is held back (in average variances): chosen on left-out sources, where
# anything from 0.5 to 1 and from 0.1 to 10 does about the same.
KIND_WEIGHT, RIDGE = 0.67, 1.0
FEATURE_BOUND, KIND_BOUND = 2.0, 2.5
QUALITIES = [0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99]


def ask(texts, *words):
    ran = subprocess.run([TARGET / "debug/examples/router_inputs", *words], input="".join(json.dumps(t) + "\n" for t in texts).encode(), capture_output=True, check=True)
    told = ran.stderr.decode().strip().split("\n")
    return np.frombuffer(ran.stdout, "<f4").reshape(len(texts), -1).astype(float), told[-1]


def vectors(texts):
    names = [hashlib.sha256(text.encode()).hexdigest()[:20] for text in texts]
    kept = np.load(KEPT) if KEPT.exists() else None
    known = dict(zip(kept["names"].tolist(), kept["vectors"])) if kept is not None else {}
    fresh = {name: text for name, text in zip(names, texts) if name not in known}
    if fresh:
        known.update(zip(fresh, ask(list(fresh.values()), "vectors")[0].astype("f4")))
        np.savez(KEPT, names=np.array(list(known)), vectors=np.array(list(known.values()), "f4"))
    return np.array([known[name] for name in names], float)


def area(score, gap):
    order = np.argsort(-score, kind="stable")
    reached = np.concatenate([[0], np.cumsum(gap[order])]) / gap.sum()
    return float((reached[1:] + reached[:-1]).sum() / 2 / len(gap))


class Fitted:
    """Demand and kind, from some of the rows."""

    def __init__(self, rows, features, vectors):
        weight = np.array([1 / np.sqrt(n) for n in counts(rows, "task")])
        weight /= weight.sum()
        self.mean = weight @ features
        self.spread = np.sqrt(weight @ (features - self.mean) ** 2) + 1e-6
        total = self.sum(features)
        self.demand = (weight @ total, np.sqrt(weight @ (total - weight @ total) ** 2))
        kinds = np.array([router_collections.kind(r["task"]) if router_collections.kind(r["task"]) is not None else np.nan for r in rows])
        told = ~np.isnan(kinds)
        share = np.array([1 / np.sqrt(n) for n in counts([dict(at=(r["source"], k)) for r, k in zip(rows, kinds)], "at")])[told]
        share /= share.sum()
        x, y = vectors[told], kinds[told]
        middle = share @ x
        spread = ((x - middle) * share[:, None]).T @ (x - middle)
        along = np.linalg.solve(spread + RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread)), ((x - middle) * share[:, None]).T @ (y - share @ y))
        raw = vectors @ along
        self.kind = along / raw.std()
        self.kind_offset = -raw.mean() / raw.std()

    def sum(self, features):
        return np.clip((features - self.mean) / self.spread, -FEATURE_BOUND, FEATURE_BOUND).sum(1)

    def score(self, features, vectors=None):
        demand = (self.sum(features) - self.demand[0]) / self.demand[1]
        return demand if vectors is None else demand + KIND_WEIGHT * np.clip(vectors @ self.kind + self.kind_offset, -KIND_BOUND, KIND_BOUND)


def counts(rows, key):
    of = collections.Counter(r[key] for r in rows)
    return [of[r[key]] for r in rows]


def logistic(score, label, weight):
    """Slope and intercept by Newton's method."""
    x, w = np.c_[score, np.ones_like(score)], np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ w))
        w = w - np.linalg.solve((x * (weight * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2), x.T @ (weight * (p - label)))
    return w.tolist()


def knob(probability, small, large, weight):
    """From which probability on the large model is asked, by the share of its quality that is kept."""
    order = np.argsort(-probability)
    p, s, l, w = probability[order], small[order], large[order], weight[order]
    kept = ((w * s).sum() + np.concatenate([[0], np.cumsum(w * (l - s))])) / (w * l).sum()
    found = []
    for quality in QUALITIES:
        at = int(np.argmax(kept >= quality))
        if kept[at] >= quality and at > 0:
            found.append(dict(quality=quality, probability=round(float(p[at - 1]), 4)))
    return found


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--clones", required=True)
    given = arguments.parse_args()
    rows = router_collections.training(pathlib.Path(os.environ["SIGNALBOX_DATA"]), given.clones)
    texts = [r["text"] for r in rows]
    features, embedded = ask(texts)[0], vectors(texts)
    hash_of_model = ask(["a"], "vectors")[1].split()[-1]
    source = np.array([r["source"] for r in rows])
    left_out, scored = {}, []
    for name in sorted(set(source)):
        here = source == name
        held = {texts[i] for i in np.flatnonzero(here)}
        known = np.array([not h and t not in held for h, t in zip(here, texts)])
        fitted = Fitted([r for r, k in zip(rows, known) if k], features[known], embedded[known])
        both, alone = fitted.score(features, embedded), fitted.score(features)
        for small, large in router_collections.PAIRS.get(name, []):
            at = np.array([i for i in np.flatnonzero(here) if small in rows[i]["results"] and large in rows[i]["results"]])
            if not len(at):
                continue
            s, l = (np.array([float(rows[i]["results"][m]) for i in at]) for m in (small, large))
            length = np.array([len(texts[i]) for i in at])
            left_out[f"{name}: {small} and {large}"] = dict(
                prompts=len(at), gap=round(float((l - s).mean()), 4), area=round(area(both[at], l - s), 4),
                features_alone=round(area(alone[at], l - s), 4), length=round(area(length, l - s), 4))
            scored.append((both[at], alone[at], s, l, np.full(len(at), 1 / len(at))))
    both, alone, small, large, weight = (np.concatenate(part) for part in zip(*scored))
    needs = (large > small).astype(float)
    calibration, without = logistic(both, needs, weight), logistic(alone, needs, weight)
    final = Fitted(rows, features, embedded)
    probability = 1 / (1 + np.exp(-(calibration[0] * both + calibration[1])))
    short = lambda values, digits: [round(float(v), digits) for v in values]
    model = dict(
        embedding=hash_of_model, features=NAMES, mean=short(final.mean, 5), spread=short(final.spread, 5), demand=short(final.demand, 5),
        kind=short(final.kind, 3), kind_offset=round(float(final.kind_offset), 4), kind_weight=KIND_WEIGHT,
        calibration=short(calibration, 4), calibration_without=short(without, 4), thresholds=knob(probability, small, large, weight))
    (MODELS / "complexity.json").write_text(json.dumps(model) + "\n")
    brier = float((weight * (probability - needs) ** 2).sum() / weight.sum())
    (MODELS / "left_out.json").write_text(json.dumps(dict(brier=round(brier, 4), needs_large=round(float((weight * needs).sum() / weight.sum()), 4), by_source=left_out), indent=1) + "\n")
    print((MODELS / "left_out.json").read_text())


if __name__ == "__main__":
    main()
