//! Bodies of failed answers, in every dialect. The first two bytes choose the status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signalbox_wire::Dialect;

fuzz_target!(|data: &[u8]| {
    let Some(([a, b], body)) = data.split_first_chunk::<2>() else { return };
    let status = 400 + u16::from_le_bytes([*a, *b]) % 200;
    for dialect in [
        Dialect::OpenAi,
        Dialect::Azure,
        Dialect::Responses,
        Dialect::AzureResponses,
        Dialect::Anthropic,
        Dialect::Gemini,
        Dialect::Bedrock,
        Dialect::Cohere,
    ] {
        signalbox_fuzz::wire::refusal(dialect, status, body);
    }
});
