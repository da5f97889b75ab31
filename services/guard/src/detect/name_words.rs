//! Words that say what a capitalised word beside them is.

/// First names that are other words too: they need another name behind them.
#[rustfmt::skip]
pub(super) const DOUBTFUL: &[&str] = &[
    "may", "june", "april", "august", "mark", "bill", "will", "grace", "hope", "faith", "joy", "art",
    "frank", "jack", "chase", "drew", "sue", "pat", "rob", "dawn", "eve", "ivy", "jade", "ruby", "pearl",
    "amber", "dale", "dean", "earl", "gene", "guy", "jean", "ken", "max", "mike", "nick", "ray", "rich",
    "rod", "rose", "sandy", "penny", "holly", "summer", "autumn", "angel", "charity", "christian", "german",
    "chad", "jordan", "georgia", "florence", "paris", "sofia", "sydney", "victoria", "virginia",
    "charlotte", "austin", "madison", "dakota", "israel", "kenya", "china", "india", "ali", "an", "in",
    "long", "min", "una", "per", "don", "lane", "miles", "carol", "crystal", "daisy", "destiny", "ernest",
    "misty", "rusty", "dusty", "star", "stella", "trinity", "violet", "wren", "rowan", "hunter", "mason",
    "cooper", "parker", "carter", "logan", "quinn", "reed", "taylor", "morgan", "ash", "so", "li", "lee",
    "chi", "mei", "ping", "tae", "hao", "emacs", "julia", "ruby", "ada", "claude", "alexa", "siri",
    "python", "dana", "lola", "angela", "noah", "jasper", "echo", "iris", "dae", "eun", "ying", "wei",
    "lan", "lin", "kai", "art", "sky",
];

#[rustfmt::skip]
pub(super) const TITLES: &[&str] = &[
    "mr", "mrs", "ms", "miss", "dr", "prof", "professor", "sir", "lady", "lord", "madam", "herr", "frau",
    "dipl.-ing", "ing", "monsieur", "madame", "mme", "mlle", "señor", "señora", "sr", "sra", "signor",
    "signora", "pan", "pani", "fru", "judge", "captain", "officer", "detective", "senator", "president",
    "rev", "father", "sister", "uncle", "aunt", "mx", "univ.prof",
];

#[rustfmt::skip]
pub(super) const PERSON_BEFORE: &[&str] = &[
    "name is ", "named ", "called ", "call me ", "i'm ", "i am ", "this is ", "name: ",
    "dear ", "hi ", "hello ", "hey ", "speak to ", "speak with ", "talk to ", "talked to ",
    "ask for ", "met ", "under ", "told ", "said ", "says ", "regards, ", "sincerely, ", "wife ",
    "husband ", "brother ", "sister ", "my son ", "daughter ", "my friend ", "boss ", "colleague ", "kid ",
    "mother ", "my father ", "good morning ", "good afternoon ", "good evening ", "tell ", "driver ",
    "landlord ", "teacher ", "nurse ", "neighbour ", "neighbor ", "tenant ", "manager ", "customer ", "patient ", "client ", "employee ", "witness ", "signed by ", "written by ",
    "sung by ", "directed by: ", "songwriter ", "singer ", "player ", "actor ",
    "author ", "producer ", "ceo ", "heiße ", "heißt ", "name ist ", "m'appelle ", "nom est ", "me llamo ",
    "nombre es ", "mi chiamo ", "nazywam się ", "jag heter ", "heter ", "maiden name is ",
   
    "thanks, ", "cheers, ", "user: ",
    "cc: ", "from: ", "to: ",
];

#[rustfmt::skip]
pub(super) const PLACE_BEFORE: &[&str] = &[
    " in ", " from ", "moved to ", "trip to ", "travel to ", "traveling to ", "flight to ", "flying to ",
    "fly to ", "go to ", "going to ", "arrived in ",
    "lives in ", "based in ", "located in ", "near ", "visit ", "visited ", "born in ", "city of ",
    "town of ", "capital of ", "president of ", "where: ", "where:", "nach ",
    "aus ", " à ", "en ",
];

#[rustfmt::skip]
pub(super) const ORGANIZATION_BEFORE: &[&str] = &[
    "work for ", "works for ", "worked for ", "working for ", "work at ", "works at ", "worked at ",
    "working at ", "employed by ", "company ", "recorded for ", "joined ", "support ", "employer is ",
    "job at ", "position at ", "intern at ", "office of ", "address of ", "according to the ", "hired by ",
    "on behalf of ", "ceo of ", "founder of ", "customer of ", "account with ",
];

#[rustfmt::skip]
pub(super) const ORGANIZATION_ENDS: &[&str] = &[
    "inc", "inc.", "llc", "ltd", "ltd.", "limited", "plc", "llp", "lp", "corp", "corp.", "corporation",
    "company", "co", "co.", "gmbh", "ag", "kg", "ohg", "ug", "kgaa", "e.v", "e.u", "ab", "hb", "kb", "as",
    "asa", "oy", "oyj", "aps", "a/s", "sa", "s.a", "s.a.", "sàrl", "sarl", "sas", "srl", "spa", "s.p.a",
    "nv", "bv", "b.v", "group", "holding", "holdings", "partners", "associates", "industries",
    "technologies", "labs", "bank", "university", "institute", "college", "foundation", "hospital",
    "clinic", "airlines", "airways", "motors", "pharma", "pharmaceuticals", "solutions", "systems",
    "consulting", "ventures", "capital", "insurance", "sons", "brothers", "& co", "s.c", "sp", "sp.k",
    "sp.j", "ministry", "agency", "enterprises", "logistics", "studios", "media", "records", "stores",
    "supermarkets", "pty", "services",
];

#[rustfmt::skip]
pub(super) const ORGANIZATION_STARTS: &[&str] = &[
    "fundacja", "stowarzyszenie", "grupa", "spółdzielnia", "gabinety", "fpuh", "ppuh", "phu", "banque",
    "banco", "universität", "université", "universidad", "ministry", "university", "institut",
];

#[rustfmt::skip]
pub(super) const PLACE_STARTS: &[&str] = &[
    "new", "north", "south", "east", "west", "lake", "port", "saint", "st", "san", "santa", "mount", "fort",
    "bad", "los", "las", "el", "upper", "lower", "great", "northern", "southern", "sankt", "nowa", "nowy",
    "stary", "villa", "puerto", "costa", "sri", "united", "saudi", "hong", "sierra", "burkina", "cape",
    "papua", "french", "equatorial", "ivory", "isle", "cayman", "cook", "faroe", "marshall", "solomon",
    "vatican", "czech", "dominican", "wielka", "arabia", "república", "gran", "grande", "unter", "ober",
];

#[rustfmt::skip]
pub(super) const PLACE_ENDS: &[&str] = &[
    "ville", "burgh", "bury", "furt", "stad", "haven", "mouth", "chester", "shire", "borough", "berg",
    "side", "fort", "port", "view", "stadt", "burg", "dorf", "heim", "hausen", "kirchen", "wice", "köping",
    "holm", "ton", "land", "town", "bourg", "polis", "grad", "istan",
];

/// Ends of street names that are one word.
#[rustfmt::skip]
pub(super) const WAY_ENDS: &[&str] = &[
    "straße", "strasse", "gasse", "platz", "vägen", "gatan", "stigen", "gränd", "torget", "backen",
    "straat", "plein",
];

#[rustfmt::skip]
pub(super) const PARTICLES: &[&str] = &[
    "de", "da", "del", "della", "di", "du", "van", "von", "der", "den", "la", "le", "bin", "ibn", "el",
    "al", "y", "dos", "of",
];
