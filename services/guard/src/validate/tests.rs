use serde_json::json;
use signalbox_proto::common::v1::{JsonObjectFormat, JsonSchemaFormat};

use super::*;

fn fields(value: &Value) -> Struct {
    use prost_types::{ListValue, Value as Any, value::Kind};
    fn any(value: &Value) -> Any {
        let kind = match value {
            Value::Null => Kind::NullValue(0),
            Value::Bool(b) => Kind::BoolValue(*b),
            Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap()),
            Value::String(s) => Kind::StringValue(s.clone()),
            Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(any).collect() }),
            Value::Object(_) => Kind::StructValue(fields(value)),
        };
        Any { kind: Some(kind) }
    }
    Struct { fields: value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), any(v))).collect() }
}

fn schema_format() -> Option<ResponseFormat> {
    let schema =
        json!({ "type": "object", "properties": { "age": { "type": "integer" } }, "required": ["age"] });
    let format =
        JsonSchemaFormat { name: "x".into(), schema: Some(fields(&schema)), ..JsonSchemaFormat::default() };
    Some(ResponseFormat { kind: Some(response_format::Kind::JsonSchema(format)) })
}

fn tool() -> Tool {
    let parameters =
        json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    Tool { name: "weather".into(), parameters: Some(fields(&parameters)), ..Tool::default() }
}

fn policy(on: OnInvalid, repair: bool) -> Validation {
    Validation { structured: on, tools: on, repair, ..Validation::default() }
}

fn answer(on: OnInvalid, repair: bool, text: &str, reason: FinishReason) -> Form {
    let mut form = Form::new(policy(on, repair), schema_format(), Vec::new(), Vec::new(), false);
    for piece in text.split_inclusive(' ') {
        form.text(0, piece, piece);
    }
    form.finish(reason);
    form
}

fn told(form: &Form) -> Vec<String> {
    form.flagged().chain(form.failed()).map(Fault::told).collect()
}

#[test]
fn answers_are_compared_with_their_schema() {
    let on = |text| told(&answer(OnInvalid::Flag, false, text, FinishReason::Stop));
    assert_eq!(on("{ \"age\": 3 }"), [] as [&str; 0]);
    assert_eq!(on("{ \"age\": \"x\" }"), ["the answer does not fit its schema at `/properties/age/type`"]);
    assert_eq!(on("{}"), ["the answer does not fit its schema at `/required`"]);
    assert_eq!(on("Sure! {\"age\": 3}"), ["the answer is no JSON (line 1, column 1)"]);
    assert_eq!(on(" "), ["the answer is empty"]);
    let cut = answer(OnInvalid::Retry, true, "{ \"age\": 3", FinishReason::Length);
    assert!(
        cut.failed().is_some() && cut.correction().is_empty(),
        "what was cut off is neither mended nor asked again"
    );
}

#[test]
fn an_answer_that_cannot_become_json_fails_at_that_byte() {
    let mut form = Form::new(policy(OnInvalid::Error, false), schema_format(), Vec::new(), Vec::new(), false);
    form.text(0, "{ \"age\"", "");
    assert!(form.failed().is_none() && !form.holds_back());
    form.text(0, " 3", "");
    assert_eq!(form.failed().unwrap().told(), "the answer is no JSON");
    assert!(form.correction().is_empty());
}

#[test]
fn small_faults_are_mended_in_both_forms() {
    let format = Some(ResponseFormat { kind: Some(response_format::Kind::JsonObject(JsonObjectFormat {})) });
    let mut form = Form::new(policy(OnInvalid::Error, true), format, Vec::new(), Vec::new(), false);
    assert!(form.holds_back());
    form.text(0, "```json\n{\"to\": \"ada@example.com\",}\n```", "```json\n{\"to\": \"<EMAIL_1>\",}\n```");
    form.finish(FinishReason::Stop);
    assert!(form.failed().is_none());
    let event = |text: &str| {
        let delta = Delta { content: Some(Content::Text(text.into())), ..Delta::default() };
        Some(GenerateEvent { sequence: 1, kind: Some(Kind::Delta(delta)) })
    };
    let mut events: Vec<ScreenedEvent> = ["```json", "{…}", "```"]
        .map(|text| ScreenedEvent { client: event(text), ..ScreenedEvent::default() })
        .into();
    form.mend(&mut events);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].client, event("{\"to\": \"ada@example.com\"}"));
    assert_eq!(events[0].stored, event("{\"to\": \"<EMAIL_1>\"}"));
}

