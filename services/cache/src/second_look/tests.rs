use super::*;

fn look(a: &str, b: &str) -> Result<(), Difference> {
    let (a, b) = (Features::of(a), Features::of(b));
    let (there, back) = (agree(&a, &b), agree(&b, &a));
    assert_eq!(there.is_ok(), back.is_ok(), "the look is symmetric");
    there
}

#[test]
fn the_same_question_in_other_words_passes() {
    let same = [
        ("Why is the sky blue?", "What makes the sky blue?"),
        ("What is cognitive dissonance?", "Can you explain cognitive dissonance?"),
        ("What is cognitive dissonance?", "Tell me about cognitive dissonance"),
        ("How do I reset my password?", "how can I reset the password"),
        ("What is the capital of France?", "Tell me the capital of France, please."),
        ("What is the capital of France?", "what is the capital of france"),
        ("How many legs do spiders have?", "How many legs does a spider have?"),
        ("Convert 1,000 km to miles", "convert 1000 kilometers to miles"),
        ("How far is 5km in miles?", "How far is 5 km in miles?"),
        ("Is 5 dollars enough for lunch?", "Is $5 enough for a lunch?"),
        ("What does `foldl` do?", "Explain what `foldl` does."),
        ("Why isn't the sky green?", "Why is the sky not green?"),
        ("Write to <EMAIL_1>.", "Please write to <EMAIL_1>"),
        ("In HTML, how do I start a new line?", "How do I start a new line in HTML?"),
        (
            "What is the difference between an agnostic and an atheist?",
            "What is the difference between atheists and agnostics?",
        ),
        ("What is a shell in Unix?", "What is a Unix shell?"),
        ("Is there evidence for the existence of God?", "Is there evidence for God's existence?"),
        ("Which earphone is best under $50?", "Which is the best earphone under $50?"),
        ("What can one do to control anger?", "What can one do to control his/her anger?"),
        ("What are the most common mistakes of sellers?", "What are common mistakes of sellers?"),
        ("Should I learn Node.js or Ruby on Rails?", "Should I learn Ruby on Rails or Node.js?"),
        ("What is the national language of India?", "What is India's national language?"),
        (
            "What is the difference between assembly language and machine language?",
            "What is the difference between machine language and assembly language?",
        ),
        ("What time of the year is best to visit Rome?", "What is the best time of the year to visit Rome?"),
        ("Is the old town or the new town quieter?", "Is the new town or the old town quieter?"),
        ("How do snails sleep during winter in Norway?", "How do snails sleep in Norway during winter?"),
        ("How do I Take A Day Off?", "How do I take a day off?"),
    ];
    for (a, b) in same {
        assert_eq!(look(a, b), Ok(()), "{a} / {b}: {:?} {:?}", Features::of(a), Features::of(b));
    }
}

