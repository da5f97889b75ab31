//! What outlives the process: a file to which records are appended, and which is written anew when too much of it is stale.
//!
//! `SBCACHE1`, then records: length of the body (u32), first four bytes of its BLAKE3, body; a body is 1 (put) or 0 (removed), the id,
//! and what was put. Numbers are little endian. What was written last of an id counts. A record that was cut off by a crash ends the file.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::entry::EntryId;

const MAGIC: &[u8; 8] = b"SBCACHE1";
/// Longest body that is believed.
const MOST_BODY: usize = 512 << 20;
/// Bytes that wait to be written before a put writes them itself.
const MOST_WAITING: usize = 4 << 20;
/// Stale bytes that are always borne.
const SLACK: u64 = 1 << 20;
/// Length, checksum, kind, id.
const HEAD: usize = 4 + 4 + 1 + 16;

/// A file of records by id. Calls block.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    waiting: Mutex<Waiting>,
    file: Mutex<Option<File>>,
    /// Held locked, so that no other process writes.
    _lock: File,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// What is there, with its length in the file.
    live: HashMap<EntryId, u64>,
    live_bytes: u64,
    file_bytes: u64,
}

impl Journal {
    /// Opens a file, or makes it, and gives what is there, in the order in which it was put.
    ///
    /// # Errors
    /// It cannot be read or written, or another process has it.
    pub(crate) fn open(path: &Path, mut each: impl FnMut(EntryId, Vec<u8>)) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let lock = private(&path.with_extension("lock"))?;
        lock.try_lock()?;
        let mut waiting = Waiting::default();
        match File::open(path) {
            Ok(mut old) => live_records(
                &mut old,
                |_| true,
                |id, body| {
                    waiting.note(id, Some(body.len()));
                    each(id, body);
                    Ok(())
                },
            )?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let journal =
            Self { path: path.to_owned(), waiting: Mutex::new(waiting), file: Mutex::default(), _lock: lock };
        let mut file = journal.file.lock();
        journal.rewrite(&mut file)?;
        drop(file);
        Ok(journal)
    }

    /// Puts bytes under an id. Written by the next flush.
    pub(crate) fn put(&self, id: EntryId, bytes: &[u8]) {
        self.append(id, Some(bytes));
    }

    pub(crate) fn remove(&self, id: EntryId) {
        self.append(id, None);
    }

    fn append(&self, id: EntryId, bytes: Option<&[u8]>) {
        let mut waiting = self.waiting.lock();
        if bytes.is_none() && !waiting.live.contains_key(&id) {
            return;
        }
        waiting.note(id, bytes.map(<[u8]>::len));
        record(&mut waiting.bytes, id, bytes);
        let full = waiting.bytes.len() > MOST_WAITING;
        drop(waiting);
        if full {
            self.flush();
        }
    }

    /// Writes what waits; when that fails it says so in the log, and goes on without.
    pub(crate) fn flush(&self) {
        if let Err(error) = self.write() {
            tracing::warn!(error = %error.kind(), "the cache cannot write to its data folder");
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut file = self.file.lock();
        let bytes = std::mem::take(&mut self.waiting.lock().bytes);
        if let Some(file) = &mut *file {
            file.write_all(&bytes)?;
        }
        let mut waiting = self.waiting.lock();
        waiting.file_bytes += bytes.len() as u64;
        let stale = waiting.file_bytes.saturating_sub(waiting.live_bytes);
        drop(waiting);
        if stale > SLACK && stale > self.waiting.lock().live_bytes {
            self.rewrite(&mut file)?;
        }
        Ok(())
    }

    /// Writes what waits, beside those who wait for something else.
    pub(crate) async fn flush_aside(self: Arc<Self>) {
        // A panic is the only failure, and was told of.
        let _flushed = tokio::task::spawn_blocking(move || self.flush()).await;
    }

    /// Copies what is there to a new file, which takes the old one's place.
    fn rewrite(&self, file: &mut Option<File>) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut out = BufWriter::new(private(&fresh)?);
        out.get_ref().set_len(0)?;
        out.write_all(MAGIC)?;
        let mut written = MAGIC.len() as u64;
        if let Ok(mut old) = File::open(&self.path) {
            let there = |id| self.waiting.lock().live.contains_key(&id);
            live_records(&mut old, there, |id, body| {
                let mut bytes = Vec::with_capacity(HEAD + body.len());
                record(&mut bytes, id, Some(&body));
                written += bytes.len() as u64;
                out.write_all(&bytes)
            })?;
        }
        let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        std::fs::rename(&fresh, &self.path)?;
        self.waiting.lock().file_bytes = written;
        *file = Some(out);
        Ok(())
    }
}

