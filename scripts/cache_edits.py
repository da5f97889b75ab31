"""Edits real questions: into the same question in other words, and into others that look alike. Seeded.

Questions are those of people: WebQuestions, CLINC150, WikiSQL and BANKING77. What is kept and what is broken by an edit is known by construction: a synonym,
another way to ask, a typing error keep it; a word of the same kind, an addition, an omission, two words exchanged break it.
"""
import bz2, csv, json, pathlib, random, re, struct
import numpy as np
from cache_lexicon import ENDINGS, MODELS, WordNet

LITTLE = set("""a an the is are was were be been being am do does did doing done can could may might must shall should will would have has had having i you he she
it we they me him her us them my your his its our their this that these those there here what which who whom whose when where why how of in on at by for with about
as into onto to from and or but if then so please tell explain describe give show define mean means meaning some any just also very really quite make makes made use
used using let say said get got way ways thing things someone somebody anyone people person one ever even own know""".split())
ADJECTIVES = """free online cheap used new old small large local modern natural electric digital public private rural urban foreign black white red green wild
frozen fresh raw organic young elderly female male pregnant professional amateur famous unknown first last average total annual daily monthly weekly hidden open legal
illegal temporary permanent original official automatic manual wireless portable international national medical military commercial personal""".split()
PHRASES = """in {}|for kids|for beginners|without a degree|with diabetes|on a mac|on windows|at night|in winter|during pregnancy|after surgery|before the exam|for free|
with no money|in school|at work|for women|for men|by car|under 18|with a dog|using python|in excel|on my phone|at home|for a small business|as a student|in the future|
in history|in the 1990s|according to islam|in english|per day|without internet|from scratch""".replace("\n", "").split("|")
PLACES = "india china france germany japan canada brazil texas california london paris chicago spain australia mexico russia italy kenya egypt europe africa asia".split()
ASKING = """how=why|how=when|what=who|what=where|why=how|when=where|where=when|who=when|how do i=should i|how to=why|what is=how is|can=should|what=why|how many=which|
how much=when|did=will|is=was|where=why|can i=why can i""".replace("\n", "").split("|")
HOW_TO = """how do i {}|how can i {}|how to {}|what is the best way to {}|how should i {}|what's the best way to {}|how do you {}|what are some ways to {}|
what is a good way to {}|how does one {}|what are the steps to {}|what should i do to {}|how could i {}|what is the easiest way to {}""".replace("\n", "").split("|")
BEFORE = """please tell me |can you tell me |do you know |i want to know |tell me |could you tell me |i was wondering |hi, |hello, |quick question: |
does anyone know |i'd like to know |help: |so """.replace("\n", "").split("|")
BEHIND = [" please", " thanks", " thank you", "?", " exactly", " in general"]
INSTEAD = """what is=what's|what are=which are|what=which|which=what|do i=do you|can i=can you|can i=could i|can i=do i|should i=can i|i =one |my =your |my =the |your =my |
is='s|in the=in|best=top|good=best|best=good|some=|any=some|movie=film|need to=have to|want to=would like to|get=obtain|buy=purchase|big=large|show=display|list=show|
tell me=show me|give me=tell me|number of=count of|how many=what is the number of|total=overall|when was=what year was|when did=what year did|who was=who is|
what was=what is|start=begin|did=does|kind of=type of|types of=kinds of|in=within|happens=occurs|located=situated|fix=repair|cost=price|also known as=called|
name the=what is the|find=get|live in=reside in|job=occupation|change=alter|use=utilize|help me=help|famous for=known for|does=do""".replace("\n", "").split("|")


