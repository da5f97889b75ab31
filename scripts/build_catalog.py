#!/usr/bin/env python3
"""Builds the price book, libs/catalog/data/prices.jsonl, from the price list of genai-prices (MIT).

    scripts/build_catalog.py ../shared/data/prices/genai_prices_data.json [FILE]

docs/prices.md documents the form: a line of JSON for each provider and each model. Nothing that costs money is dropped: prices
with a first day, hours of the day, or more for long prompts are carried over with their conditions; a condition that is not
known here ends the program. What genai-prices does not have is added from the providers' price pages: the discount on batches,
and Anthropic's price for an hour in the cache, which is twice that of input.
"""

import json
import pathlib
import sys
from decimal import Decimal

SIGNS = {"equals": "=", "starts_with": "^", "ends_with": "$", "contains": "*", "regex": "~"}
KINDS = {
    "input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cached", "cache_write_mtok": "cache_write",
    "input_audio_mtok": "audio_input", "output_audio_mtok": "audio_output", "cache_audio_read_mtok": "cached_audio",
}
# Half price for what is answered within a day, by the providers' price pages of November 2026.
BATCH_PERCENT = dict.fromkeys(["anthropic", "aws", "azure", "fireworks", "google", "groq", "mistral", "openai", "together"], 50)


def rule(match):
    """A rule on names in our form: a sign and a text, a list of which one holds, or {"all": …}."""
    (kind, value), *more = match.items()
    if more:
        sys.exit(f"error: a rule with several parts: {match}")
    if kind == "or":
        return [rule(one) for one in value]
    if kind == "and":
        return {"all": [rule(one) for one in value]}
    return SIGNS[kind] + value


def text(number):
    """A decimal number without an exponent or trailing zeros, to a nano-dollar: the list has some that went through a double."""
    written = format(Decimal(str(number)).quantize(Decimal("1e-9")), "f")
    return (written.rstrip("0").rstrip(".") if "." in written else written) or "0"


def price(source, claude):
    """The prices of each kind of token; what long prompts cost stands in a part of its own."""
    base, long = {}, {}
    for key, value in source.items():
        if key == "requests_kcount":
            base["request"] = text(Decimal(str(value)) / 1000)
            continue
        kind = KINDS[key]
        if isinstance(value, dict):
            (tier,) = value["tiers"]
            if long.setdefault("above", tier["start"]) != tier["start"]:
                sys.exit(f"error: two lengths in one price: {source}")
            long[kind] = text(tier["price"])
            value = value["base"]
        base[kind] = text(value)
    for part in (base, long):
        # Only where the provider bills writing to the cache at all.
        if claude and "input" in part and "cache_write" in base:
            part["cache_write_1h"] = text(Decimal(part["input"]) * 2)
    return base | ({"long": long} if long else {})


def prices(source, claude):
    """The history of a model's prices, each with its condition."""
    found = []
    for entry in source if isinstance(source, list) else [{"prices": source}]:
        condition = dict(entry.get("constraint") or {})
        one = {}
        if "start_date" in condition:
            one["from"] = condition.pop("start_date")
        if "start_time" in condition:
            one["daily"] = [condition.pop(key)[:5] for key in ("start_time", "end_time")]
        condition.pop("type", None)
        if condition:
            sys.exit(f"error: an unknown condition: {condition}")
        what = price(entry["prices"], claude)
        if what:
            found.append(one | what)
    return found


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = json.loads(pathlib.Path(sys.argv[1]).read_text(), parse_float=Decimal)
    lines = ["# Facts from genai-prices (https://github.com/pydantic/genai-prices, MIT); made by scripts/build_catalog.py."]
    models = 0
    for provider in source:
        entry = {"provider": provider["id"], "name": provider["name"]}
        if provider.get("provider_match"):
            entry["match"] = rule(provider["provider_match"])
        entry["hosts"] = [provider["api_pattern"]]
        if provider.get("fallback_model_providers"):
            entry["fallback"] = provider["fallback_model_providers"]
        if provider["id"] in BATCH_PERCENT:
            entry["batch_percent"] = BATCH_PERCENT[provider["id"]]
        lines.append(json.dumps(entry))
        for model in provider["models"]:
            entry = {"of": provider["id"], "model": model["id"].lower(), "match": rule(model["match"])}
            if model.get("context_window"):
                entry["context_window"] = model["context_window"]
            found = prices(model["prices"], "claude" in model["id"])
            if found:
                entry["prices"] = found
            lines.append(json.dumps(entry))
            models += 1
    target = pathlib.Path(__file__).resolve().parents[1] / "libs/catalog/data/prices.jsonl"
    if len(sys.argv) == 3:
        target = pathlib.Path(sys.argv[2])
    target.write_text("\n".join(lines) + "\n")
    print(f"{models} models of {len(source)} providers written to {target.name}")


if __name__ == "__main__":
    main()
