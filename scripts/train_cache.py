#!/usr/bin/env python3
"""Trains the calibrated model of the cache: services/cache/models/right.json, and left_out.json beside it.

    cargo build -p signalbox-cache --example cache_inputs
    SIGNALBOX_DATA=... python3 scripts/train_cache.py --banking train.csv [--measure pairs.jsonl ...]

Sources: composed pairs (scripts/cache_pairs.py), every labelled pair of $SIGNALBOX_DATA/cache, and near pairs of BANKING77 (CC BY 4.0:
banking_data/train.csv of PolyAI-LDN/task-specific-datasets; two questions have one answer if they have one intent). Numbers come from the cache
itself, so that training and serving cannot drift apart. Only pairs that the rules let pass count. Each source is left out once (of the
composed ones a third of the families at a time); the probabilities are calibrated on those scores alone, never on pairs that were trained on. --measure: pairs that are never trained on. Seeded; numpy alone.
"""
import argparse, csv, hashlib, json, os, pathlib, random, subprocess
import numpy as np
import cache_pairs

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Numbers of pairs seen before; delete it after a change of the rules or of the numbers.
KEPT = TARGET / "cache_inputs"
MODELS = ROOT / "services/cache/models"
SEED, HIDDEN, NETWORKS, EPOCHS = 5, 16, 3, 60
# What each number may do to the probability: raise it, lower it, either. In the order of second_look/alignment.rs.
SIGN = np.array([1, 1, -1, -1, -1, -1, -1, -1, 1, 0, 0, -1, 1, -1, -1, -1, -1, -1, 1, 1, -1, -1])


def ask(lines):
    ran = subprocess.run([TARGET / "debug/examples/cache_inputs"], input="".join(json.dumps(l) + "\n" for l in lines).encode(), stdout=subprocess.PIPE, check=True)
    return np.frombuffer(ran.stdout, "<f4").reshape(len(lines), -1)


def banking(path):
    rows = list(csv.DictReader(open(path)))
    random.Random(SEED).shuffle(rows)
    rows = rows[:6000]
    vectors = ask([{"text": row["text"].strip()} for row in rows])
    near = vectors @ vectors.T
    np.fill_diagonal(near, 0)
    pairs = sorted({(min(i, int(j)), max(i, int(j))) for i in range(len(rows)) for j in np.argsort(-near[i])[:3] if near[i, j] >= 0.72})
    random.Random(SEED).shuffle(pairs)
    return [dict(a=rows[i]["text"].strip(), b=rows[j]["text"].strip(), label=int(rows[i]["category"] == rows[j]["category"])) for i, j in pairs[:5000]]


def read(path):
    rows = [json.loads(line) for line in open(path) if line.strip()]
    return [row for row in rows if "a" in row and max(len(row["a"]), len(row["b"])) <= 768]


def source(rows):
    lines = [dict(a=row["a"], b=row["b"]) for row in rows]
    KEPT.mkdir(parents=True, exist_ok=True)
    known = KEPT / (hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16] + ".npy")
    if not known.exists():
        np.save(known, ask(lines))
    numbers = np.load(known)
    return dict(passed=numbers[:, 0] > 0, numbers=numbers[:, 1:].astype(float), label=np.array([row["label"] for row in rows]))


def weights(label):
    """Both answers weigh the same within a source, and sources the same; but no handful of rows weighs like thousands."""
    each = np.where(label == 1, 0.5 / max(1, (label == 1).sum()), 0.5 / max(1, (label == 0).sum()))
    return 1000 * np.minimum(each, 8 / len(label))


def positive(x):
    return np.logaddexp(0, x)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


def network(z, label, weight, seed):
    rng = np.random.default_rng(seed)
    n, d = z.shape
    bound = SIGN[:, None]
    p = [rng.normal(-2, 0.7, (d, HIDDEN)), rng.normal(0, 1, HIDDEN), rng.normal(-1, 0.3, HIDDEN), np.zeros(1)]
    p[0][SIGN == 0] = rng.normal(0, 0.1, ((SIGN == 0).sum(), HIDDEN))
    effective = lambda: (np.where(bound == 0, p[0], bound * positive(p[0])), positive(p[2]))
    m, v, step = [np.zeros_like(x) for x in p], [np.zeros_like(x) for x in p], 0
    for epoch in range(EPOCHS):
        order = rng.permutation(n)
        for at in range(0, n, 256):
            some = order[at:at + 256]
            x = z[some] + rng.normal(0, 0.05, (len(some), d))
            first, second = effective()
            hidden = np.tanh(x @ first + p[1])
            error = weight[some] * (sigmoid(hidden @ second + p[3]) - (label[some] * 0.98 + 0.01)) / len(some)
            inner = np.outer(error, second) * (1 - hidden * hidden)
            slope = x.T @ inner + 3e-4 * first
            slope = np.where(bound == 0, slope, slope * bound * sigmoid(p[0]))
            slopes = [slope, inner.sum(0), (hidden.T @ error + 3e-4 * second) * sigmoid(p[2]), np.array([error.sum()])]
            step, rate = step + 1, 1e-2 * (1 - epoch / EPOCHS)
            for k in range(4):
                m[k] = 0.9 * m[k] + 0.1 * slopes[k]
                v[k] = 0.999 * v[k] + 0.001 * slopes[k] ** 2
                p[k] -= rate * (m[k] / (1 - 0.9**step)) / (np.sqrt(v[k] / (1 - 0.999**step)) + 1e-8)
    first, second = effective()
    return first, p[1], second, p[3]


