//! Encryption at rest: nothing of a question or an answer can be read on disk or in Redis.

use std::path::Path;

use signalbox_config::Redis;
use signalbox_proto::common::v1::CacheState;

use super::{contract::redis, flights::*, world::*};
use crate::{Embedding, vault::tests::keys};

const ANSWER: &str = "Rayleighscattering of quetzalcoatl.";

fn config(folder: &Path, bytes: &[u8]) -> String {
    let keys = keys(folder, bytes);
    format!(
        "[encryption]\nkey_file = {:?}\n[shared]\ndeadline_ms = 600000\npatience_ms = 600000",
        keys.display().to_string()
    )
}

/// Whether one of the files below holds these bytes.
fn holds(folder: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let file = || std::fs::read(&path).unwrap();
        if path.is_dir() {
            holds(&path, needle)
        } else {
            file().windows(needle.len()).any(|part| part == needle)
        }
    })
}

#[tokio::test]
async fn on_disk_nothing_can_be_read_without_the_key() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let begin = async |config: &str| World::at(folder.path(), config, Embedding::constant(), None, 1).await;
    let open = begin("").await;
    open.ask("a", &question(ASKED), ANSWER).await;
    open.end().await;
    assert!(holds(folder.path(), b"quetzalcoatl"), "without keys it can be read");

    let sealed = begin(&config(elsewhere.path(), &[1])).await;
    assert_eq!(sealed.lookup("a", question(ASKED)).await.unwrap().state(), CacheState::Miss, "not believed");
    sealed.end().await;
    let sealed = begin(&config(elsewhere.path(), &[1])).await;
    sealed.ask("a", &question("Who was quetzalcoatl?"), ANSWER).await;
    sealed.end().await;
    assert!(!holds(folder.path(), b"quetzalcoatl") && !holds(folder.path(), b"Rayleigh"));

    let rotated = begin(&config(elsewhere.path(), &[2, 1])).await;
    for (asked, state) in [
        ("Who was quetzalcoatl?", CacheState::Exact),
        ("Please, who was quetzalcoatl?", CacheState::Semantic),
    ] {
        let looked = rotated.lookup("a", question(asked)).await.unwrap();
        assert_eq!((looked.state(), &*looked.text()), (state, ANSWER), "{asked}");
    }
    rotated.end().await;
    let other = begin(&config(elsewhere.path(), &[3])).await;
    assert_eq!(
        other.lookup("a", question("Who was quetzalcoatl?")).await.unwrap().state(),
        CacheState::Miss,
        "with another key it is as if it were not there"
    );
    other.end().await;
}

#[tokio::test]
async fn in_redis_nothing_can_be_read_without_the_key() {
    let Some((server, redis)) = redis("in redis nothing can be read without the key", false) else { return };
    let keys = tempfile::tempdir().unwrap();
    let config = config(keys.path(), &[1]);
    let replica = async |seed: u64| {
        World::replica(&config, Embedding::constant(), Some(Redis::clone(&redis)), seed).await
    };
    let (one, two) = (replica(1).await, replica(2).await);
    // Kept, and in flight.
    one.ask("a", &question("Who was quetzalcoatl?"), ANSWER).await;
    let lease =
        one.lookup("a", question("Where did quetzalcoatl live?")).await.unwrap().result.lease.unwrap();
    let leader = Leader::begin(&one, &lease.id).await;
    leader.says("quetzalcoatl lived ").await;
    let mut reader = Reader::ask_with(&two, "a", question("Where did quetzalcoatl live?")).await;
    reader.reads("quetzalcoatl lived ").await;
    assert_eq!(two.lookup("a", question("Who was quetzalcoatl?")).await.unwrap().text(), ANSWER);

    let mut connection = ::redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut looked_at = 0;
    for name in ::redis::cmd("KEYS").arg("*").query::<Vec<String>>(&mut connection).unwrap() {
        let kind: String = ::redis::cmd("TYPE").arg(&name).query(&mut connection).unwrap();
        let held: ::redis::Value = match &*kind {
            "string" => ::redis::cmd("GET").arg(&name).query(&mut connection).unwrap(),
            "stream" => ::redis::cmd("XRANGE").arg(&name).arg("-").arg("+").query(&mut connection).unwrap(),
            "hash" => ::redis::cmd("HGETALL").arg(&name).query(&mut connection).unwrap(),
            _ => continue,
        };
        looked_at += 1;
        let mut bytes = Vec::new();
        collect(&held, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("quetzal") && !text.contains("Rayleigh"), "{name}");
    }
    assert!(looked_at >= 4, "{looked_at}");
    leader.says("in Mexico.").await;
    assert_eq!(leader.ends().await, "");
    reader.reads("quetzalcoatl lived in Mexico.").await;
}

fn collect(value: &::redis::Value, out: &mut Vec<u8>) {
    match value {
        ::redis::Value::BulkString(bytes) => out.extend(bytes),
        ::redis::Value::Array(values) => values.iter().for_each(|value| collect(value, out)),
        ::redis::Value::SimpleString(text) => out.extend(text.bytes()),
        _ => {}
    }
}
