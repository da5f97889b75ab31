"""Public results of real models by prompt, from which the router's complexity model learns, and on which it is measured.

Nothing of them is kept in this repository. `FOLDER` holds git clones named `owner+name` (or `owner/name`), bare or not:

    python3 scripts/router_collections.py FOLDER --held-out DIR    # writes what is never trained on as DIR/router/*.jsonl, for `route eval`

`train_router.py --clones FOLDER` reads the rest. Where a clone is missing, its source is left out, and said so.
"""

import argparse
import ast
import collections
import io
import json
import pathlib
import random
import re
import sys
import warnings
import zipfile

from guard_collections import Clones

# Repository: commit read, licence of what is taken.
LICENCES = {
    "TIGER-AI-Lab/MMLU-Pro": ("f418b116db00", "Apache-2.0"),
    "WildEval/ZeroEval": ("8c1485edf12c", "Apache-2.0"),
    "shuhao02/RouterDC": ("0e63989c5bf4", "none stated; of RouterBench's results (MIT)"),
    "ulab-uiuc/LLMRouter": ("4e7a796", "MIT"),
    "tatsu-lab/alpaca_eval": ("cd543a149df8", "Apache-2.0"),
    # Measured on, never trained on.
    "RouteWorks/RouterArena": ("4714a9ad73e8", "Apache-2.0"),
}
SEED = 7
# At most so many prompts of a task: many tasks teach more than many prompts.
MOST = {"mmlu_pro": 80, "routellm": 200, "zeroeval": 200, "routerbench": 200, "llmrouter": 100, "alpaca_eval": 100, "routerdc": 60}
MMLU = 25

# Which pairs of models are compared.
PAIRS = {
    "routellm": [("small", "large")],
    "mt_bench": [("small", "large")],
    "mmlu_pro": [("Mixtral-8x7B-Instruct-v0.1", "gemini-1.5-pro-002"), ("Phi-3-mini-4k-instruct", "gemini-1.5-flash-002"), ("Mistral-7B-Instruct-v0.2", "Meta-Llama-3_1-70B-Instruct")],
    "zeroeval": [("gpt-3.5-turbo-0125", "gpt-4o-2024-05-13"), ("Meta-Llama-3-8B-Instruct", "claude-3-5-sonnet-20240620"), ("claude-3-haiku-20240307", "claude-3-5-sonnet-20241022")],
    "routerbench": [("mistralai/mixtral-8x7b-chat", "gpt-4-1106-preview"), ("mistralai/mistral-7b-chat", "gpt-4-1106-preview"), ("claude-instant-v1", "gpt-4-1106-preview")],
    "llmrouter": [(small, "llama-3.1-nemotron-51b-instruct") for small in ("mistral-7b-instruct-v0.3", "gemma-2-9b-it", "llama-3.1-8b-instruct")],
    "routerdc": [("mistralai/Mistral-7B-v0.1", "cognitivecomputations/dolphin-2.9-llama3-8b")],
    "routerarena": [("claude-3-haiku-20240307", "gemini-2.0-flash-001")],
}

# What a task asks for, by words of its name, the first that fits: +1 is worked out in steps, -1 is known or told, 0 is neither.
KINDS = [
    (1, "gsm math-l5 prealgebra lr_math mathematics mmlu_pro:math algebra statistics numersense asdiv mathqa aime mt_bench:math"),
    (1, "humaneval human_eval mbpp javascript crux livecode coding"),
    (1, "physics chemistry engineering econometrics accounting business finqa astronomy mechanics stem"),
    (1, "logicgrid formal_logic logical_fall reasoning computer_science computer+science machine_learning chess"),
    (0, "winograd commonsense openbook socialiqa arc moral_scen ethics causal wsc wic copa"),
    (-1, "law history philos jurisp relig politic government policy geography sociology psychology management marketing relations security culture humanities economics moral_disp global"),
    (-1, "biology medic clinical anatomy virology health nutrition genetics aging sexuality"),
    (-1, "trivia natural_qa qanta opentdb miscell"),
    (-1, "alpaca_eval writing roleplay extraction commongen"),
]


