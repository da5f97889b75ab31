#!/usr/bin/env python3
"""Builds libs/catalog/data/models.tsv from the price list of genai-prices (MIT).

    scripts/build_catalog.py ../shared/data/prices/genai_prices_data.json

One line a model: provider, id, other names, context window, and prices in nano-dollars per million tokens for input, cached
input, cache write and output; an empty cell is unknown. Names are `=equal`, `^prefix`, `$suffix` or `*part`, joined by `|`.
Of a price that depends on the length of the context the first tier is taken, of one that changes with time the latest.
"""

import json
import pathlib
import sys
from decimal import Decimal

SIGNS = {"equals": "=", "starts_with": "^", "ends_with": "$", "contains": "*"}


def names(rule, model):
    """The rule in our form; conjunctions and regular expressions fall back on the model's own id."""
    found = []
    for one in rule.get("or", [rule]):
        for kind, value in one.items():
            if kind in SIGNS and isinstance(value, str) and not set(value) & set("|\t\n"):
                found.append(SIGNS[kind] + value.lower())
    return "|".join(found) or "=" + model.lower()


def nano(price):
    """Dollars per million tokens as an integer count of nano-dollars."""
    if isinstance(price, dict):
        price = price.get("base")
    return "" if price is None else str(int(Decimal(str(price)) * 10**9))


def latest(prices):
    """The entry of a price history that is valid last."""
    if not isinstance(prices, list):
        return prices
    return prices[-1]["prices"] if "prices" in prices[-1] else prices[0]["prices"]


def main():
    source = json.loads(pathlib.Path(sys.argv[1]).read_text(), parse_float=Decimal)
    lines = ["# Facts from genai-prices (https://github.com/pydantic/genai-prices, MIT); made by scripts/build_catalog.py."]
    for provider in source:
        for model in provider["models"]:
            prices = latest(model["prices"])
            cells = [provider["id"], model["id"].lower(), names(model["match"], model["id"])]
            cells.append(str(model.get("context_window") or ""))
            cells += [nano(prices.get(key)) for key in ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")]
            lines.append("\t".join(cells))
    target = pathlib.Path(__file__).resolve().parents[1] / "libs/catalog/data/models.tsv"
    target.write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} models written to {target.name}")


if __name__ == "__main__":
    main()
