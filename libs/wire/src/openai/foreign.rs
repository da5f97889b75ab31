//! Fields of the Responses dialect, which a request that came in by that door carries along in `extra`.

/// Fields of requests.
const REQUEST: [&str; 8] = [
    "background",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "text",
    "truncation",
];

/// Fields of requests that refer to what the other dialect's server stored.
pub(super) const STORED: [&str; 2] = ["conversation", "previous_response_id"];

/// Fields of messages and parts.
const PIECE: [&str; 7] =
    ["caller", "continues", "encrypted_content", "namespace", "phase", "status", "summary"];

/// Tells whether a request's field is the other dialect's.
pub(super) fn of_request(key: &str) -> bool {
    REQUEST.contains(&key) || STORED.contains(&key)
}

/// Tells whether a message's or a part's field is the other dialect's.
pub(super) fn of_piece(key: &str) -> bool {
    PIECE.contains(&key)
}

/// Tells whether a text part's field is the other dialect's.
pub(super) fn of_text(key: &str) -> bool {
    matches!(key, "annotations" | "logprobs")
}

/// Tells whether a type only says in the other dialect's words that a part is text.
pub(super) fn is_text(kind: &str) -> bool {
    matches!(kind, "input_text" | "output_text")
}