def kind(task):
    task = task.lower()
    return next((sign for sign, words in KINDS if any(word.replace("+", " ") in task for word in words.split())), None)


def row(source, task, text, results):
    return dict(source=source, task=task, text=text, results=results)


def lines(data, path):
    return [json.loads(line) for line in (data / path).read_text().split("\n") if line.strip()]


def shared(data):
    for r in lines(data, "router/routellm_mixtral_vs_gpt4.jsonl"):
        yield row("routellm", r["task"], r["text"], {"small": r["small_correct"], "large": r["large_correct"]})
    for r in lines(data, "router/mt_bench_scores.jsonl"):
        small, large = sorted(r["scores"], reverse=True)
        yield row("mt_bench", r["task"], r["text"], {"small": r["scores"][small] / 10, "large": r["scores"][large] / 10})


def mmlu_pro(clones):
    results, texts = collections.defaultdict(dict), {}
    for model in {m for pair in PAIRS["mmlu_pro"] for m in pair}:
        packed = clones._git("TIGER-AI-Lab/MMLU-Pro", "show", f"HEAD:eval_results/model_outputs_{model}_5shots.zip")
        if not packed:
            continue
        archive = zipfile.ZipFile(io.BytesIO(packed))
        for name in archive.namelist():
            if name.endswith(".json") and "__MACOSX" not in name:
                for r in json.loads(archive.read(name)):
                    results[r["question_id"]][model] = int(r.get("pred") == r["answer"])
                    options = "\n".join(f"{chr(65 + i)}. {option}" for i, option in enumerate(r["options"]))
                    texts[r["question_id"]] = (r["category"], f"{r['question']}\n{options}\nAnswer:")
    for question, by_model in sorted(results.items()):
        yield row("mmlu_pro", "mmlu_pro:" + texts[question][0], texts[question][1], by_model)


def answered(output):
    """The last `answer` of an answer that should be JSON."""
    found = re.findall(r'"answer"\s*:\s*("(?:[^"\\]|\\.)*"|[^,}\n]+)', output)
    return (found[-1] if found else output.strip().split("\n")[-1]).strip().strip('"')


def plain(text):
    return re.sub(r"[\s$,*\"']", "", str(text)).lower().rstrip(".")


def number(text):
    found = re.findall(r"-?\d[\d,]*\.?\d*", str(text))
    return float(found[-1].replace(",", "")) if found else None


def literal(text):
    try:
        return ast.literal_eval(str(text))
    except Exception:
        return plain(text)


def formula(text):
    text = re.sub(r"\\(left|right|,|!|;|\s)", "", str(text)).replace("dfrac", "frac").replace("tfrac", "frac").replace("\\\\", "\\")
    text = re.sub(r"\\boxed\{(.*)\}", r"\1", re.sub(r"\\text\{[^}]*\}", "", text))
    text = re.sub(r"\\frac(\d)(\d)", r"\1/\2", re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text))
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", re.sub(r"[\s$*\"'{}\\()]", "", text).lower().rstrip("."))


def zeroeval(clones):
    same = {"gsm": number, "crux": literal, "math-l5": formula, "numersense-v2": plain}
    for task, form in same.items():
        results, texts = collections.defaultdict(dict), {}
        for model in sorted({m for pair in PAIRS["zeroeval"] for m in pair}):
            for r in clones.json("WildEval/ZeroEval", f"result_dirs/{task}/{model}.json"):
                output = r["output"][0] if isinstance(r["output"], list) else r["output"]
                results[str(r["id"])][model] = int(form(answered(output)) == form(r["answer"]))
                texts[str(r["id"])] = r.get("question") or r.get("problem")
        for question, by_model in results.items():
            yield row("zeroeval", "zeroeval:" + task, texts[question], by_model)


