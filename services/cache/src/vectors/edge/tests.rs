use super::*;
use crate::backend::Named;

const WIDTH: usize = 96;

/// Of which everything is soon too much, and soon indexed.
fn small() -> EdgeConfig {
    let mut config = config(WIDTH);
    config.wal_options = Some(WalOptions { segment_capacity: 1 << 16, ..WalOptions::default() });
    config.optimizers.indexing_threshold = Some(64);
    config.hnsw_config.full_scan_threshold = 10;
    config
}

fn open(folder: &Path, most: usize, now_unix_ms: i64) -> io::Result<Engine> {
    Engine::open(&folder.join("edge"), small(), Roll::new(most, most), now_unix_ms)
}

fn at(angle: f32) -> Vec<f32> {
    let mut values = vec![0.0; WIDTH];
    (values[0], values[70]) = (angle.cos(), angle.sin());
    values
}

fn point(id: u32, angle: f32) -> Point {
    Point {
        named: Named { id: EntryId(id.into()), key: Digest([9; 32]) },
        tenant: "a".into(),
        partition: Digest([1; 32]),
        vector: Vector::from_unit(at(angle)).unwrap(),
        ends_unix_ms: 10 * i64::from(id),
    }
}

fn found(engine: &Engine, angle: f32, limit: usize) -> Vec<u128> {
    let near = engine.search("a", Some(Digest([1; 32])), at(angle), 0.9, limit).unwrap();
    near.iter().map(|neighbour| neighbour.named.id.0).collect()
}

/// Who stands at the place of a point. Neighbours there are the same in bytes; of those that are found the floats decide.
fn nearest(engine: &Engine, id: u32) -> Option<u128> {
    found(engine, turn(id), 16).first().copied()
}

/// All around, a thousandth of a turn apart.
#[expect(clippy::cast_precision_loss, reason = "some thousand")]
fn turn(id: u32) -> f32 {
    id as f32 * std::f32::consts::TAU / 1_000.0
}

#[test]
fn it_survives_a_restart_without_what_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), 100, 0).unwrap();
    for id in [4, 1, 2, 3] {
        assert!(engine.insert(&point(id, 0.0)).unwrap());
    }
    engine.remove("a", &[EntryId(2)]).unwrap();
    engine.remove("b", &[EntryId(3)]).unwrap();
    assert!(open(folder.path(), 100, 0).is_err(), "one process at a time");
    engine.close().unwrap();
    assert!(!engine.insert(&point(5, 0.0)).unwrap(), "nothing is kept after the end");
    drop(engine);
    let engine = open(folder.path(), 2, 10).unwrap();
    let mut there = found(&engine, 0.0, 8);
    there.sort_unstable();
    assert_eq!(there, [3, 4]);
    engine.insert(&point(6, 0.0)).unwrap();
    let mut there = found(&engine, 0.0, 8);
    there.sort_unstable();
    assert_eq!(there, [3, 6], "the oldest went, though its id is higher");
}

#[test]
fn what_cannot_be_read_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), 100, 0).unwrap();
    engine.insert(&point(1, 0.0)).unwrap();
    engine.close().unwrap();
    drop(engine);
    let segments = folder.path().join("edge/segments");
    for segment in fs::read_dir(&segments).unwrap() {
        for file in fs::read_dir(segment.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            if file.is_file() {
                fs::write(file, b"broken").unwrap();
            }
        }
    }
    let engine = open(folder.path(), 100, 0).unwrap();
    assert_eq!(found(&engine, 0.0, 8), [0u128; 0]);
    engine.insert(&point(2, 0.0)).unwrap();
    assert_eq!(found(&engine, 0.0, 8), [2]);
}

#[test]
fn searches_go_on_while_it_is_optimised_flushed_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), 10_000, 0).unwrap();
    (1..=1_000).for_each(|id| assert!(engine.insert(&point(id, turn(id))).unwrap()));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            engine.optimise().unwrap();
            over.store(true, Ordering::Relaxed);
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Some(mut tended) = engine.tended.try_lock() {
                    engine.flush(&mut tended).unwrap();
                }
            }
        });
        let mut id = 1;
        while !over.load(Ordering::Relaxed) {
            // While segments are exchanged one may be missing for a moment: a miss more. Its neighbours are there.
            let found = nearest(&engine, id).expect("searches go on");
            assert!((found + 1_002 - u128::from(id)) % 1_000 <= 4, "{found} for {id}");
            engine.insert(&point(id, turn(id))).unwrap();
            id = id % 1_000 + 1;
        }
    });
    assert!(engine.shard.read().as_ref().unwrap().info().indexed_vectors_count > 0);
    for id in (1..=1_000).step_by(13) {
        assert_eq!(nearest(&engine, id), Some(id.into()));
    }
    engine.remove("a", &[EntryId(500)]).unwrap();
    assert!(!found(&engine, turn(500), 16).contains(&500));
}

#[test]
fn its_log_stays_short_and_later_changes_count() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path(), 10_000, 0).unwrap();
    (1..=500).for_each(|id| assert!(engine.insert(&point(id, turn(id))).unwrap()));
    let long = log_bytes(&engine.folder);
    engine.reopen(&mut engine.tended.lock()).unwrap();
    let short = log_bytes(&engine.folder);
    assert!(short <= 1 << 16 && long > 2 * short, "{long} {short}");
    assert_eq!(found(&engine, turn(7), 1), [7]);
    engine.insert(&point(7, turn(900))).unwrap();
    engine.remove("a", &[EntryId(8)]).unwrap();
    assert_eq!(found(&engine, turn(900), 1), [7], "what was there has moved");
    assert!(!found(&engine, turn(8), 20).contains(&8));
    engine.close().unwrap();
    drop(engine);
    let engine = open(folder.path(), 10_000, 0).unwrap();
    assert_eq!(found(&engine, turn(900), 1), [7]);
    assert!(!found(&engine, turn(8), 20).contains(&8));
}
