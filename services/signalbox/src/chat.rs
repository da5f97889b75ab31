//! `signalbox chat`: one question, or a conversation, and the answers as they come.

use std::{
    io::{BufRead as _, IsTerminal as _},
    time::Instant,
};

use signalbox_proto::{
    common::v1::{
        CachePolicy, ChatRequest, FinishReason, Finished, Message, Part, Policies, Role, Seam, Started, Text,
        cache_policy, delta::Content, generate_event::Kind, part,
    },
    gateway::v1::{
        FeedbackRequest, GenerateRequest, ListModelsRequest, gateway_service_client::GatewayServiceClient,
    },
};

use crate::{
    Ended,
    client::{Client, Server},
    cost::dollars,
    print,
};

/// Arguments of `signalbox chat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The question. `-` reads it from standard input. Without one, a conversation: each line is a turn, and `/help` says
    /// what else may be typed.
    prompt: Option<String>,
    /// The alias, `provider/model`, or `auto`.
    #[arg(long, short, default_value = "auto")]
    model: String,
    /// Instructions for the model.
    #[arg(long)]
    system: Option<String>,
    /// Do not use the cache.
    #[arg(long)]
    no_cache: bool,
    /// Print events as JSON lines instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// What may be typed in a conversation.
const HELP: &str = "/model NAME  asks another model from here on\n/models      lists what may be asked\n/clear       forgets what was \
                    said\n/good, /bad  scores the last answer, for the cache, the router and the ledger\n/exit        ends (as does the end of input)";

/// Asks and prints; the last line says model, cache state, cost and time to first token.
pub(crate) async fn run(args: Args) -> Ended {
    let client = args.server.connect()?;
    let mut conversation = Conversation {
        client,
        model: args.model.clone(),
        messages: args.system.clone().map(|text| message(Role::System, text)).into_iter().collect(),
        answered: None,
        no_cache: args.no_cache,
        json: args.json,
    };
    match args.prompt.as_deref() {
        Some("-") => {
            let prompt = std::io::read_to_string(std::io::stdin())
                .map_err(|error| format!("standard input cannot be read: {error}"))?;
            conversation.turn(prompt).await
        }
        Some(prompt) => conversation.turn(prompt.to_owned()).await,
        None => conversation.run().await,
    }
}

fn message(role: Role, text: String) -> Message {
    Message {
        role: role.into(),
        parts: vec![Part { kind: Some(part::Kind::Text(Text { text })), ..Part::default() }],
        ..Message::default()
    }
}

/// What was said so far, and to whom.
struct Conversation {
    client: Client,
    model: String,
    messages: Vec<Message>,
    /// The last complete answer.
    answered: Option<Answered>,
    no_cache: bool,
    json: bool,
}

/// What a score of an answer names.
struct Answered {
    request_id: String,
    entry_id: Option<String>,
}

impl Conversation {
    /// Reads turns to the end of input. A turn that fails is told, and forgotten.
    async fn run(&mut self) -> Ended {
        let asks = std::io::stdin().is_terminal();
        if asks {
            print::aside("a conversation; /help says what may be typed");
        }
        loop {
            if asks {
                print::out(&format!("{}> ", self.model));
            }
            let read = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                std::io::stdin().lock().read_line(&mut line).map(|bytes| (bytes > 0).then_some(line))
            });
            let line = read.await.map_err(|error| error.to_string())?;
            let Some(line) = line.map_err(|error| format!("standard input cannot be read: {error}"))? else {
                return Ok(());
            };
            match line.trim() {
                "" => {}
                "/exit" | "/quit" => return Ok(()),
                "/help" => print::aside(HELP),
                "/clear" => self.messages.retain(|message| message.role() == Role::System),
                "/models" => self.models().await,
                "/good" => self.score(1.0).await,
                "/bad" => self.score(-1.0).await,
                command if command.starts_with("/model ") => {
                    command.trim_start_matches("/model ").trim().clone_into(&mut self.model);
                    print::aside(&format!("asking {}", self.model));
                }
                command if command.starts_with('/') => {
                    print::aside(&format!("there is no {command}; {HELP}"));
                }
                prompt => {
                    if let Err(error) = self.turn(prompt.to_owned()).await {
                        print::aside(&error);
                    }
                }
            }
        }
    }

    async fn models(&self) {
        let mut gateway = signalbox_mesh::client!(GatewayServiceClient, self.client.channel);
        match gateway.list_models(self.client.request(ListModelsRequest {})).await {
            Ok(listed) => listed.into_inner().models.iter().for_each(|model| print::aside(&model.name)),
            Err(status) => print::aside(&self.client.explain(&status)),
        }
    }

    async fn score(&self, score: f64) {
        let Some(Answered { request_id, entry_id }) = &self.answered else {
            return print::aside("there is no answer yet");
        };
        let mut gateway = signalbox_mesh::client!(GatewayServiceClient, self.client.channel);
        let request = FeedbackRequest {
            request_id: request_id.clone(),
            score,
            kind: Some("thumbs".to_owned()),
            entry_id: entry_id.clone(),
        };
        match gateway.feedback(self.client.request(request)).await {
            Ok(_) => print::aside("noted"),
            Err(status) => print::aside(&self.client.explain(&status)),
        }
    }

    /// Asks, prints, and remembers what was said if the answer is complete.
    async fn turn(&mut self, prompt: String) -> Ended {
        let asked = message(Role::User, prompt);
        let request = self.client.request(self.request(asked.clone()));
        let begun = Instant::now();
        let mut gateway = signalbox_mesh::client!(GatewayServiceClient, self.client.channel);
        let mut events = gateway.generate(request).await.map_err(|s| self.client.explain(&s))?.into_inner();
        let mut show = Show {
            json: self.json,
            begun,
            started: None,
            first_ms: None,
            open_line: false,
            said: String::new(),
            answered: None,
        };
        loop {
            match events.message().await {
                Ok(Some(response)) => {
                    if let Some(kind) = response.event.and_then(|event| event.kind) {
                        show.event(kind);
                    }
                }
                Ok(None) => {
                    self.messages.extend([asked, message(Role::Assistant, show.said)]);
                    self.answered = show.answered;
                    return Ok(());
                }
                Err(status) => {
                    show.end_line();
                    return Err(self.client.explain(&status));
                }
            }
        }
    }

    fn request(&self, asked: Message) -> GenerateRequest {
        let chat = ChatRequest {
            model: self.model.clone(),
            messages: self.messages.iter().cloned().chain([asked]).collect(),
            ..ChatRequest::default()
        };
        let mode = if self.no_cache { cache_policy::Mode::Off } else { cache_policy::Mode::Unspecified };
        let cache = Some(CachePolicy { mode: mode.into(), ..CachePolicy::default() });
        let policies = Some(Policies { cache, ..Policies::default() });
        GenerateRequest { chat: Some(chat), policies, ..GenerateRequest::default() }
    }
}

