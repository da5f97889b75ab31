//! Arguments of scripts in MessagePack, which Redis unpacks several times faster than it reads arguments one by one.

/// Values, one after the other.
#[derive(Debug, Default)]
pub(super) struct Pack(Vec<u8>);

impl Pack {
    /// Begins a list of so many values.
    pub(super) fn list(&mut self, length: usize) {
        // No list has four billion values.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        match u8::try_from(length) {
            Ok(short @ 0..16) => self.0.push(0x90 | short),
            _ => self.tagged(0xdd, &length.to_be_bytes()),
        }
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: i64) {
        match u8::try_from(number) {
            Ok(small @ 0..128) => self.0.push(small),
            _ => self.tagged(0xd3, &number.to_be_bytes()),
        }
    }

    /// Adds a list of places in another list, which begins at 1 over there.
    pub(super) fn places(&mut self, places: &[usize]) {
        self.list(places.len());
        for place in places {
            self.place(*place);
        }
    }

    /// Adds a place in a list.
    pub(super) fn place(&mut self, place: usize) {
        self.number(i64::try_from(place).unwrap_or(i64::MAX).saturating_add(1));
    }

    /// Adds a text.
    pub(super) fn text(&mut self, text: &str) {
        // Redis takes no argument that is longer.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        match u8::try_from(length) {
            Ok(short @ 0..32) => self.0.push(0xa0 | short),
            _ => self.tagged(0xdb, &length.to_be_bytes()),
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        self.0.extend_from_slice(bytes);
    }

    /// What was packed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_shortest_and_its_longest_form() {
        let mut pack = Pack::default();
        pack.list(2);
        pack.number(127);
        pack.number(-1);
        pack.text("ab");
        assert_eq!(pack.bytes(), [0x92, 127, 0xd3, 255, 255, 255, 255, 255, 255, 255, 255, 0xa2, b'a', b'b']);
        let mut pack = Pack::default();
        pack.list(16);
        pack.places(&[0]);
        pack.text(&"x".repeat(32));
        assert_eq!(pack.bytes()[..12], [0xdd, 0, 0, 0, 16, 0x91, 1, 0xdb, 0, 0, 0, 32]);
    }
}
