"""Composes pairs of questions: the same one in other words, and others that look alike. Seeded.

Each family is one meaning in several forms with holes; each hole has many fillings. A pair with one answer takes two forms of one family with
the same fillings, or changes a word for one that means the same; a pair with two answers changes one thing that matters.
"""
import random, re

THINGS = """python|java|rust|docker|kubernetes|postgres|redis|excel|photoshop|git|linux|windows|javascript|react|tensorflow|sql|wordpress|arduino|
latex|blender|matlab|nginx|android|bitcoin|ethereum|yoga|chess|guitar|piano|french|spanish|german|japanese|algebra|calculus|statistics|
photography|meditation|swimming|cooking|baking|gardening|knitting|investing|accounting|marketing|economics|psychology|philosophy|biology|
chemistry|physics|genetics|astronomy|geology|history|grammar|typing|drawing|dancing|surfing|climbing|cycling|running""".replace("\n", "").split("|")
CONCEPTS = """inflation|photosynthesis|gravity|recursion|polymorphism|cognitive dissonance|machine learning|gradient descent|a black hole|entropy|
osmosis|mitosis|evolution|democracy|capitalism|socialism|feudalism|blockchain|quantum computing|dark matter|plate tectonics|the greenhouse effect|
supply and demand|opportunity cost|compound interest|a mortgage|an index fund|a hedge fund|a mutual fund|depreciation|a balance sheet|a cash flow statement|
a database index|a foreign key|a mutex|a semaphore|a deadlock|a race condition|garbage collection|a hash table|a linked list|a binary tree|
a load balancer|a reverse proxy|a firewall|a virtual machine|a container|a pull request|a merge conflict|type inference|dependency injection|
test driven development|continuous integration|a neural network|overfitting|regularization|cross validation|a confusion matrix|a p value|
standard deviation|the central limit theorem|a null hypothesis|diabetes|asthma|anemia|hypertension|migraine|insomnia|arthritis|pneumonia""".replace("\n", "").split("|")
TASKS = """lose weight|gain muscle|sleep better|wake up early|save money|pay off debt|start a business|write a resume|write a cover letter|learn to code|
improve my english|improve my memory|read faster|write better|study for an exam|prepare for an interview|ask for a raise|quit smoking|stop procrastinating|
make new friends|deal with stress|overcome anxiety|train a dog|clean an oven|remove a stain|boil an egg|cook rice|bake bread|make coffee|make pancakes|
fix a leaking tap|paint a wall|change a tire|jump start a car|unclog a drain|install a window|build a shed|grow tomatoes|plant a tree|get rid of ants|
reset a password|recover deleted files|back up a phone|speed up a computer|block a website|delete an account|cancel a subscription|track a package|
merge two branches|undo a commit|sort a list|reverse a string|parse a date|read a file|send an email|resize an image|compress a video|convert a pdf|
connect to a database|deploy an application|write unit tests|profile a program|open a bank account|apply for a visa|file taxes|rent an apartment|
sell a house|buy a used car|invest in stocks|get a passport|learn the piano|learn to swim|run a marathon|do a handstand|treat a burn|lower blood pressure""".replace("\n", "").split("|")
PLACES = "france|germany|japan|india|brazil|canada|australia|spain|italy|mexico|egypt|kenya|norway|china|texas|california|london|paris|tokyo|berlin|rome|madrid|chicago|boston|delhi|sydney".split("|")
ANIMALS = "dogs|cats|horses|cows|birds|fish|snakes|spiders|bees|ants|whales|dolphins|sharks|bears|wolves|lions|tigers|elephants|monkeys|rabbits|owls|penguins|frogs|turtles".split("|")
ACTS = "sleep|bark|swim|migrate|hibernate|fight|sing|dig|purr|jump|hunt at night|eat grass|live in groups|shed skin|lay eggs|change color|bite|dream".split("|")
FOODS = "coffee|tea|red wine|milk|chocolate|sugar|salt|honey|butter|cheese|rice|bread|garlic|ginger|beer|fish|eggs|nuts|olive oil|tofu".split("|")
PEOPLE = "newton|einstein|darwin|mozart|beethoven|shakespeare|napoleon|caesar|cleopatra|gandhi|lincoln|galileo|tesla|edison|picasso|van gogh|da vinci|marie curie".split("|")
UNITS = "miles|kilometers|pounds|kilograms|inches|centimeters|feet|meters|liters|gallons|ounces|grams".split("|")
FORMATS = "json|yaml|csv|xml|pdf|png|jpeg|markdown|html|toml|mp3|wav".split("|")

