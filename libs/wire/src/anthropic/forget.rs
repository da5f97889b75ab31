//! What a request says although it need not.

use signalbox_proto::common::v1::ChatRequest;

use crate::json::text;

/// Takes out what says no more than its absence: tools of the type `custom`, which elsewhere is another kind of tool.
pub fn forget(chat: &mut ChatRequest) {
    for tool in &mut chat.tools {
        if tool.parameters.is_some() && text(tool.extra.as_ref(), "type") == Some("custom") {
            let fields = tool.extra.as_mut().map(|extra| {
                extra.fields.remove("type");
                extra.fields.len()
            });
            tool.extra = tool.extra.take().filter(|_| fields != Some(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_of_the_callers_own_is_one_at_every_provider() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":1,"tools":[
            {"type":"custom","name":"f","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}]}"#;
        let mut chat = super::super::parse(body.as_bytes(), None).unwrap().chat;
        forget(&mut chat);
        assert_eq!(chat.tools[0].extra, None);
        assert_eq!(text(chat.tools[1].extra.as_ref(), "type"), Some("web_search_20250305"));
    }
}
