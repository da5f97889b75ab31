//! How far an answer is paid for, where only a first slice of its output was reserved.
//!
//! What passes is counted: a piece has at least one token, and a token has four bytes, as a cut attempt is billed. Of a first slice more
//! is asked for when little is left (`signalbox_proto::slice`), because most answers end within it; then when half of the newest one has
//! passed, as much again each time, so that long answers ask seldom and seldom wait. What is
//! refused is asked for again by halves, until little is left; then the answer goes on to the end of what is paid for.

use signalbox_proto::{
    common::v1::{GenerateEvent, generate_event::Kind},
    metering::v1::Reservation,
    slice::{self, LEAST},
};
use tonic::Status;

use crate::bill::{output_bytes, tokens};

/// An answer's output, seen and paid for.
pub(crate) struct Slice {
    /// Tokens that are paid for.
    paid: u64,
    /// Up to there more may be asked for; from there on the provider's own limit ends the answer.
    most: u64,
    /// How much was granted last.
    newest: u64,
    /// How much is asked for next.
    next: u64,
    /// Whether something was refused: then no more is asked for than was granted last.
    short: bool,
    pieces: u64,
    bytes: u64,
    /// Why there is no more.
    refused: Option<Status>,
}

impl Slice {
    /// What a reservation pays for; `None` where it pays for all, or nothing is bounded.
    pub(crate) fn of(reservation: &Reservation) -> Option<Self> {
        let (paid, most) = (reservation.granted_output_tokens, reservation.most_output_tokens);
        (0 < paid && paid < most).then(|| Self {
            paid,
            most,
            newest: paid,
            next: paid.max(LEAST).min(most - paid),
            short: false,
            pieces: 0,
            bytes: 0,
            refused: None,
        })
    }

    /// Notes what passes.
    pub(crate) fn note(&mut self, event: &GenerateEvent) {
        match &event.kind {
            Some(Kind::Delta(delta)) => {
                self.pieces += 1;
                self.bytes += delta.content.as_ref().map_or(0, output_bytes);
            }
            // The attempt before is paid for as one that failed; this one has the slice to itself.
            Some(Kind::Seam(_)) => (self.pieces, self.bytes) = (0, 0),
            _ => {}
        }
    }

    /// Notes that the model is asked once more, with `tokens` reserved for it.
    pub(crate) fn again(&mut self, tokens: u64) {
        self.paid = self.paid.saturating_sub(self.passed()).saturating_add(tokens).min(self.most);
        (self.pieces, self.bytes, self.newest) = (0, 0, tokens);
        self.ask_next(tokens);
    }

    fn ask_next(&mut self, tokens: u64) {
        self.next = tokens.max(LEAST).min(self.most.saturating_sub(self.paid));
    }

    /// Output tokens that passed.
    pub(crate) fn passed(&self) -> u64 {
        tokens(self.pieces, self.bytes)
    }

    /// How much more to ask for now.
    pub(crate) fn wants(&self) -> Option<u64> {
        let open = self.refused.is_none() && self.paid < self.most;
        let first = self.newest == self.paid;
        let left = if first { slice::left(self.newest) } else { self.newest / 2 };
        (open && self.passed() >= self.paid - left).then_some(self.next)
    }

    /// Whether nothing more may pass.
    pub(crate) fn is_used_up(&self) -> bool {
        self.paid < self.most && self.passed() >= self.paid
    }

    /// Notes what was granted.
    pub(crate) fn granted(&mut self, tokens: u64) {
        (self.paid, self.newest) = (self.paid.saturating_add(tokens), tokens);
        self.ask_next(if self.short { tokens } else { self.paid });
    }

    /// Notes that `tokens` were refused, for good or because they were too many.
    pub(crate) fn refused(&mut self, tokens: u64, why: Status, for_good: bool) {
        self.short = true;
        if for_good || tokens <= LEAST {
            self.refused = Some(why);
        } else {
            self.next = (tokens / 2).max(LEAST);
        }
    }

