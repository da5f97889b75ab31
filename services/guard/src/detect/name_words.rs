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
    "working at ", "employed by ", "employed at ", "company ", "recorded for ", "joined ", "support ", "employer is ",
    "job at ", "job with ", "position at ", "role at ", "career at ", "intern at ", "interned at ", "internship at ", "interview at ", "interview with ",
    "offer from ", "office of ", "address of ", "according to the ", "hired by ", "fired by ", "acquired by ", "owned by ", "founded by ", "made by ",
    "merged with ", "acquire ", "acquired ", "on behalf of ", "ceo of ", "cfo of ", "cto of ", "founder of ", "co-founder of ", "director of ", "owner of ", "chairman of ",
    "head of ", "employee of ", "employees of ", "customer of ", "customers of ", "client of ", "shares of ", "subsidiary of ", "headquarters of ", "products of ", "website of ", "service of ",
    "share price of ", "stock of ", "report of ", "reports of ", "prices of ", "products from ", "parts from ", "competitor ", "competitors ", "rival ", "lawsuit between ", "account with ", "account at ", "contract with ", "contract to ", "invoice from ", "complaint about ", "spokesperson for ", "spokesman for ", "spokeswoman for ",
    "studies at ", "study at ", "studied at ", "student at ", "professor at ", "lecturer at ", "researcher at ", "nurse at ", "doctor at ", "engineer at ", "manager at ", "developer at ",
    "accountant at ", "consultant at ", "partner at ", "analyst at ", "vp at ", "ceo at ", "cto at ", "the company ", "the firm ", "the startup ", "the brand ", "supplier ", "vendor ", "employer ", "startup ", "brand ",
    "people from ", "colleagues from ", "team from ", "people at ", "team at ", "folks at ", "sued ", "lawsuit against ", " v. ", " vs. ", "arbeitet bei ", "arbeite bei ", "firma ", "travaille chez ", "chez ",
    "trabaja en ", "trabajo en ", "lavora per ", "pracuje w ", "werkt bij ", "jobbar på ",
];

/// What only organisations do or have.
#[rustfmt::skip]
pub(super) const ORGANIZATION_AFTER: &[&str] = &[
    " announced", " raised its", " opened a new", " cut its", " reported", " launched", " acquired", " released", " unveiled", " recalled", " hired ", " laid off", " plans to", " employs", " manufactures", " produces", " sells ", " operates", " offers ", " provides ",
    " website", " shares", " stock", " headquarters", " employees", " customer", " subsidiary", " spokes", " office", " store", " factory", " branch", " products", " engineers", " executives", " shareholders",
    "'s shares", "'s stock", "'s website", "'s ceo", "'s CEO", "'s headquarters", "'s customer", "'s employees", "'s products", "'s board", "'s revenue", "'s profit", "’s shares", "’s website", "’s CEO", "’s employees",
    " CEO", " is a company", " is headquartered", " was founded", " is the brainchild", " multinational",
];

/// Legal forms.
#[rustfmt::skip]
pub(super) const ORGANIZATION_FORMS: &[&str] = &[
    "inc", "inc.", "llc", "ltd", "ltd.", "limited", "plc", "llp", "lp", "corp", "corp.", "corporation",
    "company", "co", "co.", "gmbh", "ag", "kg", "ohg", "ug", "kgaa", "se", "e.v", "e.u", "ab", "hb", "kb", "as",
    "asa", "oy", "oyj", "aps", "a/s", "sa", "s.a", "s.a.", "sàrl", "sarl", "sas", "srl", "spa", "s.p.a",
    "nv", "bv", "b.v", "sons", "brothers", "& co", "s.c", "sp", "sp.k", "sp.j", "pty",
];

/// What organisations are, at the end of their names.
#[rustfmt::skip]
pub(super) const ORGANIZATION_ENDS: &[&str] = &[
    "group", "gruppe", "grupo", "gruppo", "groupe", "holding", "holdings", "partners", "associates", "industries", "technologies", "technology", "labs", "laboratories", "bank", "university", "institute", "college", "academy",
    "foundation", "hospital", "clinic", "airlines", "airways", "motors", "pharma", "pharmaceuticals", "solutions", "systems", "consulting", "consultants", "ventures", "capital", "insurance", "ministry", "agency", "enterprises",
    "logistics", "studios", "media", "records", "stores", "supermarkets", "services", "school", "church", "museum", "council", "association", "society", "committee", "commission", "authority", "bureau", "department",
    "federation", "organization", "organisation", "trust", "fund", "software", "robotics", "energy", "electronics", "foods", "financial", "finance", "energies", "telecom", "communications", "networks", "properties", "realty",
    "securities", "investments", "medical", "health", "healthcare", "dental", "pharmacy", "hotels", "resorts", "restaurant", "bakery", "cafe", "brewery", "press", "publishing", "publishers", "university hospital", "universität", "hochschule",
    "stiftung", "verein", "versicherung", "krankenhaus", "universiteit", "bv", "union", "alliance", "network", "collective", "coalition", "brands", "apparel", "works", "freight", "shipping", "airline", "railway", "railways",
];

/// The same, where a word that is no common one stands before: `Boston Scientific`, but not `Time Management`.
#[rustfmt::skip]
pub(super) const ORGANIZATION_ENDS_OF_NAMES: &[&str] = &[
    "center", "centre", "centers", "clinics", "international", "worldwide", "global", "management", "resources", "scientific", "petroleum", "homes", "resorts", "service", "exchange", "electric", "power", "bancorp", "bancshares", "materials", "products", "instruments", "semiconductor",
    "semiconductors", "therapeutics", "biosciences", "biotech", "sciences", "entertainment", "interactive", "steel", "chemical", "chemicals", "water", "gas", "oil", "express", "motor", "paper", "automotive", "aerospace", "dynamics", "digital",
    "analytics", "design", "designs", "trading", "exports", "imports", "construction", "engineering", "architects", "lawyers", "attorneys", "advisors", "advisers", "wealth", "mutual", "savings", "credit", "supply", "tools", "packaging", "plastics",
    "textiles", "fashion", "furniture", "gmbh", "manufacturing", "machinery", "marine", "mining", "metals", "games", "pictures", "theatre", "orchestra", "festival", "times", "post", "herald", "tribune", "gazette", "wines", "vineyards", "dairy", "farms", "seafood",
];

#[rustfmt::skip]
pub(super) const ORGANIZATION_STARTS: &[&str] = &[
    "fundacja", "stowarzyszenie", "grupa", "spółdzielnia", "gabinety", "fpuh", "ppuh", "phu", "banque",
    "banco", "universität", "université", "universidad", "università", "institut", "instituto", "hôpital", "ministère", "ministerio",
];

/// The same where `of` or `for` follows.
#[rustfmt::skip]
pub(super) const ORGANIZATION_OF: &[&str] = &[
    "university", "bank", "ministry", "department", "institute", "college", "church", "academy", "bureau", "office", "council", "association", "society", "federation", "organization", "organisation", "centers", "center", "centre", "museum",
    "hospital", "house", "board", "agency", "commission", "committee", "union", "league", "foundation", "chamber", "court", "school", "faculty",
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
