//! Questions that may be put to a model later: by a follower whose leader failed, and once more after an answer of the wrong form. They
//! own what they need: nobody knows when, or whether, that is.

use std::sync::Arc;

use signalbox_mesh::RequestContext;

use crate::{
    Mesh,
    deliver::Again,
    follow::TakeOver,
    inspect::Inspected,
    pipeline::{Ask, Call, Entry, Log, Plan, execute, plan},
};

/// How a follower asks a model itself when the leader failed.
pub(crate) fn take_over(
    mesh: &Arc<Mesh>,
    call: &Arc<Call>,
    context: &RequestContext,
    entry: &Entry,
    inspected: &Inspected,
) -> TakeOver {
    let (mesh, call, context) = (Arc::clone(mesh), Arc::clone(call), context.clone());
    let (principal, chat) = (entry.principal.clone(), inspected.chat.clone());
    let (input_tokens, granted_output_tokens) = (entry.bill.input_tokens(), entry.granted_output_tokens);
    let progress = entry.bill.progress();
    Box::new(move |delivered| {
        Box::pin(async move {
            let ask = Ask {
                context: &context,
                call: &call,
                principal: &principal,
                chat: &chat,
                input_tokens,
                granted_output_tokens,
                progress,
            };
            let plan = plan(&mesh, &ask, None, &mut Log::default()).await?;
            execute(&mesh, &ask, &plan, delivered, &mut None).await
        })
    })
}

/// How a model is asked once more, with messages that say what was wrong with its answer.
pub(crate) fn again(
    mesh: &Arc<Mesh>,
    call: &Arc<Call>,
    context: &RequestContext,
    entry: &Entry,
    inspected: &Inspected,
    plan: Plan,
) -> Again {
    let (mesh, call, context) = (Arc::clone(mesh), Arc::clone(call), context.clone());
    let (principal, mut chat) = (entry.principal.clone(), inspected.chat.clone());
    let (input_tokens, granted_output_tokens) = (entry.bill.input_tokens(), entry.granted_output_tokens);
    let progress = entry.bill.progress();
    Box::new(move |messages, mut grant| {
        Box::pin(async move {
            let paid = match &mut grant {
                Some(grant) => grant.covers_another("attempt").await,
                None => false,
            };
            if !paid {
                return Ok(None);
            }
            chat.messages.extend(messages);
            let ask = Ask {
                context: &context,
                call: &call,
                principal: &principal,
                chat: &chat,
                input_tokens,
                granted_output_tokens,
                progress,
            };
            let stream = execute(&mesh, &ask, &plan, None, &mut grant).await?;
            Ok(Some((stream, grant)))
        })
    })
}