# Forms of one meaning. Holes: {t} task, {c} concept, {d} another concept, {x} thing, {y} another, {p} place, {q} another, {a} animals, {v} act, {f} food,
# {g} another, {h} person, {u} unit, {w} another, {m} format, {n} another, {k} number.
FAMILIES = [
    ["how do i {t}?", "how can i {t}?", "what is the best way to {t}?", "what's the best way to {t}?", "how to {t}", "how should i {t}?",
     "what is a good way to {t}?", "can you tell me how to {t}?", "what are the steps to {t}?", "tell me how to {t}", "how does one {t}?", "what should i do to {t}?"],
    ["what is {c}?", "what's {c}?", "can you explain {c}?", "explain {c}", "define {c}", "tell me about {c}", "what does {c} mean?", "what is the meaning of {c}?",
     "please explain what {c} is", "could you describe {c}?", "what exactly is {c}?", "how would you define {c}?"],
    ["what is the difference between {c} and {d}?", "how is {c} different from {d}?", "how does {c} differ from {d}?", "what are the differences between {c} and {d}?",
     "{c} vs {d}: what is the difference?", "what distinguishes {c} from {d}?"],
    ["how do i learn {x}?", "what is the best way to learn {x}?", "how can i learn {x}?", "how should i start learning {x}?", "what's the easiest way to learn {x}?"],
    ["what are the best books for learning {x}?", "which books are best for learning {x}?", "what is the best book to learn {x}?", "what are some good books to learn {x}?", "which is the best book for learning {x}?"],
    ["is {x} hard to learn?", "is it hard to learn {x}?", "is {x} difficult to learn?", "how hard is it to learn {x}?", "how difficult is {x} to learn?"],
    ["should i learn {x} or {y}?", "which should i learn, {x} or {y}?", "is it better to learn {x} or {y}?", "{x} or {y}, which one should i learn?"],
    ["what are the advantages of {x}?", "what are the benefits of {x}?", "what are the pros of {x}?", "why is {x} good?", "what benefits does {x} have?"],
    ["why do {a} {v}?", "what is the reason {a} {v}?", "what makes {a} {v}?", "for what reason do {a} {v}?", "why is it that {a} {v}?"],
    ["do {a} {v}?", "is it true that {a} {v}?", "can you tell me if {a} {v}?"],
    ["how long do {a} live?", "what is the lifespan of {a}?", "what is the life expectancy of {a}?", "how many years do {a} live?"],
    ["what do {a} eat?", "what food do {a} eat?", "what is the diet of {a}?", "what do {a} feed on?"],
    ["what is the capital of {p}?", "which city is the capital of {p}?", "what's {p}'s capital?", "what is {p}'s capital city?", "name the capital of {p}", "tell me the capital of {p}"],
    ["what is the population of {p}?", "how many people live in {p}?", "what's the population of {p}?", "how large is the population of {p}?"],
    ["what is the best time to visit {p}?", "when should i visit {p}?", "when is the best time to visit {p}?", "what's the best time of year to visit {p}?"],
    ["what are the best places to visit in {p}?", "what should i see in {p}?", "which places should i visit in {p}?", "what are some good places to visit in {p}?", "what are the must see places in {p}?"],
    ["how do i get from {p} to {q}?", "what is the best way to get from {p} to {q}?", "how can i travel from {p} to {q}?", "what is the best way to travel from {p} to {q}?"],
    ["is {f} good for you?", "is {f} healthy?", "is {f} good for your health?", "is it healthy to eat {f}?"],
    ["what are the side effects of {f}?", "does {f} have side effects?", "which side effects does {f} have?", "what side effects can {f} have?"],
    ["what can i use instead of {f}?", "what is a good substitute for {f}?", "what can i substitute for {f}?", "what can replace {f}?"],
    ["is {f} better than {g}?", "is {f} healthier than {g}?", "which is better, {f} or {g}?"],
    ["when was {h} born?", "what year was {h} born?", "in what year was {h} born?", "what is the birth date of {h}?"],
    ["who was {h}?", "tell me about {h}", "can you tell me who {h} was?", "what is {h} known for?", "what is {h} famous for?"],
    ["how did {h} die?", "what was the cause of {h}'s death?", "what did {h} die of?", "what caused {h}'s death?"],
    ["how many {u} are in {k} {w}?", "convert {k} {w} to {u}", "what is {k} {w} in {u}?", "how many {u} is {k} {w}?"],
    ["how do i convert {m} to {n}?", "what is the best way to convert {m} to {n}?", "how can i convert a {m} file to {n}?", "how to convert {m} files into {n}?"],
    ["how much does it cost to {t}?", "what does it cost to {t}?", "what is the cost to {t}?", "how much money do i need to {t}?"],
    ["how long does it take to {t}?", "how much time does it take to {t}?", "what time does it take to {t}?", "how long will it take to {t}?"],
    ["why is it so hard to {t}?", "why is it so difficult to {t}?", "what makes it so hard to {t}?"],
    ["what tools do i need to {t}?", "which tools do i need to {t}?", "what tools are needed to {t}?"],
    ["is it legal to {t} in {p}?", "is it allowed to {t} in {p}?", "can i legally {t} in {p}?"],
    ["what causes {c}?", "what are the causes of {c}?", "what is the cause of {c}?", "why does {c} happen?", "what leads to {c}?"],
    ["how does {c} work?", "can you explain how {c} works?", "how exactly does {c} work?", "explain how {c} works"],
    ["who invented {c}?", "who came up with {c}?", "who is the inventor of {c}?"],
    ["what are examples of {c}?", "can you give me an example of {c}?", "give me examples of {c}", "what are some examples of {c}?", "what is an example of {c}?"],
]

