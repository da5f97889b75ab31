//! Going on after a stream broke: what was delivered, what the next model is asked, and how its text joins.

use signalbox_proto::common::v1::delta::Content;
use signalbox_proto::common::v1::rescue_policy::Mode;
use signalbox_proto::common::v1::{
    ChatRequest, Delta, Message, Part, RescuePolicy, Role, Sampling, Seam, Text, part, response_format, seam,
};

use crate::failure::Failure;
use crate::joint::{Joined, Joint};
use crate::target::Target;

/// How much of the delivered text's end is quoted in the instruction, in bytes.
const QUOTED: usize = 80;
/// The most pieces that are held back with an undecided text.
const PENDING: usize = 256;

/// What clients have of the answer.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) text: String,
    most: usize,
    /// Text went beyond what is kept: it cannot be gone on from.
    beyond: bool,
    /// Bytes of text, kept or not.
    pub(crate) bytes: u64,
    /// Tool calls, refusals or media were forwarded: no other model can go on in the middle of them.
    fixed: bool,
    /// Anything at all was forwarded.
    pub(crate) any: bool,
}

impl Delivered {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Begins with what another execution delivered. False: it is more than is kept.
    pub(crate) fn from_prefix(text: String, most: usize) -> Option<Self> {
        let bytes = text.len() as u64;
        (text.len() <= most).then_some(Self { any: !text.is_empty(), text, most, bytes, ..Self::default() })
    }

    /// Notes what is forwarded.
    pub(crate) fn note(&mut self, delta: &Delta) {
        self.any = true;
        match &delta.content {
            Some(Content::Text(text)) => {
                self.bytes += text.len() as u64;
                if self.beyond || self.text.len() + text.len() > self.most {
                    self.beyond = true;
                    self.text = String::new();
                } else {
                    self.text.push_str(text);
                }
            }
            Some(Content::ToolCall(_) | Content::Refusal(_) | Content::Media(_)) => self.fixed = true,
            Some(Content::Reasoning(_) | Content::Citation(_)) | None => {}
        }
    }

    /// Whether text went beyond what is kept.
    pub(crate) fn beyond(&self) -> bool {
        self.beyond
    }
}

/// How a broken stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From what was delivered.
    Continue,
    /// Anew; the client drops what it has.
    Restart,
}

/// Decides how a stream that broke may go on; `None`: not at all.
pub(crate) fn way(policy: &RescuePolicy, chat: &ChatRequest, delivered: &Delivered) -> Option<Way> {
    let restart = policy.accept_restart.then_some(Way::Restart);
    match policy.mode() {
        Mode::None => None,
        // Reasoning counts as forwarded: the client would show it twice.
        Mode::Restart if !delivered.any => Some(Way::Restart),
        Mode::Restart => restart,
        Mode::Unspecified | Mode::Continue => {
            let structured = chat
                .response_format
                .as_ref()
                .is_some_and(|format| !matches!(format.kind, None | Some(response_format::Kind::Text(_))));
            // Structured output is parsed as a whole: two halves by two models are none.
            if delivered.fixed || delivered.beyond || (structured && !delivered.text.is_empty()) {
                restart
            } else {
                Some(Way::Continue)
            }
        }
    }
}

/// Is a rescue under way.
#[derive(Debug)]
pub(crate) struct Rescue {
    pub(crate) way: Way,
    /// The target whose stream broke.
    from: String,
    reason: String,
    joint: Joint,
    /// The seam was sent.
    joined: bool,
    /// Pieces that came behind text that is held back.
    pending: Vec<Delta>,
}

/// Is what a piece becomes.
#[derive(Debug)]
pub(crate) enum Forward {
    /// These are sent on; before the first of all, the seam.
    Send(Option<Seam>, Vec<Delta>),
    /// The model started over in other words.
    StartedOver,
}

impl Rescue {
    pub(crate) fn new(way: Way, from: &str, failed: &Failure) -> Self {
        Self::after(way, from.to_owned(), failed.cause().to_owned())
    }

    pub(crate) fn after(way: Way, from: String, reason: String) -> Self {
        Self { way, from, reason, joint: Joint::new("", 0), joined: false, pending: Vec::new() }
    }

