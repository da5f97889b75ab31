//! Executor: one answer from a plan, whatever the provider does.