def routerbench(clones):
    models = {m for pair in PAIRS["routerbench"] for m in pair}
    for task in ("mbpp", "arc_challenge", "winograde"):
        for part in ("train", "test"):
            for r in clones.csv("shuhao02/RouterDC", f"datasets/routerbench_zs/{task}_{part}.csv"):
                text = literal(r["prompt"])
                text = text[0] if isinstance(text, list) else r["prompt"]
                yield row("routerbench", "routerbench:" + task, text, {m: float(r[m]) for m in models if r[m]})


def routerdc(clones):
    for task in ("humaneval_test", "humaneval_train", "javascript", "MATH_prealgebra", "ceval", "mbpp"):
        for r in clones.json("shuhao02/RouterDC", f"datasets/split2_model7/{task}.json"):
            yield row("routerdc", "routerdc:" + task.split("_t")[0], r["question"], r["scores"])


def llmrouter(clones):
    tasks = {}
    for part in ("train", "test"):
        for line in clones.text("ulab-uiuc/LLMRouter", f"data/example_data/query_data/default_query_{part}.jsonl").split("\n"):
            if line.strip():
                r = json.loads(line)
                tasks[r["query"].strip()] = r["task_name"]
        for r in clones.json("ulab-uiuc/LLMRouter", f"data/dcrouter_preprocessed/{part}.json"):
            yield row("llmrouter", "lr_" + tasks.get(r["question"].strip(), "other"), r["question"], r["scores"])


def alpaca_eval(clones):
    # Only what kind of prompts they are: answers were compared by taste, which says little about sufficing.
    for r in clones.json("tatsu-lab/alpaca_eval", "results/gpt-3.5-turbo-1106/weighted_alpaca_eval_gpt4_turbo/annotations.json"):
        yield row("alpaca_eval", "alpaca_eval:" + r["dataset"], r["instruction"], {})


def routerarena(clones):
    results, texts = collections.defaultdict(dict), {}
    for model in PAIRS["routerarena"][0]:
        for line in clones.text("RouteWorks/RouterArena", f"cached_results/{model}.jsonl").split("\n"):
            r = json.loads(line) if line.strip() else {}
            judged = r.get("evaluation_result")
            if isinstance(judged, dict) and judged.get("score") is not None and r.get("success", True):
                results[r["global_index"]][model] = max(0.0, float(judged["score"]))
                texts[r["global_index"]] = r["question"]
    for question, by_model in results.items():
        if len(by_model) == 2:
            yield row("routerarena", "routerarena:" + question.rsplit("_", 1)[0], texts[question], by_model)


def training(data, folder):
    """Prompts with results, at most so many of a task; seeded."""
    clones = Clones(folder)
    with warnings.catch_warnings():
        # Answers that look like Python literals need not be good ones.
        warnings.simplefilter("ignore")
        rows = [*shared(data), *(r for read in (mmlu_pro, zeroeval, routerbench, llmrouter, alpaca_eval, routerdc) for r in read(clones))]
    random.Random(SEED).shuffle(rows)
    seen, kept = collections.Counter(), []
    for r in rows:
        most = MMLU if r["task"].startswith("mmlu:") else MOST.get(r["source"], len(rows))
        if r["text"].strip() and seen[r["task"]] < most:
            seen[r["task"]] += 1
            kept.append(r)
    for repo in clones.missing:
        print(f"no clone of {repo}: its prompts are left out", file=sys.stderr)
    return kept


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder")
    arguments.add_argument("--held-out", required=True)
    given = arguments.parse_args()
    out = pathlib.Path(given.held_out) / "router"
    out.mkdir(parents=True, exist_ok=True)
    small, large = PAIRS["routerarena"][0]
    with open(out / "routerarena.jsonl", "w") as file:
        for at, r in enumerate(routerarena(Clones(given.folder))):
            print(json.dumps(dict(id=str(at), text=r["text"], task=r["task"], small_correct=r["results"][small], large_correct=r["results"][large])), file=file)


if __name__ == "__main__":
    main()