    /// Prepares for the next model's answer, and returns what it is asked.
    pub(crate) fn ask(
        &mut self,
        chat: &ChatRequest,
        delivered: &Delivered,
        prefill: bool,
        spent: u64,
    ) -> ChatRequest {
        self.pending.clear();
        let text = delivered.text.as_str();
        if self.way == Way::Restart || text.trim().is_empty() {
            let shown = if self.way == Way::Restart { "" } else { text };
            self.joint = Joint::new(shown, shown.len());
            return chat.clone();
        }
        // Providers refuse a last message that ends in white space.
        let shown = text.trim_end();
        self.joint = Joint::new(text, text.len() - shown.len());
        let mut chat = chat.clone();
        chat.messages.push(message(Role::Assistant, shown.to_owned()));
        if !prefill {
            chat.messages.push(message(Role::User, instruction(shown)));
        }
        if let Some(Sampling { max_output_tokens: Some(most), .. }) = &mut chat.sampling {
            *most = most.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX)).max(1);
        }
        chat
    }

    /// Takes a piece of the next model's answer.
    pub(crate) fn take(&mut self, mut delta: Delta, to: &Target, at_byte: u64) -> Forward {
        if self.joined && self.joint.settled() {
            return Forward::Send(None, vec![delta]);
        }
        match &mut delta.content {
            Some(Content::Text(text)) => match self.joint.push(text) {
                Joined::Held => Forward::Send(None, Vec::new()),
                Joined::On(on) => {
                    *text = on;
                    self.join(Some(delta), to, at_byte)
                }
                Joined::StartedOver => Forward::StartedOver,
            },
            Some(Content::Reasoning(_) | Content::Citation(_)) | None if self.pending.len() < PENDING => {
                self.pending.push(delta);
                Forward::Send(None, Vec::new())
            }
            _ => match self.end(to, at_byte) {
                Forward::Send(seam, mut deltas) => {
                    deltas.push(delta);
                    Forward::Send(seam, deltas)
                }
                Forward::StartedOver => Forward::StartedOver,
            },
        }
    }

    /// Says that no more text comes: what is held back is new, or a repetition.
    pub(crate) fn end(&mut self, to: &Target, at_byte: u64) -> Forward {
        if self.joined && self.joint.settled() {
            return Forward::Send(None, Vec::new());
        }
        match self.joint.end() {
            Joined::StartedOver => Forward::StartedOver,
            Joined::On(text) => {
                let delta = Delta { content: Some(Content::Text(text)), ..Delta::default() };
                self.join(Some(delta), to, at_byte)
            }
            Joined::Held => self.join(None, to, at_byte),
        }
    }

    fn join(&mut self, delta: Option<Delta>, to: &Target, at_byte: u64) -> Forward {
        let mut deltas = std::mem::take(&mut self.pending);
        deltas.extend(delta.filter(|delta| !is_empty(delta)));
        let seam = (!self.joined).then(|| Seam {
            kind: match self.way {
                Way::Continue => seam::Kind::Continued,
                Way::Restart => seam::Kind::Restarted,
            }
            .into(),
            reason: self.reason.clone(),
            from_model: self.from.clone(),
            to_model: to.id.clone(),
            at_byte,
        });
        self.joined = true;
        Forward::Send(seam, deltas)
    }

    /// Whether the client was told of the model that goes on.
    pub(crate) fn joined(&self) -> bool {
        self.joined
    }
}

fn is_empty(delta: &Delta) -> bool {
    matches!(&delta.content, Some(Content::Text(text)) if text.is_empty())
        && delta.logprobs.is_none()
        && delta.extra.is_none()
}

fn message(role: Role, text: String) -> Message {
    let part = Part { kind: Some(part::Kind::Text(Text { text })), ..Part::default() };
    Message { role: role.into(), parts: vec![part], ..Message::default() }
}

/// Asks for the rest. Repeated words are found and left out, so that models may use them to find their place.
fn instruction(delivered: &str) -> String {
    let from = delivered.ceil_char_boundary(delivered.len().saturating_sub(QUOTED));
    format!(
        "Your answer was cut off. Write the rest of it and nothing else: no introduction, no apology, and do not \
         start again. Go on in the same words, language and format, directly after: {}",
        &delivered[from..]
    )
}
