//! From a settlement to a record of the ledger: checked, bounded, priced.

use std::{collections::BTreeSet, sync::Arc};

use signalbox_proto::common::v1::{
    Attempt, AttemptKind, AttemptOutcome, RouteRecord, Timings, Usage, UsageSource,
};
use signalbox_proto::metering::v1::{RequestOutcome, Settlement};

use crate::{
    decode,
    ledger::{AttemptRecord, Details, Record, Tokens},
    pricing::Pricing,
    refusal::Refusal,
    subject::Subject,
};

/// Of the id of a request that is on record.
pub(crate) const ID_BYTES: usize = 128;
const TEXT_BYTES: usize = 512;
const ATTEMPTS: usize = 256;
/// Room for thirty-two patterns of targets.
const ROUTE_BYTES: usize = 6_144;
/// Above any real usage, and small enough that sums do not overflow.
const MOST_TOKENS: u64 = 1 << 40;

/// Reads one settlement.
pub(crate) fn record(settlement: Settlement, pricing: &Pricing, now: i64) -> Result<Record, Refusal> {
    let request_id: Arc<str> = decode::bounded("request_id", &settlement.request_id, ID_BYTES)?.into();
    let closing = closing(&settlement)?;
    if settlement.attempts.len() > ATTEMPTS {
        return Err(Refusal::invalid("attempts", format!("at most {ATTEMPTS} are allowed in one record")));
    }
    let mut numbers = BTreeSet::new();
    if !settlement.attempts.iter().all(|attempt| attempt.number > 0 && numbers.insert(attempt.number)) {
        return Err(Refusal::invalid("attempts.number", "count attempts from 1, each once"));
    }
    let details = details(&settlement, now)?;
    let attempts = settlement
        .attempts
        .into_iter()
        .map(|attempt| read(attempt, pricing, now))
        .collect::<Result<_, _>>()?;
    let subject = settlement.principal.map(|principal| -> Result<Arc<Subject>, Refusal> {
        Ok(Arc::new(decode::subject(
            decode::tenant("principal.tenant", &principal.tenant)?,
            decode::bounded("principal.id", &principal.id, ID_BYTES)?.into(),
            principal.team.map(Arc::from),
            settlement.attribution,
            cut(settlement.requested_model),
        )?))
    });
    Ok(Record {
        request_id,
        reservation_id: Some(settlement.reservation_id).filter(|id| !id.is_empty()),
        subject: subject.transpose()?,
        attempts,
        closing,
        details,
    })
}

fn closing(settlement: &Settlement) -> Result<Option<RequestOutcome>, Refusal> {
    let outcome = RequestOutcome::try_from(settlement.outcome).unwrap_or_default();
    match outcome {
        _ if !settlement.r#final => Ok(None),
        RequestOutcome::Unspecified => Err(Refusal::invalid("outcome", "is required on a final record")),
        RequestOutcome::Abandoned => {
            Err(Refusal::invalid("outcome", "only metering itself finds a request abandoned"))
        }
        outcome => Ok(Some(outcome)),
    }
}

fn details(settlement: &Settlement, now: i64) -> Result<Details, Refusal> {
    if settlement.saved_nanousd < 0 {
        return Err(Refusal::invalid("saved_nanousd", "must not be negative"));
    }
    let Timings { total_ms, first_output_ms, overhead_us, .. } = settlement.timings.unwrap_or_default();
    let hit = settlement.cached_usage.unwrap_or_default();
    Ok(Details {
        cache: settlement.cache(),
        saved_nanousd: settlement.saved_nanousd,
        hit_tokens: (tokens("cached_usage", hit.input_tokens)?, tokens("cached_usage", hit.output_tokens)?),
        started_unix_ms: if settlement.started_unix_ms > 0 { settlement.started_unix_ms } else { now },
        total_ms: whole(total_ms),
        first_output_ms: first_output_ms.map(whole),
        overhead_us: whole(overhead_us),
        error_reason: Some(cut(settlement.error_reason.clone())).filter(|reason| !reason.is_empty()),
        client_request_id: settlement.client_request_id.clone().map(cut),
        on_allowance: settlement.on_allowance,
        route: settlement.route.as_ref().and_then(route),
    })
}