    /// Why nothing more may pass.
    pub(crate) fn end(&mut self) -> Option<Status> {
        if self.is_used_up() { self.refused.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_proto::common::v1::{Delta, Seam, delta::Content};

    use super::*;

    fn slice(granted: u64, most: u64) -> Slice {
        let reservation = Reservation {
            granted_output_tokens: granted,
            most_output_tokens: most,
            ..Reservation::default()
        };
        Slice::of(&reservation).unwrap()
    }

    /// So many pieces of one token.
    fn pass(slice: &mut Slice, pieces: u64) {
        for _ in 0..pieces {
            let content = Some(Content::Text("word".into()));
            let kind = Some(Kind::Delta(Delta { content, ..Delta::default() }));
            slice.note(&GenerateEvent { sequence: 0, kind });
        }
    }

    #[test]
    fn more_is_asked_for_ahead_and_as_much_again_each_time() {
        let mut slice = slice(100, 1_000);
        pass(&mut slice, 83);
        assert_eq!(slice.wants(), None);
        pass(&mut slice, 1);
        let mut asked = Vec::new();
        while let Some(tokens) = slice.wants() {
            asked.push(tokens);
            slice.granted(tokens);
            let left = slice.paid - slice.passed();
            pass(&mut slice, left - 1);
            assert!(!slice.is_used_up());
        }
        assert_eq!(asked, [100, 200, 400, 200], "and all of it in the end");
        pass(&mut slice, 500);
        assert!(!slice.is_used_up(), "the provider's own limit ends it");
    }

    #[test]
    fn what_is_refused_is_asked_for_by_halves_and_then_the_answer_ends_with_what_is_paid() {
        let mut slice = slice(100, 1_000);
        pass(&mut slice, 84);
        let mut asked = Vec::new();
        while let Some(tokens) = slice.wants() {
            asked.push(tokens);
            if asked == [100, 50, 25] {
                slice.granted(tokens);
                pass(&mut slice, 36);
            } else {
                slice.refused(tokens, Status::resource_exhausted(tokens.to_string()), false);
            }
        }
        assert_eq!(asked, [100, 50, 25, 25, 16]);
        assert!(slice.end().is_none());
        pass(&mut slice, 4);
        assert!(!slice.is_used_up());
        pass(&mut slice, 1);
        assert!(slice.is_used_up());
        assert_eq!(slice.end().unwrap().message(), "16");
    }

    #[test]
    fn a_long_piece_counts_by_its_bytes() {
        let mut slice = slice(100, 1_000);
        let content = Some(Content::Text("x".repeat(401)));
        let kind = Some(Kind::Delta(Delta { content, ..Delta::default() }));
        slice.note(&GenerateEvent { sequence: 0, kind });
        assert_eq!((slice.passed(), slice.is_used_up()), (101, true));
    }

    #[test]
    fn each_attempt_has_the_slice_to_itself() {
        let mut slice = slice(100, 1_000);
        pass(&mut slice, 80);
        slice.note(&GenerateEvent { sequence: 0, kind: Some(Kind::Seam(Seam::default())) });
        assert_eq!((slice.passed(), slice.paid), (0, 100));
        pass(&mut slice, 30);
        slice.again(100);
        assert_eq!((slice.passed(), slice.paid), (0, 170));
    }

    #[test]
    fn an_answer_that_is_asked_for_once_more_can_be_extended_again() {
        let mut slice = slice(100, 150);
        pass(&mut slice, 84);
        assert_eq!(slice.wants(), Some(50));
        slice.granted(50);
        pass(&mut slice, 36);
        slice.again(100);
        assert_eq!(slice.paid, 130);
        pass(&mut slice, 120);
        assert_eq!(slice.wants(), Some(20));
        slice.granted(20);
        assert_eq!((slice.wants(), slice.is_used_up()), (None, false), "all of it");
    }

    #[test]
    fn what_is_granted_whole_is_not_counted() {
        for (granted, most) in [(0, 0), (100, 0), (100, 100)] {
            let reservation = Reservation {
                granted_output_tokens: granted,
                most_output_tokens: most,
                ..Reservation::default()
            };
            assert!(Slice::of(&reservation).is_none());
        }
    }
}