#[test]
fn the_model_is_told_what_is_wrong_and_the_caller_is_told_where() {
    let form = answer(OnInvalid::Retry, false, "{ \"age\": \"SECRET\" }", FinishReason::Stop);
    let [said, asked] = &form.correction()[..] else { panic!("two messages") };
    assert_eq!((said.role(), asked.role()), (Role::Assistant, Role::User));
    assert!(format!("{said:?}").contains("SECRET") && format!("{asked:?}").contains("/age"));
    assert!(!told(&form)[0].contains("SECRET"));
    let mut second =
        Form::new(policy(OnInvalid::Retry, false), schema_format(), Vec::new(), Vec::new(), true);
    second.text(0, "{}", "{}");
    second.finish(FinishReason::Stop);
    assert!(second.failed().is_some() && second.correction().is_empty(), "asked once");
}

#[test]
fn arguments_are_compared_with_the_tools_parameters() {
    let run = |on, arguments: &str| {
        let mut form = Form::new(policy(on, false), None, vec![tool()], vec!["weather".into()], false);
        form.call(1, "call_1", "weather");
        form.arguments(1, arguments, arguments);
        form.finish(FinishReason::ToolCalls);
        form
    };
    assert_eq!(told(&run(OnInvalid::Flag, "{\"city\": \"Oslo\"}")), [] as [&str; 0]);
    let misfit = "the arguments for the tool `weather` does not fit its schema at `/required`";
    assert_eq!(told(&run(OnInvalid::Flag, "{}")), [misfit]);
    assert_eq!(told(&run(OnInvalid::Flag, "")), [misfit]);
    let form = run(OnInvalid::Retry, "{\"city\": 7}");
    let [said, result] = &form.correction()[..] else { panic!("two messages") };
    assert_eq!((said.role(), result.role()), (Role::Assistant, Role::Tool));
    let Some(part::Kind::ToolResult(result)) = &result.parts[0].kind else { panic!("a result") };
    assert_eq!((result.call_id.as_str(), result.is_error), ("call_1", Some(true)));
}

#[test]
fn schemas_are_refused_before_anything_is_asked_where_the_answer_depends_on_them() {
    let schema = json!({ "$ref": "https://example.com/x" });
    let tool = Tool { name: "t".into(), parameters: Some(fields(&schema)), ..Tool::default() };
    let chat = ChatRequest { tools: vec![tool], ..ChatRequest::default() };
    assert_eq!(schemas(&policy(OnInvalid::Flag, false), &chat), Ok(()));
    let (field, why) = schemas(&policy(OnInvalid::Error, false), &chat).unwrap_err();
    assert_eq!(field, "chat.tools[0].parameters");
    assert!(why.contains("not in it"), "{why}");
}

#[test]
fn what_is_too_long_is_not_kept() {
    let small = Validation { max_bytes: 100, ..policy(OnInvalid::Flag, false) };
    let mut form = Form::new(small, schema_format(), Vec::new(), Vec::new(), false);
    form.text(0, "{\"a\": \"", "{\"a\": \"");
    for _ in 0..100 {
        form.text(0, "0123456789", "0123456789");
    }
    assert!(form.texts[0].client.len() <= 100);
    form.finish(FinishReason::Stop);
    assert_eq!(told(&form), ["the answer is longer than 100 bytes, which is not checked"]);
}