/// What a model was chosen by, as JSON without what is empty. One that is too long is left out: the money counts all the same.
fn route(record: &RouteRecord) -> Option<String> {
    serde_json::to_string(record).ok().filter(|text| text.len() <= ROUTE_BYTES)
}

/// When an attempt began: its price is that of this time.
fn began(attempt: &Attempt, now: i64) -> i64 {
    if attempt.started_unix_ms > 0 { attempt.started_unix_ms } else { now }
}

fn read(attempt: Attempt, pricing: &Pricing, now: i64) -> Result<AttemptRecord, Refusal> {
    decode::bounded("attempts.target_id", &attempt.target_id, TEXT_BYTES)?;
    let outcome = AttemptOutcome::try_from(attempt.outcome).unwrap_or_default();
    if outcome == AttemptOutcome::Unspecified {
        return Err(Refusal::invalid("attempts.outcome", "is required"));
    }
    let (tokens, source) = match &attempt.usage {
        // Nothing was used: there is nothing to estimate either.
        None => (Tokens::default(), UsageSource::Unspecified),
        Some(usage) => (usage_tokens(usage)?, source(usage)),
    };
    let billed = billed(&tokens, attempt.usage.as_ref());
    let priced = pricing.cost(&attempt.target_id, &billed, began(&attempt, now));
    Ok(AttemptRecord {
        number: attempt.number,
        outcome,
        kind: AttemptKind::try_from(attempt.kind)
            .ok()
            .filter(|k| *k != AttemptKind::Unspecified)
            .unwrap_or(AttemptKind::First),
        tokens,
        source,
        cost_nanousd: priced.nanousd,
        price_unknown: priced.unknown,
        price_version: priced.version,
        started_unix_ms: attempt.started_unix_ms,
        duration_ms: whole(attempt.duration_ms),
        first_output_ms: attempt.first_output_ms.map(whole),
        http_status: attempt.http_status,
        error: Some(cut(attempt.error)).filter(|error| !error.is_empty()),
        provider_request_id: attempt.provider_request_id.map(cut),
        target_id: attempt.target_id,
    })
}

fn source(usage: &Usage) -> UsageSource {
    match UsageSource::try_from(usage.source).unwrap_or_default() {
        UsageSource::Unspecified => UsageSource::Estimated,
        known => known,
    }
}

fn usage_tokens(usage: &Usage) -> Result<Tokens, Refusal> {
    let read = |count| tokens("attempts.usage", count);
    Ok(Tokens {
        input: read(usage.input_tokens)?,
        output: read(usage.output_tokens)?,
        cached_input: read(usage.cached_input_tokens)?,
        cache_write: read(usage.cache_write_tokens)?,
        cache_write_1h: read(usage.cache_write_1h_tokens)?,
        reasoning: read(usage.reasoning_tokens)?,
        audio_input: read(usage.audio_input_tokens)?,
        audio_output: read(usage.audio_output_tokens)?,
    })
}

/// What is paid for: the provider may count more than it bills.
fn billed(tokens: &Tokens, usage: Option<&Usage>) -> Tokens {
    let Some(usage) = usage else { return *tokens };
    let less = |counted: i64, unbilled: u64| counted.saturating_sub(whole(unbilled)).max(0);
    Tokens {
        input: less(tokens.input, usage.unbilled_input_tokens),
        output: less(tokens.output, usage.unbilled_output_tokens),
        ..*tokens
    }
}