class Editor:
    def __init__(self, wordnet, seed):
        table = (MODELS / "words.bin").read_bytes()
        count, width, text, _ = struct.unpack("<IIIf", table[:16])
        self.words = table[16:16 + text].decode().split("\n")
        self.place = {word: at for at, word in enumerate(self.words)}
        self.vectors = np.frombuffer(table[16 + text:], "i1").reshape(count, width).astype(np.float32) / 127
        self.net, self.rng, self.bases, self.close = WordNet(wordnet), random.Random(seed), {}, {}
        self.broken = [self.neighbour] * 6 + [self.sibling] * 4 + [self.opposite] * 2 + [self.adjective] * 4 + [self.phrase] * 4 + [self.omit] * 4 + [self.exchange] * 3 + [self.ask] * 3 + [self.number]
        self.kept = [self.how] * 4 + [self.synonym] * 6 + [self.instead] * 9 + [self.plural] * 3 + [self.mistype] * 2 + [self.polite] * 3 + [self.possessive] * 2 + [self.front] * 2 + [self.embed] * 3 + [self.case, self.fill]

    def base(self, word):
        if word not in self.bases:
            self.bases[word] = self.net.base(word)
        return self.bases[word]

    def near(self, a, b):
        return float(self.vectors[self.place[a]] @ self.vectors[self.place[b]]) if a in self.place and b in self.place else 0.0

    def chosen(self, text, fits=lambda word: True):
        """The text in pieces, and where a word about its subject stands; none: None."""
        pieces = re.findall(r"\w+(?:'\w+)?|[^\w\s]|\s+", text)
        places = [at for at, one in enumerate(pieces) if one.isalpha() and len(one) > 2 and one.lower() not in LITTLE and fits(one.lower())]
        self.rng.shuffle(places)
        return pieces, places

    def known(self, word):
        return word in self.place

    def replaced(self, pieces, at, new):
        old = pieces[at]
        for ending, doubled in (("ing", True), ("ed", True), ("s", False)):
            if old.endswith(ending) and not old.endswith("ss") and not new.endswith(ending):
                new = (new[:-1] if doubled and new.endswith("e") else new) + ending
                break
        pieces[at] = new.capitalize() if old[0].isupper() else new
        return joined(pieces)

    # What changes the question.

    def neighbour(self, text):
        pieces, places = self.chosen(text, self.known)
        for at in places[:1]:
            word = pieces[at].lower()
            if word not in self.close:
                self.close[word] = [self.words[one] for one in np.argsort(-(self.vectors @ self.vectors[self.place[word]]))[1:26]]
            base, kind = self.base(word)
            senses, _, _, derived, _ = self.net.relations(base)
            other = lambda new: self.base(new)[0] not in {base, *derived} and self.base(new)[1] == kind and not senses & self.net.relations(self.base(new)[0])[0] and new[:4] != word[:4]
            found = [new for new in self.close[word] if other(new)]
            if found:
                pieces[at] = self.rng.choice(found[:12])
                return joined(pieces)

    def sibling(self, text):
        pieces, places = self.chosen(text, self.known)
        for at in places:
            base = self.base(pieces[at].lower())[0]
            found = []
            for kind, (_, offsets) in self.net.index.get(base, {}).items():
                for symbol, other, target, *_ in self.net.synsets[kind, offsets[0]][1]:
                    if symbol in ("@", "@i"):
                        below = [self.net.synsets[k, t][0][0] for s, k, t, *_ in self.net.synsets[other, target][1] if s in ("~", "~i") and (k, t) != (kind, offsets[0])]
                        found += [word for word in below if word in self.place and word != base]
            if found:
                return self.replaced(pieces, at, self.rng.choice(found))

    def opposite(self, text):
        pieces, places = self.chosen(text, self.known)
        for at in places:
            found = sorted(word for word in self.net.relations(self.base(pieces[at].lower())[0])[4] if word.isalpha())
            if found:
                return self.replaced(pieces, at, self.rng.choice(found))

    def adjective(self, text):
        pieces, places = self.chosen(text, lambda word: self.base(word)[1] == "noun")
        for at in [at for at in places if at > 1][:1]:
            pieces.insert(at, self.rng.choice(ADJECTIVES) + " ")
            return joined(pieces)

    def phrase(self, text):
        stem, end = re.match(r"(.*?)([?.!]*)\s*$", text, re.S).groups()
        phrase = self.rng.choice(PHRASES).format(self.rng.choice(PLACES))
        if phrase.split()[-1] in text.lower():
            return None
        return f"{stem} {phrase}{end}" if self.rng.random() < 0.8 else f"{phrase.capitalize()}, {stem[0].lower()}{stem[1:]}{end}"

    def omit(self, text):
        light = "best good great better top easy simple main major right real".split()
        pieces, places = self.chosen(text, lambda word: word not in light)
        if len(places) >= 3:
            del pieces[places[0]:places[0] + 2]
            return joined(pieces)

    def exchange(self, text):
        pieces, places = self.chosen(text, lambda word: self.base(word)[1] in ("noun", None))
        if len(places) >= 2 and pieces[places[0]].lower() != pieces[places[1]].lower():
            one, other = places[:2]
            pieces[one], pieces[other] = pieces[other], pieces[one]
            return joined(pieces)

    def ask(self, text):
        lower = text.lower()
        found = [pair.split("=") for pair in ASKING if re.search(rf"\b{pair.split('=')[0]}\b", lower)]
        if found:
            old, new = self.rng.choice(found)
            return re.sub(rf"\b{old}\b", new, lower, count=1)

    def number(self, text):
        found = list(re.finditer(r"\d{1,9}", text))
        if found:
            one = self.rng.choice(found)
            return text[:one.start()] + str(int(one[0]) + self.rng.choice([1, 2, 5, 10])) + text[one.end():]

    # What does not.

    def how(self, text):
        found = re.match(r"(how (?:do|can|should|could|would) (?:i|you|we|one)|how to|how does one|what(?:'s| is) (?:the best|the easiest|a good) way to) (.*)$", text.rstrip("?. ").lower())
        return found and self.rng.choice(HOW_TO).format(found[2]) + self.rng.choice(["?", ""])

    def synonym(self, text):
        pieces, places = self.chosen(text, self.known)
        for at in places:
            base, kind = self.base(pieces[at].lower())
            offsets = self.net.index.get(base, {}).get(kind, (0, []))[1]
            found = [word for offset in offsets[:1] for word in self.net.synsets[kind, offset][0] if word != base and self.near(word, base) > 0.55]
            if found:
                return self.replaced(pieces, at, self.rng.choice(found))

    def instead(self, text):
        found = [pair.split("=") for pair in INSTEAD if re.search(rf"(?<!\w){re.escape(pair.split('=')[0])}(?!\w)", text, re.I)]
        if found:
            old, new = self.rng.choice(found)
            return re.sub(r"\s+", " ", re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, text, count=1, flags=re.I)).replace(" 's", "'s").strip()

    def plural(self, text):
        pieces, places = self.chosen(text, lambda word: self.base(word)[1] == "noun" and self.known(word))
        for at in places[:1]:
            word = pieces[at]
            pieces[at] = word[:-1] if word.endswith("s") and not word.endswith("ss") else word + "s"
            return joined(pieces)

    def mistype(self, text):
        pieces, places = self.chosen(text, lambda word: len(word) > 4)
        for at in places[:1]:
            word, k = pieces[at], self.rng.randrange(1, len(pieces[at]) - 1)
            pieces[at] = self.rng.choice([word[:k] + word[k + 1] + word[k] + word[k + 2:], word[:k] + word[k + 1:], word[:k] + word[k] + word[k:]])
            return joined(pieces)

    def polite(self, text):
        lower = text if text[:2].isupper() else text[0].lower() + text[1:]
        return self.rng.choice(BEFORE) + lower if self.rng.random() < 0.6 else text.rstrip("?. ") + self.rng.choice(BEHIND)

    def possessive(self, text):
        found = re.search(r"\bthe (\w+) of (\w+)\b", text)
        if found:
            return text.replace(found[0], f"{found[2]}'s {found[1]}")
        found = re.search(r"\b(?!what|who|it|that|how|where|let)(\w+)'s (\w+)\b", text, re.I)
        return found and text.replace(found[0], f"the {found[2]} of {found[1]}")

    def front(self, text):
        found = re.match(r"(.{15,}) ((?:in|for|with|from|on|at|by) [\w' ]{3,25})\?*$", text)
        return found and f"{found[2][0].upper()}{found[2][1:]}, {found[1][0].lower()}{found[1][1:]}?"

    def embed(self, text):
        found = re.match(r"(what|who|where|when|how|why) (is|are|was|were|can) ((?:the |a |an )?\w+(?: of \w+)?)( .*)$", text.rstrip("?"), re.I)
        return found and self.rng.choice(["do you know ", "can you tell me ", "tell me "]) + f"{found[1].lower()} {found[3]} {found[2]}{found[4]}"

    def case(self, text):
        return self.rng.choice([text.lower(), text.rstrip("?. "), text.capitalize()])

    def fill(self, text):
        pieces, places = self.chosen(text)
        for at in [at for at in places if at > 1][:1]:
            pieces.insert(at, self.rng.choice(["actually ", "really ", "exactly ", "just ", "possibly "]))
            return joined(pieces)

    def same(self, text, times):
        new = text
        for _ in range(12):
            edited = self.rng.choice(self.kept)(new)
            if edited and edited != new:
                new, times = edited, times - 1
            if times == 0:
                break
        return new if new.lower().rstrip("? ") != text.lower().rstrip("? ") else None


