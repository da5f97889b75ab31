//! Scripts that Redis runs: each call is one round trip and happens whole or not at all.

use std::sync::LazyLock;

use redis::{Cmd, RedisError, RedisResult, ToRedisArgs, Value};

use super::link::{Away, Link, is_no_script};

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Lua> = LazyLock::new(|| Lua::new(
            concat!(include_str!("lua/prelude.lua"), "\n", include_str!(concat!("lua/", $file, ".lua")))
        ));)*
    };
}

scripts! {
    WORK = "work";
    EXPIRE = "expire";
    LOAD = "load";
    LOOK = "look";
    DEFINE = "define";
    TELL = "tell";
    ROLL = "roll";
    PUT_KEY = "put_key";
}

/// A script.
pub(super) struct Lua {
    code: &'static str,
    hash: String,
}

/// A call of a script, with its arguments.
pub(super) struct Call {
    key: String,
    arguments: Vec<Vec<u8>>,
}

impl Lua {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }
}

impl Call {
    /// A call over the keys that begin with `prefix`, at a time.
    pub(super) fn new(prefix: &str, now: i64) -> Self {
        Self { key: format!("{prefix}v"), arguments: Vec::with_capacity(8) }.with(prefix).with(now)
    }

    /// Adds an argument.
    pub(super) fn with(mut self, argument: impl ToRedisArgs) -> Self {
        self.push(argument);
        self
    }

    /// Adds an argument.
    pub(super) fn push(&mut self, argument: impl ToRedisArgs) {
        argument.write_redis_args(&mut self.arguments);
    }

    /// Runs the script.
    pub(super) async fn run(&self, link: &Link, script: &Lua) -> Result<Value, Away> {
        self.try_run(link, script).await.map_err(|error| {
            warn(&error);
            Away
        })
    }

    /// As [`Call::run`], with Redis' own error. A script that Redis has forgotten is sent whole.
    pub(super) async fn try_run(&self, link: &Link, script: &Lua) -> RedisResult<Value> {
        match link.try_ask(&self.command("EVALSHA", &script.hash)).await {
            Err(error) if is_no_script(&error) => link.try_ask(&self.command("EVAL", script.code)).await,
            answer => answer,
        }
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        // One key decides the slot; all others have the same.
        command.arg(script).arg(1).arg(&self.key);
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}

/// Whether a script met something that it cannot work on, rather than Redis something in its way.
pub(super) fn is_fault(error: &RedisError) -> bool {
    matches!(error.code(), Some("ERR" | "WRONGTYPE"))
}

/// Says that a script failed. Redis' own words are about scripts and commands, never about what is in the arguments.
pub(super) fn warn(error: &RedisError) {
    tracing::warn!(kind = ?error.kind(), code = error.code(), detail = error.detail(), "a script of metering failed");
}

/// An answer, read from the front.
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// Reads a list.
    pub(super) fn of(value: Value) -> Self {
        match value {
            Value::Array(values) | Value::Set(values) => Self(values.into_iter()),
            Value::Map(pairs) => {
                Self(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect::<Vec<_>>().into_iter())
            }
            Value::Nil => Self(Vec::new().into_iter()),
            other => Self(vec![other].into_iter()),
        }
    }

    /// The next list.
    pub(super) fn list(&mut self) -> Self {
        Self::of(self.0.next().unwrap_or_default())
    }

    /// The next bytes; empty where there are none.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => bytes,
            Some(Value::SimpleString(text)) => text.into_bytes(),
            Some(Value::Int(number)) => number.to_string().into_bytes(),
            _ => Vec::new(),
        }
    }

    /// The next text.
    pub(super) fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// The next number; 0 where there is none.
    pub(super) fn number(&mut self) -> i64 {
        self.text().parse().unwrap_or(0)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// All that is left, as texts.
    pub(super) fn texts(mut self) -> Vec<String> {
        let mut texts = Vec::with_capacity(self.0.len());
        while !self.is_empty() {
            texts.push(self.text());
        }
        texts
    }
}
