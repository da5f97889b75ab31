//! C1, with the encoder that makes most mistakes: to it all texts are the same.

use proptest::prelude::*;
use signalbox_proto::{
    cache::v1::LookupRequest,
    common::v1::{
        CacheState, ChatRequest, ResponseFormat, Role, Sampling, TextFormat, Tool, response_format,
    },
};

use super::world::*;

/// Who asks and in what setting, as small numbers.
#[derive(Debug, Clone, PartialEq)]
struct Setting {
    tenant: u8,
    system: u8,
    tools: u8,
    model: u8,
    guard: u8,
    history: u8,
    format: bool,
    redacted: bool,
    temperature: u8,
}

impl Setting {
    fn any() -> impl Strategy<Value = Self> {
        // Few values, so that pairs that differ in one thing only are frequent.
        let numbers = (0u8..2, 0u8..3, 0u8..2, 0u8..2, 0u8..2, 0u8..2, 0u8..2);
        (numbers, any::<bool>(), any::<bool>()).prop_map(
            |((tenant, system, tools, model, guard, history, temperature), format, redacted)| Self {
                tenant,
                system,
                tools,
                model,
                guard,
                history,
                format,
                redacted,
                temperature,
            },
        )
    }

    fn tenant(&self) -> &'static str {
        ["acme", "acm"][usize::from(self.tenant)]
    }

    fn ask(&self, text: &str) -> LookupRequest {
        let mut messages = Vec::new();
        if self.system > 0 {
            messages.push(said(Role::System, ["", "be brief", "be long"][usize::from(self.system)]));
        }
        if self.history > 0 {
            messages.push(said(Role::User, "What is the sea?"));
            messages.push(said(Role::Assistant, "Water."));
        }
        messages.push(said(Role::User, text));
        let tools = (0..self.tools).map(|_| Tool { name: "f".into(), ..Tool::default() }).collect();
        let format = ResponseFormat { kind: Some(response_format::Kind::Text(TextFormat {})) };
        let chat = ChatRequest {
            model: ["fast", "slow"][usize::from(self.model)].into(),
            messages,
            tools,
            response_format: self.format.then_some(format),
            sampling: Some(Sampling {
                temperature: Some(f64::from(self.temperature)),
                ..Sampling::default()
            }),
            ..ChatRequest::default()
        };
        LookupRequest {
            chat: Some(chat),
            guard_digest: vec![self.guard; 4].into(),
            redacted: self.redacted,
            ..LookupRequest::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_entry_answers_another_setting(first in Setting::any(), second in Setting::any(), same_words in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::blind("").await;
            world.ask(first.tenant(), &first.ask("Why is the sky blue?"), "for the first only").await;
            let words = if same_words { "Why is the sky blue?" } else { "What makes the sky blue?" };
            let state = world.lookup(second.tenant(), second.ask(words)).await.unwrap().state();
            let expected = match (first == second, same_words, second.tools) {
                (true, true, _) => CacheState::Exact,
                (true, false, 0) => CacheState::Semantic,
                _ => CacheState::Miss,
            };
            assert_eq!(state, expected);
        });
    }
}