SAME_WORDS = """buy=purchase|fix=repair|start=begin|big=large|fast=quick|best=good|easiest=simplest|hard=difficult|kids=children|movie=film|car=automobile|doctor=physician|
phone=mobile|get rid of=remove|job=work|clean=wash|delete=remove|build=construct|choose=select|help=assist|make=create|speed up=accelerate|application=app|
apartment=flat|improve=enhance|treat=cure|cost=price|reason=cause|stop=quit|learn=study|photo=picture|show=display|error=mistake|important=essential|
cheap=inexpensive|happy=glad|sick=ill|salary=pay|company=firm|university=college|vacation=holiday|street=road|quickly=fast|website=site|program=software""".replace("\n", "").split("|")

ADDED = """for beginners|in {p}|without {x}|for free|for kids|on a mac|on windows|in winter|for small businesses|at night|while pregnant|
for seniors|in 2019|without experience|using {x}|after surgery|before an exam|at university|in the dark|
for diabetics|by train|as a student|with children|in excel""".replace("\n", "").split("|")
SWAPS = [("best", "worst"), ("how do i", "why do i"), ("how can i", "when can i"), ("what is", "who is"), ("what are", "where are"), 
         ("hard", "easy"), ("advantages", "disadvantages"), ("benefits", "risks"), ("before", "after"), ("how long", "how often"), ("how many", "which"),
         ("what causes", "what prevents"), ("born", "married"), ("eat", "drink"), ("live", "sleep"), ("capital", "currency"), ("population", "area"),
         ("books", "courses"), ("learn", "teach"), ("visit", "leave"), ("tools", "skills"), ("examples", "types"), ("inventor", "critic"), ("side effects", "benefits"),
         ("best time", "worst time"), ("easiest", "cheapest"), ("best way", "fastest way"), ("good", "bad"), ("places", "hotels"), ("steps", "costs")]
