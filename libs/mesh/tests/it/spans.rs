//! What a handler logs is found by its trace, also in the middle of a stream.

use std::{
    io,
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt as _, stream};
use signalbox_mesh::{Random, RequestContext, TraceContext};
use signalbox_proto::guard::v1::{InspectRequest, InspectResponse};

use crate::{
    scripted::{Scripted, ask, said},
    world::{World, on_both},
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn with(&self, text: &str) -> String {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let found: Vec<_> = all.lines().filter(|line| line.contains(text)).collect();
        assert_eq!(found.len(), 1, "{all}");
        found[0].to_owned()
    }
}

on_both! {
    async fn a_line_of_a_handler_names_trace_request_and_tenant(topology) {
        let script = Scripted::default()
            .inspect(|_| async {
                tracing::info!("while answering");
                Ok(InspectResponse::default())
            })
            .screen(|_| stream::iter([1]).map(|n| {
                tracing::info!("while streaming");
                Ok(said(n))
            }));
        let world = World::new(topology, script);
        let mut context = RequestContext::background().with_principal("acme", "key-1");
        context.set_request_id("0199-7");
        let trace = TraceContext::root(&Random::seeded(9), true);
        context.set_trace(trace.clone());
        let calls = async || {
            world.client().inspect(context.request(InspectRequest::default())).await.unwrap();
            let answer = world.client().screen(context.request(stream::iter([ask()]))).await.unwrap();
            answer.into_inner().for_each(async |_| ()).await;
        };
        // Nobody listens yet: a span that another test meets first, just when somebody begins to, would be taken for one that nobody
        // wants, for good.
        calls().await;
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _listening = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();
        calls().await;
        for line in [lines.with("while answering"), lines.with("while streaming")] {
            for part in ["0199-7", "acme", &format!("{:032x}", trace.trace_id()), "GuardService/"] {
                assert!(line.contains(part), "{part} is not in {line}");
            }
        }
    }
}