def train(sources):
    z = np.concatenate([s["numbers"][s["passed"]] for s in sources])
    label = np.concatenate([s["label"][s["passed"]] for s in sources])
    weight = np.concatenate([weights(s["label"][s["passed"]]) for s in sources])
    mean, scale = z.mean(0), z.std(0) + 1e-6
    return mean, scale, [network((z - mean) / scale, label, weight, SEED + n) for n in range(NETWORKS)]


def score(model, numbers):
    mean, scale, networks = model
    z = (numbers - mean) / scale
    return sum(np.tanh(z @ first + bias) @ second + last for first, bias, second, last in networks) / len(networks)


def calibrate(scores, label, weight):
    """Slope and offset of a logit, by Newton's method."""
    x, w = np.stack([scores, np.ones_like(scores)], 1), np.array([1.0, 0.0])
    for _ in range(50):
        p = sigmoid(x @ w)
        w -= np.linalg.solve((x * (weight * p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2), x.T @ (weight * (p - label)) + 1e-3 * (w - [1, 0]))
    return w


def figures(probability, s):
    out = dict(pairs=len(s["label"]), same=int(s["label"].sum()), passed=int(s["passed"].sum()))
    for bound in (0.01, 0.02, 0.05, 0.1, 0.12, 0.15, 0.2):
        hit = s["passed"] & (probability >= 1 - bound)
        out[f"bound_{bound}"] = dict(hit_rate=round(float(hit[s["label"] == 1].mean()), 4), wrong_hits=round(float((s["label"][hit] == 0).mean()), 4) if hit.any() else None, hits=int(hit.sum()))
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--banking", required=True)
    parser.add_argument("--measure", nargs="*", default=[])
    args = parser.parse_args()
    data = pathlib.Path(os.environ["SIGNALBOX_DATA"]) / "cache"
    rows = dict(composed=list(cache_pairs.compose(8000, SEED)), banking=banking(args.banking), **{path.stem: read(path) for path in sorted(data.glob("*.jsonl"))})
    sources = {name: source(some) for name, some in rows.items() if some}
    out = {}
    for name, s in sources.items():
        rest = [other for key, other in sources.items() if key != name]
        if name != "composed":
            out[name] = score(train(rest), s["numbers"])
            continue
        # Without any composed pair nothing would teach what a changed word means: families of questions are left out instead.
        fold = np.array([row["family"] % 3 for row in rows[name]])
        out[name] = np.zeros(len(fold))
        for left in range(3):
            kept = {key: values[fold != left] for key, values in s.items()}
            out[name][fold == left] = score(train([*rest, kept]), s["numbers"][fold == left])
    passed = [s["passed"] for s in sources.values()]
    scores = np.concatenate([out[name][p] for name, p in zip(sources, passed)])
    label = np.concatenate([s["label"][s["passed"]] for s in sources.values()])
    weight = np.concatenate([weights(s["label"][s["passed"]]) for s in sources.values()])
    slope, offset = calibrate(scores, label, weight)
    probability = lambda scores: sigmoid(slope * scores + offset)
    report = {name: figures(probability(out[name]), s) for name, s in sources.items()}
    model = train(list(sources.values()))
    for path in args.measure:
        s = source(read(path))
        report[f"never trained on: {pathlib.Path(path).stem}"] = figures(probability(score(model, s["numbers"])), s)
    mean, scale, networks = model
    listed = lambda x: np.round(x, 5).tolist()
    weights_out = dict(mean=listed(mean), scale=listed(scale), slope=round(slope, 5), offset=round(offset, 5), networks=[
        dict(first=listed(first.T), first_bias=listed(bias), second=listed(second), second_bias=listed(last)[0]) for first, bias, second, last in networks])
    (MODELS / "right.json").write_text(json.dumps(weights_out) + "\n")
    (MODELS / "left_out.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
