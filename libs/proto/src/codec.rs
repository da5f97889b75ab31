//! Messages as bytes, with buffers as large as the messages.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// tonic makes a buffer of 8 KiB at each end of each call; an answer that streams through the mesh has eleven such ends open,
/// and a message of an answer has some hundred bytes. Buffers grow with what is put into them.
const BUFFER_BYTES: usize = 512;
/// How much is collected before it is passed on; tonic's own value.
const FULL_BYTES: usize = 32 * 1024;

/// Is prost's encoding, as tonic's own codec has it.
#[derive(Debug, Clone, Copy)]
pub struct ProstCodec<T, U>(PhantomData<fn() -> (T, U)>);

/// Writes messages.
#[derive(Debug, Clone, Copy)]
pub struct ProstEncoder<T>(PhantomData<fn() -> T>);

/// Reads messages.
#[derive(Debug, Clone, Copy)]
pub struct ProstDecoder<U>(PhantomData<fn() -> U>);

impl<T, U> Default for ProstCodec<T, U> {
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

impl<T: Message> Encoder for ProstEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, FULL_BYTES)
    }
}

impl<U: Message + Default> Decoder for ProstDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        U::decode(buffer).map(Some).map_err(|error| Status::internal(format!("a malformed message: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, FULL_BYTES)
    }
}