struct Show {
    json: bool,
    begun: Instant,
    started: Option<Started>,
    first_ms: Option<u128>,
    open_line: bool,
    /// The answer's text.
    said: String,
    answered: Option<Answered>,
}

impl Show {
    fn event(&mut self, kind: Kind) {
        match kind {
            Kind::Started(started) => self.started = Some(*started),
            Kind::Delta(delta) => {
                self.first_ms.get_or_insert_with(|| self.begun.elapsed().as_millis());
                if let Some(content) = delta.content {
                    self.content(&content);
                }
            }
            Kind::Notice(notice) => self.aside(&format!("[{}] {}", notice.part, notice.message)),
            Kind::Seam(Seam { reason, from_model, to_model, .. }) => {
                self.aside(&format!("[seam] {from_model} ended ({reason}); {to_model} goes on"));
            }
            Kind::Finished(finished) => self.finish(&finished),
        }
    }

    fn content(&mut self, content: &Content) {
        let text = match content {
            Content::Text(text) => {
                self.said.push_str(text);
                text.clone()
            }
            Content::Refusal(text) => text.clone(),
            Content::ToolCall(call) => {
                let name = call.name.as_ref().map(|name| format!("\n[call {name}] ")).unwrap_or_default();
                name + &call.arguments
            }
            _ => return,
        };
        if self.json {
            print::line(&serde_json::json!({ "text": text }).to_string());
        } else {
            self.open_line = !text.ends_with('\n');
            print::out(&text);
        }
    }

    fn finish(&mut self, finished: &Finished) {
        self.end_line();
        let started = self.started.take().unwrap_or_default();
        let cache = started.cache.unwrap_or_default();
        self.answered = Some(Answered {
            request_id: started.request_id.clone(),
            entry_id: cache.entry_id.clone().filter(|id| !id.is_empty()),
        });
        let state = cache.state().as_str_name().trim_start_matches("CACHE_STATE_").to_lowercase();
        let similarity = cache.similarity.map(|s| format!(" {s:.3}")).unwrap_or_default();
        let first = self.first_ms.map_or_else(|| "-".into(), |ms| format!("{ms} ms"));
        let usage = finished.usage.unwrap_or_default();
        if self.json {
            let last = serde_json::json!({
                "request_id": started.request_id, "model": finished.model, "cache": state,
                "similarity": cache.similarity, "cost_nanousd": finished.cost_nanousd,
                "saved_nanousd": finished.saved_nanousd, "first_output_ms": self.first_ms,
                "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                "finish_reason": finished.finish_reason().as_str_name(),
            });
            return print::line(&last.to_string());
        }
        let cost = match (finished.saved_nanousd, finished.price_unknown) {
            (saved, _) if saved > 0 => {
                format!("{} (saved {})", dollars(finished.cost_nanousd), dollars(saved))
            }
            (_, true) => "price unknown".into(),
            _ => dollars(finished.cost_nanousd),
        };
        let ended = match finished.finish_reason() {
            FinishReason::Stop | FinishReason::ToolCalls => String::new(),
            other => format!(
                " · ended: {}",
                other.as_str_name().trim_start_matches("FINISH_REASON_").to_lowercase()
            ),
        };
        print::aside(&format!(
            "— {} · cache {state}{similarity} · {cost} · {} in, {} out · first token {first}{ended}",
            finished.model, usage.input_tokens, usage.output_tokens
        ));
    }

    fn aside(&mut self, text: &str) {
        self.end_line();
        print::aside(text);
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.open_line) {
            print::out("\n");
        }
    }
}
