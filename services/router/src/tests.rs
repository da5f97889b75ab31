//! The service over its own contract.

use signalbox_config::Document;
use signalbox_mesh::{Channel, ManualClock, RequestContext, error::reason_of};
use signalbox_proto::{
    common::v1::{
        Attribution, ChatRequest, ErrorReason, Message, Part as Piece, Role, RoutePolicy, Text, Tool,
        part::Kind,
    },
    router::v1::{ExplainRequest, PlanRequest, router_service_client::RouterServiceClient},
};
use tonic::Response;

use super::*;

const MODELS: &str = "
    [models.fast]
    targets = [
      { base_url = 'http://h/v1', model = 'dear', provider = 'p', context_window_tokens = 100000,
        price = { input_usd_per_mtok = '5', output_usd_per_mtok = '5' } },
      { base_url = 'http://h/v1', model = 'cheap', provider = 'p', context_window_tokens = 1000, capabilities = [],
        price = { input_usd_per_mtok = '1', output_usd_per_mtok = '1' } },
    ]
    [models.keyed]
    targets = [{ base_url = 'http://h/v1', model = 'keyed', provider = 'q', api_key_env = 'SIGNALBOX_SURELY_UNSET' }]";

async fn client(section: &str) -> RouterServiceClient<Channel> {
    let document = Document::parse(&format!("{MODELS}\n{section}"), "t").unwrap();
    let environment = Environment::manual(ManualClock::new(1_000), 1, "");
    let shared = Live::new(document.shared().unwrap());
    let part = build(shared, document.section(SECTION).unwrap(), None, environment.clone()).await.unwrap();
    let channel = Channel::local(&part, &signalbox_mesh::Config::default(), &environment);
    signalbox_mesh::client!(RouterServiceClient, channel)
}

fn ask(model: &str) -> PlanRequest {
    let text = Piece { kind: Some(Kind::Text(Text { text: "Hi".into() })), ..Piece::default() };
    let message = Message { role: Role::User.into(), parts: vec![text], ..Message::default() };
    let chat = ChatRequest { model: model.into(), messages: vec![message], ..ChatRequest::default() };
    PlanRequest { chat: Some(chat), input_tokens: 10, ..PlanRequest::default() }
}

async fn order(request: PlanRequest) -> Result<Vec<String>, Option<ErrorReason>> {
    let answer = client("").await.plan(request).await.map_err(|status| reason_of(&status))?;
    Ok(answer.into_inner().candidates.into_iter().map(|c| c.target_id).collect())
}

#[tokio::test]
async fn an_alias_keeps_its_order_and_auto_goes_by_cost() {
    assert_eq!(order(ask("fast")).await.unwrap(), ["p/dear", "p/cheap"]);
    assert_eq!(order(ask("auto")).await.unwrap(), ["p/cheap", "p/dear"]);
    assert_eq!(order(ask("p/cheap")).await.unwrap(), ["p/cheap"]);
}

#[tokio::test]
async fn only_targets_that_can_answer_stay() {
    let mut tools = ask("fast");
    tools.chat.as_mut().unwrap().tools = vec![Tool { name: "t".into(), ..Tool::default() }];
    assert_eq!(order(tools).await.unwrap(), ["p/dear"]);
    assert_eq!(order(PlanRequest { input_tokens: 2_000, ..ask("auto") }).await.unwrap(), ["p/dear"]);
    let deny = RoutePolicy { deny: vec!["p/dear".into()], ..RoutePolicy::default() };
    assert_eq!(order(PlanRequest { policy: Some(deny), ..ask("fast") }).await.unwrap(), ["p/cheap"]);
    let allowed = vec!["p/ch*".to_owned()];
    assert_eq!(order(PlanRequest { allowed_models: allowed, ..ask("fast") }).await.unwrap(), ["p/cheap"]);
}

#[tokio::test]
async fn requests_stay_in_the_regions_of_their_tenant() {
    let mut client = client(
        "[models.placed]
         targets = [
           { base_url = 'http://h/v1', model = 'us', provider = 'p', region = 'us' },
           { base_url = 'http://h/v1', model = 'eu', provider = 'p', region = 'eu' },
         ]
         [tenants.acme]
         regions = ['eu']
         [router.shadows.s]
         models = ['*']
         target = 'p/us'
         share = 1",
    )
    .await;
    let mut plan = async |tenant: &str, model: &str| {
        let context = RequestContext::background().with_principal(tenant, "k");
        client.plan(context.request(ask(model))).await.map(Response::into_inner)
    };
    let of_acme = plan("acme", "placed").await.unwrap();
    assert_eq!(of_acme.candidates.iter().map(|c| &*c.target_id).collect::<Vec<_>>(), ["p/eu"]);
    assert_eq!(
        (&*of_acme.rejected[0].reason, &*of_acme.rejected[0].detail),
        ("region", "it is in us; the tenant's requests stay in eu")
    );
    assert!(of_acme.shadows.is_empty(), "nor is a copy sent elsewhere");
    let of_other = plan("other", "placed").await.unwrap();
    assert_eq!(of_other.candidates.len(), 2);
    let refused = plan("acme", "fast").await.unwrap_err();
    assert!(refused.message().contains("its region is unknown"), "{}", refused.message());
}

