//! Records that wait on disk while metering is away.
//!
//! Layout: records one after another, each `length: u32 LE`, `check: [u8; 4]` (the first bytes of the payload's SHA-256)
//! and the payload, an encoded `Settlement`. A torn last record, as a crash leaves it, is cut off at start. Nothing marks
//! what was delivered: metering counts each record once, so after a crash all is simply sent again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use prost::Message as _;
use signalbox_proto::metering::v1::Settlement;

const HEADER: usize = 8;

/// A bounded, append-only file of settlements.
pub(crate) struct Spool {
    file: File,
    path: PathBuf,
    /// End of the last whole record.
    end: u64,
    /// Start of the first record that was not delivered yet.
    head: u64,
    max: u64,
}

/// What can go wrong with a spool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("the spool {0} is full; metering must come back, or gateway.spool.max_bytes must be raised")]
    Full(PathBuf),
    #[error("the spool {path}: {source}; check that the folder exists and can be written")]
    Io { path: PathBuf, source: io::Error },
}

impl Spool {
    /// Opens the spool in a folder, or makes it; a torn tail is cut off.
    pub(crate) fn open(folder: &Path, max: u64) -> Result<Self, SpoolError> {
        let path = folder.join("gateway.spool");
        let fail = |source| SpoolError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(fail)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let mut end = 0;
        while let Some((_, next)) = read_at(&mut file, end, size).map_err(fail)? {
            end = next;
        }
        if end < size {
            tracing::warn!(bytes = size - end, "cut a torn record off the spool");
            file.set_len(end).map_err(fail)?;
        }
        Ok(Self { file, path, end, head: 0, max })
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.end
    }

    /// Bytes that wait to be delivered, and the bound of the file.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        (self.end - self.head, self.max)
    }

    /// Whether the bound is reached.
    pub(crate) fn is_full(&self) -> bool {
        self.end >= self.max
    }

    /// Appends records and hands them to the operating system.
    pub(crate) fn append(&mut self, records: &[Settlement]) -> Result<(), SpoolError> {
        let mut bytes = Vec::new();
        for record in records {
            let payload = record.encode_to_vec();
            let length = u32::try_from(payload.len()).map_err(|_| SpoolError::Full(self.path.clone()))?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&check(&payload));
            bytes.extend_from_slice(&payload);
        }
        // One record past the bound is let in: what was spent must not be lost for a rounding of the limit.
        if self.is_full() {
            return Err(SpoolError::Full(self.path.clone()));
        }
        self.file.seek(SeekFrom::Start(self.end)).map_err(|e| self.io(e))?;
        self.file.write_all(&bytes).map_err(|e| self.io(e))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Reads the oldest undelivered records without removing them; returns them and where they end.
    pub(crate) fn peek(&mut self, most: usize) -> Result<(Vec<Settlement>, u64), SpoolError> {
        let mut records = Vec::new();
        let mut at = self.head;
        while records.len() < most {
            let read = read_at(&mut self.file, at, self.end);
            let Some((payload, next)) = read.map_err(|e| self.io(e))? else { break };
            at = next;
            match Settlement::decode(payload.as_slice()) {
                Ok(record) => records.push(record),
                Err(error) => tracing::error!(%error, "skipped an unreadable record in the spool"),
            }
        }
        Ok((records, at))
    }

    /// Forgets the records up to where a `peek` ended; an empty spool gives its space back.
    pub(crate) fn delivered(&mut self, until: u64) -> Result<(), SpoolError> {
        self.head = until.clamp(self.head, self.end);
        if self.is_empty() {
            self.file.set_len(0).map_err(|e| self.io(e))?;
            (self.head, self.end) = (0, 0);
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> SpoolError {
        SpoolError::Io { path: self.path.clone(), source }
    }
}

fn check(payload: &[u8]) -> [u8; 4] {
    let digest = ring::digest::digest(&ring::digest::SHA256, payload);
    let mut check = [0; 4];
    check.copy_from_slice(&digest.as_ref()[..4]);
    check
}

/// Reads the record at `at`; `None` where no whole, intact record stands before `end`.
fn read_at(file: &mut File, at: u64, end: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
    if at + HEADER as u64 > end {
        return Ok(None);
    }
    let mut header = [0; HEADER];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut header)?;
    let [a, b, c, d, wanted @ ..] = header;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let next = at + HEADER as u64 + length;
    if next > end {
        return Ok(None);
    }
    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact(&mut payload)?;
    Ok((check(&payload) == wanted).then_some((payload, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Settlement {
        Settlement { request_id: id.into(), ..Settlement::default() }
    }

    fn ids(records: &[Settlement]) -> Vec<&str> {
        records.iter().map(|r| r.request_id.as_str()).collect()
    }

    #[test]
    fn keeps_order_over_restarts_and_gives_space_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        spool.append(&[record("a"), record("b")]).unwrap();
        spool.append(&[record("c")]).unwrap();
        drop(spool);

        let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
        let (first, at) = spool.peek(2).unwrap();
        assert_eq!(ids(&first), ["a", "b"]);
        spool.delivered(at).unwrap();
        let (rest, at) = spool.peek(9).unwrap();
        assert_eq!(ids(&rest), ["c"]);
        spool.delivered(at).unwrap();
        assert!(spool.is_empty());
        assert_eq!(folder.path().join("gateway.spool").metadata().unwrap().len(), 0);
    }

    #[test]
    fn cuts_a_torn_record_at_any_byte_and_keeps_those_before() {
        for torn in 1..20 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("gateway.spool");
            let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
            spool.append(&[record("whole"), record("the torn one")]).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(path.metadata().unwrap().len() - torn).unwrap();

            let mut spool = Spool::open(folder.path(), 1 << 20).unwrap();
            spool.append(&[record("after")]).unwrap();
            assert_eq!(ids(&spool.peek(9).unwrap().0), ["whole", "after"], "torn by {torn}");
        }
    }

    #[test]
    fn refuses_when_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), 10).unwrap();
        spool.append(&[record("fills it")]).unwrap();
        assert!(matches!(spool.append(&[record("more")]), Err(SpoolError::Full(_))));
    }
}
