//! Guard: injection, PII and secrets, redaction and its way back.