def joined(pieces):
    return re.sub(r"\s+", " ", "".join(pieces)).strip()


def questions(folder):
    """Questions by source, from clones of four repositories in one folder."""
    folder = pathlib.Path(folder)
    out = dict(
        web=[row["qText"] for name in ("trainmodel", "val", "devtest", "test") for row in json.loads((folder / f"dataset-factoid-webquestions/main/{name}.json").read_text())],
        clinc=[text for name in ("train", "val") for text, _ in json.loads((folder / "oos-eval/data/data_full.json").read_text())[name]],
        wikisql=[row["sentences"][0]["original"].strip() for row in json.loads(bz2.open(folder / "text2sql-data/data/wikisql.json.bz2").read())[:12000:2]],
        banking=[row["text"].strip() for row in csv.DictReader(open(folder / "task-specific-datasets/banking_data/train.csv"))])
    return {name: [text for text in texts if 3 <= len(text.split()) <= 30] for name, texts in out.items()}


def edited(folder, wordnet, count, seed):
    editor, by_source = Editor(wordnet, seed), questions(folder)
    rng, out = editor.rng, []
    while len(out) < count:
        source = rng.choices(list(by_source), [0.4, 0.2, 0.2, 0.2])[0]
        text, label = rng.choice(by_source[source]), len(out) % 2
        edit = None if label else rng.choice(editor.broken)
        other = editor.same(text, rng.choice([1, 1, 2, 2, 3])) if label else edit(text)
        if other and not label and rng.random() < 0.5:
            other = editor.same(other, 1) or other
        if other and other.lower() != text.lower():
            a, b = (text, other) if rng.random() < 0.5 else (other, text)
            out.append(dict(id=f"e{len(out)}", a=a, b=b, label=label, kind="same" if label else edit.__name__, source=source))
    return out