#[tokio::test]
async fn a_split_and_its_copies_are_told_and_recorded() {
    let mut client = client(
        "[router.experiments.x]
         models = ['fast']
         key = 'user'
         arms = [{ name = 'a', weight = 0 }, { name = 'b', weight = 1, targets = ['p/cheap'] }]
         [router.shadows.s]
         models = ['fast']
         target = 'p/dear'
         share = 1",
    )
    .await;
    let mut plan = async |request: PlanRequest| {
        let mut context = RequestContext::background().with_principal("acme", "k");
        context.set_request_id("r-1");
        client.plan(context.request(request)).await.unwrap().into_inner()
    };
    let by_user = |model: &str| {
        let attribution = Attribution { user: Some("ann".into()), ..Attribution::default() };
        PlanRequest { attribution: Some(attribution), ..ask(model) }
    };
    let split = plan(by_user("fast")).await;
    assert_eq!((&*split.candidates[0].target_id, split.experiment_arm.as_deref()), ("p/cheap", Some("x/b")));
    assert_eq!((split.shadows.len(), &*split.shadows[0].target_id), (1, "p/dear"));
    let record = split.record.unwrap();
    assert_eq!(
        (&*record.policy, &*record.named_by, &*record.experiment, &*record.arm),
        ("fixed", "alias", "x", "b")
    );
    assert!(record.unit.len() == 16 && record.input_tokens == 10);

    let plain = plan(ask("fast")).await;
    assert_eq!(
        (plain.experiment_arm, plain.shadows.len()),
        (None, 0),
        "no user, no arm; and the copy's target is asked anyway"
    );
    let wishes = RoutePolicy { name: Some("fixed".into()), ..RoutePolicy::default() };
    let named = plan(PlanRequest { policy: Some(wishes), ..by_user("fast") }).await;
    assert_eq!(named.experiment_arm, None, "who names a policy has chosen");
    let direct = plan(by_user("p/dear")).await;
    assert_eq!((direct.experiment_arm, direct.shadows.len()), (None, 0));
    let dry = plan(PlanRequest { dry_run: true, ..by_user("fast") }).await;
    assert_eq!((dry.record, dry.experiment_arm.as_deref()), (None, Some("x/b")));
}

#[tokio::test]
async fn each_way_of_having_no_plan_has_its_own_reason() {
    assert_eq!(order(ask("slow")).await, Err(Some(ErrorReason::ModelUnknown)));
    assert_eq!(order(ask("keyed")).await, Err(Some(ErrorReason::NoCandidate)));
    let long = PlanRequest { input_tokens: 1_000_000, ..ask("fast") };
    assert_eq!(order(long).await, Err(Some(ErrorReason::ContextTooLong)));
    let nothing = PlanRequest { allowed_models: vec!["other".into()], ..ask("fast") };
    assert_eq!(order(nothing).await, Err(Some(ErrorReason::NotAllowed)));
    let policy = PlanRequest { policy_name: "cheapest".into(), ..ask("fast") };
    assert_eq!(order(policy).await, Err(Some(ErrorReason::PolicyInvalid)));
    assert_eq!(order(PlanRequest::default()).await, Err(Some(ErrorReason::InvalidRequest)));
}

#[tokio::test]
async fn a_receipt_is_for_its_tenant_alone() {
    let mut client = client("").await;
    let context = |tenant: &str| {
        let mut context = RequestContext::background().with_principal(tenant, "k");
        context.set_request_id("r-1");
        context
    };
    client.plan(context("acme").request(ask("fast"))).await.unwrap();
    let explain = ExplainRequest { request_id: "r-1".into() };
    let receipt = client.explain(context("acme").request(explain.clone())).await.unwrap().into_inner();
    assert_eq!((receipt.requested_model.as_str(), receipt.planned_unix_ms), ("fast", 1_000));
    let other = client.explain(context("other").request(explain)).await.unwrap_err();
    assert_eq!(reason_of(&other), Some(ErrorReason::NotFound));
}