POLITE = ["please {}", "hi, {}", "{} thanks", "i want to know {}", "quick question: {}", "hello! {}", "can you help me? {}", "{} please"]


def fillings(rng):
    two = lambda values: rng.sample(values, 2)
    (c, d), (x, y), (p, q), (f, g), (u, w), (m, n) = map(two, (CONCEPTS, THINGS, PLACES, FOODS, UNITS, FORMATS))
    return dict(t=rng.choice(TASKS), c=c, d=d, x=x, y=y, p=p, q=q, a=rng.choice(ANIMALS), v=rng.choice(ACTS), f=f, g=g, h=rng.choice(PEOPLE), u=u, w=w, m=m, n=n,
                k=rng.choice([2, 3, 5, 7, 10, 12, 20, 50, 64, 100, 250]))


def typo(rng, text):
    places = [i for i in range(1, len(text) - 2) if text[i].isalpha() and text[i + 1].isalpha() and text[i - 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    return rng.choice([text[:i] + text[i + 1] + text[i] + text[i + 2:], text[:i] + text[i + 1:], text[:i] + text[i] + text[i:]])


def case(rng, text):
    return rng.choice([text, text, text.capitalize(), text.rstrip("?"), text.replace("?", " ?")])


def same(rng):
    """Two forms of one question."""
    family, filled = rng.choice(FAMILIES), fillings(rng)
    one, other = rng.sample(family, 2) if len(family) > 1 else (family[0], family[0])
    if rng.random() < 0.25:
        other = one
    a, b = one.format(**filled), other.format(**filled)
    changed = a == b
    if rng.random() < 0.3:
        for pair in rng.sample(SAME_WORDS, len(SAME_WORDS)):
            x, y = pair.split("=")
            if re.search(rf"\b{x}\b", b):
                b, changed = re.sub(rf"\b{x}\b", y, b, count=1), True
                break
    if rng.random() < 0.2:
        modifier = rng.choice(ADDED).format(**filled)
        a, b = a.rstrip("?") + " " + modifier + "?", b.rstrip("?") + " " + modifier + "?"
    if a == b or rng.random() < 0.15:
        b = typo(rng, b) if rng.random() < 0.4 else rng.choice(POLITE).format(b)
    return case(rng, a), case(rng, b), "composed_same", FAMILIES.index(family)


def other(rng):
    """Two questions that differ in one thing that matters."""
    family, filled = rng.choice(FAMILIES), fillings(rng)
    one = rng.choice(family)
    second = one if rng.random() < 0.6 else rng.choice(family)
    a, how = one.format(**filled), rng.random()
    if how < 0.40:
        holes = re.findall(r"{(\w)}", one)
        hole, fresh = rng.choice(holes), dict(filled)
        while fresh[hole] == filled[hole]:
            fresh[hole] = fillings(rng)[hole]
        b, kind = second.format(**fresh), "composed_filling"
    elif how < 0.60:
        b, kind = second.format(**filled).rstrip("?") + " " + rng.choice(ADDED).format(**filled) + "?", "composed_added"
    elif how < 0.80:
        b, kind = second.format(**filled), "composed_swap"
        swaps = [(x, y) for x, y in SWAPS if x in b]
        if not swaps:
            return other(rng)
        x, y = rng.choice(swaps)
        b = b.replace(x, y, 1)
    else:
        # Another question about the same thing.
        about = {hole for form in family for hole in re.findall(r"{(\w)}", form)}
        kin = [f for f in FAMILIES if f is not family and {h for form in f for h in re.findall(r"{(\w)}", form)} & about]
        if not kin:
            return other(rng)
        b, kind = rng.choice(rng.choice(kin)).format(**filled), "composed_kin"
    if a == b:
        return other(rng)
    if rng.random() < 0.5:
        a, b = b, a
    return case(rng, a), case(rng, b), kind, FAMILIES.index(family)


def compose(count, seed):
    rng = random.Random(seed)
    for index in range(count):
        a, b, kind, family = (same if index % 2 else other)(rng)
        yield dict(id=f"c{index}", a=a, b=b, label=int(kind == "composed_same"), kind=kind, source="composed", family=family)
