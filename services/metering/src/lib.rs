//! Metering: keys, budgets, token counts, cost and the ledger.