#[test]
fn what_an_encoder_does_not_see_is_seen() {
    use Difference as D;
    let other = [
        ("Why do tall fathers of short sons smile?", "Why do short fathers of tall sons smile?", D::Order),
        (
            "Why forgive what we know and cannot forget?",
            "Why forget what we know and cannot forgive?",
            D::Order,
        ),
        ("Should I learn Danish to read poems?", "Should I read Danish to learn poems?", D::Order),
        ("How does Oslo compare to Bergen?", "How does Bergen compare to Oslo?", D::Order),
        ("Which poems cite Homer?", "Which poems are cited by Homer?", D::Order),
        ("What is the third plan worth?", "What is the plan worth?", D::Numbers),
        ("What is the second plan worth?", "What is the plan worth?", D::Extent),
        ("Is plan B better than none?", "Is plan C better than none?", D::Identifiers),
        ("What does a trainee earn?", "What does a trainer earn?", D::Opposites),
        ("Do fish exhale oxygen?", "Do fish inhale oxygen?", D::Opposites),
        ("What are intrastate taxes?", "What are interstate taxes?", D::Opposites),
        ("In which month was it built?", "In which year was it built?", D::Exchange),
        ("How much is 5 km in miles?", "How much is 6 km in miles?", D::Numbers),
        ("Who owns Bentley?", "Who does Bentley own?", D::Order),
        ("Who helped the queen?", "Who was helped by the queen?", D::Order),
        ("Which team beat Ajax?", "Which team did Ajax beat?", D::Order),
        ("Which doors must I open with a key?", "Which doors must I paint with a key?", D::Exchange),
        ("How much is 5 km in miles?", "How much is 5 m in miles?", D::Numbers),
        ("Is $5 enough?", "Is €5 enough?", D::Numbers),
        ("Is -5 a natural number?", "Is 5 a natural number?", D::Numbers),
        ("A recipe for two people", "A recipe for three people", D::Numbers),
        ("Convert 10 to 20", "Convert 20 to 10", D::Numbers),
        ("What changed in version 1.2.0?", "What changed in version 1.20?", D::Numbers),
        ("Write to <EMAIL_1>.", "Write to <EMAIL_2>.", D::Placeholders),
        ("Does <PERSON_1> owe <PERSON_2>?", "Does <PERSON_2> owe <PERSON_1>?", D::Placeholders),
        ("Call <PHONE_1>", "Call them", D::Placeholders),
        ("Translate \"good morning\"", "Translate \"good night\"", D::Quotes),
        ("What does get_user do?", "What does set_user do?", D::Identifiers),
        ("Sort a list in C", "Sort a list in C++", D::Identifiers),
        ("How large is GPT-4o?", "How large is gpt-4?", D::Identifiers),
        ("Who won the war in Vietnam?", "Who won the war in Korea?", D::Names),
        ("What happened in May?", "What happened in june?", D::Names),
        ("Is it safe?", "Is it not safe?", D::Negation),
        ("Which foods contain gluten?", "Which foods don't contain gluten?", D::Negation),
        ("Ist Backpulver giftig?", "Ist Backpulver nicht giftig?", D::Negation),
        ("What should I eat before surgery?", "What should I eat after surgery?", D::Opposites),
        ("How do I increase my heart rate?", "How do I lower my heart rate?", D::Opposites),
        ("What are the advantages of tea?", "What are the disadvantages of tea?", D::Opposites),
        ("Is it legal to own a snake?", "Is it illegal to own a snake?", D::Opposites),
        ("How do I mount a disk?", "How do I unmount a disk?", D::Opposites),
        ("Is the method useful?", "Is the method useless?", D::Opposites),
        ("Sort the list in ascending order", "Sort the list in descending order", D::Opposites),
        ("Who wrote the book?", "When was the book written?", D::Kind),
        ("Does aspirin thin blood?", "How does aspirin thin blood?", D::Kind),
        ("How many people live in Rome?", "Who lives in Rome?", D::Kind),
        ("Convert json to yaml", "Convert yaml to json", D::Order),
        ("How do I get from paris to london?", "How do I get from london to paris?", D::Order),
        ("Does smoking cause cancer?", "Does cancer cause smoking?", D::Order),
        ("Is Vietnam cheaper than India?", "Is India cheaper than Vietnam?", D::Order),
        ("What do dogs like about cats?", "What do cats like about dogs?", D::Order),
        (
            "How safe is it to drive from Texas to Ohio?",
            "How safe is it to drive from Ohio to Texas?",
            D::Order,
        ),
        ("Is wine made of water or fire?", "Is water made of wine or fire?", D::Order),
        ("Who sold the car to the bank?", "Who sold the bank to the car?", D::Order),
        ("How do you convert liters to kilograms?", "How do you convert kg to liters?", D::Order),
        ("How do I transfer to the college?", "How do I transfer out of the college?", D::Order),
        ("Which books are written by children?", "Which books are written for children?", D::Order),
        ("Do women like men from another town?", "Do women like men to another town?", D::Order),
        ("What evidence is there for the theory?", "What evidence is there against the theory?", D::Order),
        ("What are the benefits of tea?", "What are the benefits and risks of tea?", D::Opposites),
        ("Which is the cheapest phone?", "Which is the smallest phone?", D::Opposites),
        ("Which is the cheapest train?", "Which is the fastest train?", D::Opposites),
        ("How do I undo a change?", "How do I do a change?", D::Opposites),
        ("What goes up but never comes down?", "What goes down but never comes down?", D::Opposites),
        (
            "Which is the best school? What makes it good?",
            "Which is the worst school? What makes it good?",
            D::Opposites,
        ),
        ("What can I do for you?", "What can you do for me?", D::Order),
        (
            "What is the nicest thing a stranger has done for you?",
            "What's the nicest thing you've done for a stranger?",
            D::Order,
        ),
        ("What do birds build their nests with?", "How do birds build their nests?", D::Order),
        ("How are violin strings made?", "What are violin strings made of?", D::Order),
        ("Should I give tea or coffee to guests?", "Should I give guests or coffee to tea?", D::Order),
        ("What are your thoughts on this painting?", "What are your thoughts on my painting?", D::Pointing),
        ("Where and how can I buy gold?", "Where can I buy gold?", D::Kind),
        ("Have you worked in rural Africa?", "Have you worked in urban Africa?", D::Opposites),
        ("How do buffalo and beef differ?", "How are buffalo and beef similar?", D::Opposites),
        ("What is wrong in this code?", "What is wrong with this code?", D::Pointing),
        ("Tea?", "Tea, and then a long story of how it came to be drunk all over the world", D::Extent),
    ];
    for (a, b, difference) in other {
        assert_eq!(look(a, b), Err(difference), "{a} / {b}: {:?} {:?}", Features::of(a), Features::of(b));
    }
}

#[test]
fn a_text_agrees_with_itself_whatever_it_is() {
    for text in [
        "",
        "?",
        "\"",
        "<",
        "<>",
        "<_1>",
        "--",
        "()",
        "1.",
        "1,",
        "-",
        "½",
        "٣",
        "’",
        "n't",
        "….?!",
        "`a` b ` c",
        "I",
    ] {
        assert_eq!(look(text, text), Ok(()), "{text}");
    }
}
