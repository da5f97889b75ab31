//! A chunk of a stream, or a whole answer, as JSON: borrowed, read in one pass.
//!
//! Serde's `flatten` would buffer every field; these visitors keep unknown fields as raw text and skip noise.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::Reported;

/// Unknown fields that are not `null`.
pub(super) type Rest<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// Is a chunk, or a whole answer: the two differ in `delta` and `message` only.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    pub(super) id: Scalar<'a>,
    pub(super) model: Scalar<'a>,
    /// The choice of index 0. We never ask for more than one.
    pub(super) choice: Option<Choice<'a>>,
    /// Whether `choices` was there, maybe empty.
    pub(super) has_choices: bool,
    pub(super) usage: Option<Reported>,
    pub(super) error: Option<&'a RawValue>,
    pub(super) rest: Rest<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: u64,
    pub(super) delta: Option<Body<'a>>,
    /// Of a whole answer. Some streams (Perplexity) repeat all so far there.
    pub(super) message: Option<Body<'a>>,
    /// Some servers send an empty text: in a whole answer that is a reason nobody named, in a stream it is none yet.
    pub(super) finish_reason: Option<Scalar<'a>>,
    pub(super) logprobs: Option<&'a RawValue>,
    pub(super) rest: Rest<'a>,
}

/// Is a `delta` or a `message`.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) content: Content<'a>,
    pub(super) reasoning_content: Scalar<'a>,
    pub(super) reasoning: Scalar<'a>,
    pub(super) refusal: Scalar<'a>,
    pub(super) tool_calls: Vec<Call<'a>>,
    pub(super) annotations: Option<&'a RawValue>,
    pub(super) images: Option<&'a RawValue>,
    pub(super) rest: Rest<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Scalar<'a>,
    pub(super) function: Function<'a>,
    pub(super) rest: Rest<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: Scalar<'a>,
    pub(super) arguments: Content<'a>,
}

/// Is a text, or a number taken as text. Absent, `null` and anything else are the empty text: fields without meaning
/// are sent as any of these.
#[derive(Debug, Default)]
pub(super) struct Scalar<'a>(pub(super) Cow<'a, str>);

impl Scalar<'_> {
    /// Returns the text unless it is empty.
    pub(super) fn some(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
}

/// Is a text, or JSON where a server sends something richer.
#[derive(Debug)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Json(Value),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Text(Cow::Borrowed(""))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_owned())))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_string())))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_string())))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Scalar(Cow::Owned(v.to_string())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Scalar::default())
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::default())
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a list or an object")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Content::Text(Cow::Owned(v.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Value::deserialize(SeqAccessDeserializer::new(seq)).map(Content::Json)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Value::deserialize(MapAccessDeserializer::new(map)).map(Content::Json)
            }
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

/// Reads a map field by field.
trait Record<'a>: Default {
    /// Takes the value of `key`.
    fn field<A: MapAccess<'a>>(&mut self, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error>;
}

/// Reads a record into its place: they are large, and a chunk has several within each other.
struct Into<'s, T>(&'s mut T);

impl<'de, T: Record<'de>> DeserializeSeed<'de> for Into<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Record<'de>> Visitor<'de> for Into<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Scalar(key)) = map.next_key::<Scalar<'de>>()? {
            self.0.field(key, &mut map)?;
        }
        Ok(())
    }
}

/// The same where there may be none.
struct Maybe<'s, T>(&'s mut Option<T>);

impl<'de, T: Record<'de>> DeserializeSeed<'de> for Maybe<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Record<'de>> Visitor<'de> for Maybe<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        *self.0 = None;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Into(self.0.insert(T::default())).visit_map(map)
    }
}

impl<'a> Chunk<'a> {
    /// Reads a chunk, or a whole answer.
    pub(super) fn read(&mut self, text: &'a str) -> Result<(), serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        Into(self).deserialize(&mut json)?;
        json.end()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Call<'a>
where
    Call<'de>: Record<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut call = Call::default();
        Into(&mut call).deserialize(deserializer)?;
        Ok(call)
    }
}

