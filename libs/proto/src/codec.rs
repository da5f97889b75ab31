//! Messages between two ends of a call: as bytes over the network, as they are within a process.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    hash::{BuildHasher as _, RandomState},
    marker::PhantomData,
};

use prost::{
    Message,
    bytes::{Buf as _, BufMut as _, Bytes},
};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// tonic makes a buffer of 8 KiB at each end of each call; an answer that streams through the mesh has some thirteen such ends open,
/// and most of them are in process, where a message is its token. Buffers grow with what is put into them.
const BUFFER_BYTES: usize = 32;
/// How much is collected before it is passed on; tonic's own value.
const FULL_BYTES: usize = 32 * 1024;
/// What stands in the bytes for a message that is handed over as it is.
const TOKEN_BYTES: usize = TOKEN_LENGTH as usize;
const TOKEN_LENGTH: u8 = 16;
/// gRPC's prefix of a message: whether it is compressed, and its length, of which the last byte says enough here.
const PREFIX_BYTES: usize = 5;

/// Is prost's encoding, as tonic's own codec has it, except within [`handed_over`].
#[derive(Debug, Clone, Copy)]
pub struct ProstCodec<T, U>(PhantomData<fn() -> (T, U)>);

/// Writes messages.
#[derive(Debug, Clone, Copy)]
pub struct ProstEncoder<T>(PhantomData<fn() -> T>);

/// Reads messages.
#[derive(Debug, Clone, Copy)]
pub struct ProstDecoder<U>(PhantomData<fn() -> U>);

/// A message on its way from an encoder to the decoder that asked for it.
struct Parcel {
    token: [u8; TOKEN_BYTES],
    message: Box<dyn Any>,
}

thread_local! {
    /// The largest message that is handed over; 0: none is.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static PARCEL: RefCell<Option<Parcel>> = const { RefCell::new(None) };
    /// The next token: a number that nobody can guess, and one that counts.
    static TOKEN: Cell<(u64, u64)> = Cell::new((RandomState::new().hash_one(0), 0));
}

/// Polls the body of a call whose reader is in this process and decodes what it gets at once, on this thread: messages of up to
/// `largest` bytes are then handed over as they are, and only a token stands for them in the bytes. What is larger is encoded,
/// for whoever keeps a limit. `largest` of 0 is for a body whose reader is elsewhere.
pub fn handed_over<T>(largest: usize, poll: impl FnOnce() -> T) -> T {
    /// Puts back what was, also if `poll` panics.
    struct Before(usize);
    impl Drop for Before {
        fn drop(&mut self) {
            LARGEST.set(self.0);
        }
    }
    let _before = Before(LARGEST.replace(largest));
    poll()
}

/// Puts a message down for the decoder that asks next on this thread, and returns its token.
fn parcel<T: 'static>(message: T) -> [u8; TOKEN_BYTES] {
    let (secret, count) = TOKEN.get();
    TOKEN.set((secret, count.wrapping_add(1)));
    let mut token = [0; TOKEN_BYTES];
    token[..8].copy_from_slice(&secret.to_le_bytes());
    token[8..].copy_from_slice(&count.to_le_bytes());
    PARCEL.set(Some(Parcel { token, message: Box::new(message) }));
    token
}

/// A frame of gRPC's that stands for a message, which whoever decodes it at once on this thread gets as it is.
pub fn hand_over<T: Message + 'static>(message: T) -> Bytes {
    let mut frame = [0; PREFIX_BYTES + TOKEN_BYTES];
    frame[PREFIX_BYTES - 1] = TOKEN_LENGTH;
    frame[PREFIX_BYTES..].copy_from_slice(&parcel(message));
    Bytes::copy_from_slice(&frame)
}

impl<T, U> Default for ProstCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U> Default for ProstDecoder<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for ProstCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder(PhantomData)
    }
}

impl<T: Message + 'static> Encoder for ProstEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let largest = LARGEST.get();
        if largest >= TOKEN_BYTES && (largest == usize::MAX || item.encoded_len() <= largest) {
            buffer.put_slice(&parcel(item));
            return Ok(());
        }
        buffer.reserve(item.encoded_len());
        item.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        // What is handed over is read before the next is made.
        let full = if LARGEST.get() == 0 { FULL_BYTES } else { 1 };
        BufferSettings::new(BUFFER_BYTES, full)
    }
}

impl<U: Message + Default + 'static> Decoder for ProstDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(message) = handed(buffer) {
            return Ok(Some(message));
        }
        U::decode(buffer).map(Some).map_err(|error| Status::internal(format!("a malformed message: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, FULL_BYTES)
    }
}

/// The message for which a token stands, if it is one that was just made on this thread.
fn handed<U: 'static>(buffer: &mut DecodeBuf<'_>) -> Option<U> {
    if buffer.remaining() != TOKEN_BYTES {
        return None;
    }
    let parcel = PARCEL.take().filter(|parcel| parcel.token == buffer.chunk())?;
    let message = parcel.message.downcast().ok()?;
    buffer.advance(TOKEN_BYTES);
    Some(*message)
}