fn tokens(field: &str, count: u64) -> Result<i64, Refusal> {
    if count <= MOST_TOKENS {
        Ok(whole(count))
    } else {
        Err(Refusal::invalid(field, format!("counts {count} tokens; no request has more than {MOST_TOKENS}")))
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The provider's and the client's words, bounded.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use signalbox_config::{Live, Shared};
    use signalbox_proto::metering::v1::Principal;

    use super::*;

    fn settlement() -> Settlement {
        Settlement {
            request_id: "r".to_owned(),
            principal: Some(Principal {
                tenant: "acme".to_owned(),
                id: "k".to_owned(),
                ..Principal::default()
            }),
            attempts: vec![Attempt {
                number: 1,
                target_id: "lab/small".to_owned(),
                outcome: AttemptOutcome::Ok.into(),
                usage: Some(Usage { input_tokens: 5, ..Usage::default() }),
                ..Attempt::default()
            }],
            outcome: RequestOutcome::Ok.into(),
            r#final: true,
            ..Settlement::default()
        }
    }

    fn read_back(settlement: Settlement) -> Result<Record, Refusal> {
        record(settlement, &Pricing::new(Live::new(Shared::default())), 77)
    }

    #[test]
    fn what_is_missing_gets_its_honest_value() {
        let record = read_back(settlement()).unwrap();
        let attempt = &record.attempts[0];
        assert_eq!(attempt.source, UsageSource::Estimated, "no source means estimated");
        assert_eq!((attempt.kind, attempt.price_unknown), (AttemptKind::First, true));
        assert_eq!(record.details.started_unix_ms, 77);
    }

    #[test]
    fn what_is_counted_but_not_billed_costs_nothing() {
        let text = "[models.m]
            targets = [{ base_url = 'http://lab.test/v1', provider = 'lab', model = 'small',
              price = { input_usd_per_mtok = '1', output_usd_per_mtok = '2' } }]";
        let shared = signalbox_config::Document::parse(text, "test").unwrap().shared().unwrap();
        let pricing = Pricing::new(Live::new(shared));
        let cost = |unbilled| {
            let mut settlement = settlement();
            let usage = Usage {
                input_tokens: 500,
                output_tokens: 30,
                unbilled_input_tokens: unbilled,
                ..Usage::default()
            };
            settlement.attempts[0].usage = Some(usage);
            let record = record(settlement, &pricing, 77).unwrap();
            assert_eq!(record.attempts[0].tokens.input, 500, "the ledger has what the provider reported");
            record.attempts[0].cost_nanousd
        };
        assert_eq!(cost(0), 500_000 + 60_000);
        assert_eq!(cost(450), 50_000 + 60_000);
        assert_eq!(cost(501), 60_000);
    }

    #[test]
    fn each_fault_is_named() {
        let at = |change: fn(&mut Settlement)| {
            let mut settlement = settlement();
            change(&mut settlement);
            match read_back(settlement) {
                Err(Refusal::Invalid { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(at(|s| s.request_id.clear()), "request_id");
        assert_eq!(at(|s| s.outcome = 0), "outcome");
        assert_eq!(at(|s| s.outcome = RequestOutcome::Abandoned.into()), "outcome");
        assert_eq!(at(|s| s.attempts[0].number = 0), "attempts.number");
        assert_eq!(at(|s| s.attempts.push(s.attempts[0].clone())), "attempts.number");
        assert_eq!(at(|s| s.attempts[0].target_id.clear()), "attempts.target_id");
        assert_eq!(at(|s| s.attempts[0].outcome = 0), "attempts.outcome");
        assert_eq!(
            at(|s| s.attempts[0].usage = Some(Usage { output_tokens: u64::MAX, ..Usage::default() })),
            "attempts.usage"
        );
        assert_eq!(at(|s| s.saved_nanousd = -1), "saved_nanousd");
        assert_eq!(at(|s| s.principal = Some(Principal::default())), "principal.tenant");
    }

    #[test]
    fn words_of_others_are_bounded() {
        let mut long = settlement();
        long.attempts[0].error = "ä".repeat(2_000);
        let error = read_back(long).unwrap().attempts[0].error.clone().unwrap();
        assert_eq!(error.len(), TEXT_BYTES);
    }
}