impl Waiting {
    fn note(&mut self, id: EntryId, bytes: Option<usize>) {
        let before = match bytes {
            Some(bytes) => self.live.insert(id, (HEAD + bytes) as u64),
            None => self.live.remove(&id),
        };
        self.live_bytes =
            self.live_bytes + bytes.map_or(0, |bytes| (HEAD + bytes) as u64) - before.unwrap_or(0);
    }
}

/// A file that only its owner reads: answers are in it.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn record(out: &mut Vec<u8>, id: EntryId, bytes: Option<&[u8]>) {
    let mut body = vec![u8::from(bytes.is_some())];
    body.extend(id.0.to_le_bytes());
    body.extend(bytes.unwrap_or_default());
    out.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(&blake3::hash(&body).as_bytes()[..4]);
    out.extend(body);
}

/// Gives what was last put under each id and not removed, of those that are wanted. Reads the file twice, so that it need not fit into
/// memory.
fn live_records(
    file: &mut File,
    wanted: impl Fn(EntryId) -> bool,
    mut each: impl FnMut(EntryId, Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let mut last: HashMap<EntryId, u64> = HashMap::new();
    read(file, |number, id, body| {
        match body {
            Some(_) => last.insert(id, number),
            None => last.remove(&id),
        };
        Ok(())
    })?;
    read(file, |number, id, body| match body {
        Some(body) if last.get(&id) == Some(&number) && wanted(id) => each(id, body),
        _ => Ok(()),
    })
}

fn read(
    file: &mut File,
    mut each: impl FnMut(u64, EntryId, Option<Vec<u8>>) -> io::Result<()>,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut input = BufReader::new(file);
    let mut magic = [0; 8];
    if input.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Ok(());
    }
    for number in 0.. {
        let mut head = [0; HEAD];
        if input.read_exact(&mut head).is_err() {
            break;
        }
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, id @ ..] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some(rest) = length.checked_sub(17).filter(|_| length <= MOST_BODY) else { break };
        let mut bytes = Vec::new();
        if input.by_ref().take(rest as u64).read_to_end(&mut bytes)? < rest {
            break;
        }
        let mut hash = blake3::Hasher::new();
        hash.update(&[kind]).update(&id).update(&bytes);
        if hash.finalize().as_bytes()[..4] != [s0, s1, s2, s3] {
            break;
        }
        let id = EntryId(u128::from_le_bytes(id));
        each(number, id, (kind == 1).then_some(bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> (Journal, Vec<(u128, Vec<u8>)>) {
        let mut found = Vec::new();
        let journal = Journal::open(path, |id, bytes| found.push((id.0, bytes))).unwrap();
        (journal, found)
    }

    #[test]
    fn what_was_put_last_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache/entries");
        let (journal, found) = open(&path);
        assert_eq!(found, []);
        journal.put(EntryId(1), b"one");
        journal.put(EntryId(2), b"two");
        journal.put(EntryId(3), b"");
        journal.flush();
        journal.put(EntryId(1), b"another one");
        journal.remove(EntryId(2));
        journal.remove(EntryId(9));
        journal.flush();
        assert!(Journal::open(&path, |_, _| ()).is_err(), "one process at a time");
        drop(journal);
        let (journal, found) = open(&path);
        assert_eq!(found, [(3, vec![]), (1, b"another one".to_vec())]);
        drop(journal);
        assert_eq!(open(&path).1.len(), 2, "also when it was written anew");
    }

    #[test]
    fn a_torn_end_costs_what_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entries");
        let (journal, _) = open(&path);
        journal.put(EntryId(1), b"one");
        journal.put(EntryId(2), b"two");
        journal.flush();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(open(&path).1.len() <= 1);
            let mut flipped = whole.clone();
            flipped[cut] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            let found = open(&path).1;
            assert!(
                found
                    .iter()
                    .all(|(id, bytes)| (*id, &bytes[..]) == (1, b"one") || (*id, &bytes[..]) == (2, b"two"))
            );
        }
        std::fs::write(&path, &whole).unwrap();
        let (journal, found) = open(&path);
        assert_eq!(found.len(), 2);
        journal.put(EntryId(3), b"three");
        journal.flush();
        drop(journal);
        assert_eq!(open(&path).1.len(), 3);
    }

    #[test]
    fn the_file_stays_small_when_much_is_stale() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entries");
        let (journal, _) = open(&path);
        for round in 0..200u128 {
            journal.put(EntryId(round % 4), &[7; 100_000]);
            if round % 5 == 0 {
                journal.flush();
            }
        }
        journal.flush();
        assert!(std::fs::metadata(&path).unwrap().len() < 3 << 20);
        drop(journal);
        assert_eq!(open(&path).1.len(), 4);
    }
}