/// Keeps an unknown field unless it is `null`.
fn keep<'a, A: MapAccess<'a>>(rest: &mut Rest<'a>, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
    let raw = map.next_value::<&'a RawValue>()?;
    if raw.get() != "null" {
        rest.push((key, raw));
    }
    Ok(())
}

/// Reads raw JSON; `null` is `None`.
fn raw<'a, A: MapAccess<'a>>(map: &mut A) -> Result<Option<&'a RawValue>, A::Error> {
    let raw = map.next_value::<&'a RawValue>()?;
    Ok((raw.get() != "null").then_some(raw))
}

fn skip<'a, A: MapAccess<'a>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

impl<'a> Record<'a> for Chunk<'a> {
    fn field<A: MapAccess<'a>>(&mut self, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "id" => self.id = map.next_value()?,
            "model" => self.model = map.next_value()?,
            "choices" => {
                map.next_value_seed(FirstChoice(&mut self.choice))?;
                self.has_choices = true;
            }
            "usage" => self.usage = map.next_value()?,
            "error" => self.error = raw(map)?,
            // Noise: the same in every chunk, or padding against traffic analysis.
            "object" | "created" | "obfuscation" => skip(map)?,
            _ => keep(&mut self.rest, key, map)?,
        }
        Ok(())
    }
}

impl<'a> Record<'a> for Choice<'a> {
    fn field<A: MapAccess<'a>>(&mut self, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "index" => self.index = map.next_value::<Option<u64>>()?.unwrap_or_default(),
            "delta" => map.next_value_seed(Maybe(&mut self.delta))?,
            "message" => map.next_value_seed(Maybe(&mut self.message))?,
            "finish_reason" => self.finish_reason = map.next_value()?,
            "logprobs" => self.logprobs = raw(map)?,
            _ => keep(&mut self.rest, key, map)?,
        }
        Ok(())
    }
}

impl<'a> Record<'a> for Body<'a> {
    fn field<A: MapAccess<'a>>(&mut self, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "content" => self.content = map.next_value()?,
            "reasoning_content" => self.reasoning_content = map.next_value()?,
            "reasoning" => self.reasoning = map.next_value()?,
            "refusal" => self.refusal = map.next_value()?,
            "tool_calls" => self.tool_calls = map.next_value::<Option<Vec<Call<'a>>>>()?.unwrap_or_default(),
            "annotations" => self.annotations = raw(map)?,
            "images" => self.images = raw(map)?,
            "role" => skip(map)?,
            _ => keep(&mut self.rest, key, map)?,
        }
        Ok(())
    }
}

impl<'a> Record<'a> for Call<'a> {
    fn field<A: MapAccess<'a>>(&mut self, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "index" => self.index = map.next_value()?,
            "id" => self.id = map.next_value()?,
            "function" => {
                self.function = Function::default();
                map.next_value_seed(Into(&mut self.function))?;
            }
            "type" => skip(map)?,
            _ => keep(&mut self.rest, key, map)?,
        }
        Ok(())
    }
}

impl<'a> Record<'a> for Function<'a> {
    fn field<A: MapAccess<'a>>(&mut self, key: Cow<'a, str>, map: &mut A) -> Result<(), A::Error> {
        match &*key {
            "name" => self.name = map.next_value()?,
            "arguments" => self.arguments = map.next_value()?,
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Keeps the choice of index 0 without collecting a list.
struct FirstChoice<'s, 'a>(&'s mut Option<Choice<'a>>);

impl<'de> DeserializeSeed<'de> for FirstChoice<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FirstChoice<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        *self.0 = None;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let choice = self.0.insert(Choice::default());
            if seq.next_element_seed(Into(choice))?.is_none() {
                *self.0 = None;
                return Ok(());
            }
            if choice.index == 0 {
                break;
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
