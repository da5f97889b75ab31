//! The database file: opening, locking, and bringing its tables up to date.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::Error;

/// The file in the data folder.
const FILE: &str = "metering.db";
/// Locked as long as a process has the database: two writers with books of their own would both spend the same money.
const LOCK: &str = "metering.lock";
/// Marks the file as ours: "SBMT".
const APPLICATION_ID: i64 = 0x5342_4D54;
/// Each brings the tables from one version to the next; `user_version` says how many were applied. Only ever added to.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
];
const STATEMENTS: usize = 64;

/// The opened database.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Held until the process ends or drops it.
    pub(super) lock: File,
}

impl Database {
    /// Opens or makes the database in a folder, which is made too.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let denied = |source| Error::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(denied)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LOCK))
            .map_err(denied)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(denied(source)),
        }
        let path = folder.join(FILE);
        private(&path).map_err(denied)?;
        let connection = connect(&path).map_err(|source| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Error::Foreign(path.clone()),
            _ => Error::Database { path: path.clone(), source },
        })?;
        let mut database = Self { connection, path, lock };
        database.migrate(&MIGRATIONS)?;
        Ok(database)
    }

    fn migrate(&mut self, migrations: &[&str]) -> Result<(), Error> {
        let path = self.path.clone();
        let failed = |source| Error::Database { path: path.clone(), source };
        let whole =
            |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
        let (application, version) = (whole("PRAGMA application_id")?, whole("PRAGMA user_version")?);
        let tables = whole("SELECT count(*) FROM sqlite_schema")?;
        if application != APPLICATION_ID && (tables > 0 || version > 0) {
            return Err(Error::Foreign(self.path.clone()));
        }
        let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        if version > known {
            return Err(Error::NewerSchema { path: self.path.clone(), found: version, known });
        }
        for (next, migration) in (1..).zip(migrations).skip(usize::try_from(version).unwrap_or(0)) {
            let transaction = self.connection.transaction().map_err(failed)?;
            transaction.execute_batch(migration).map_err(failed)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
            transaction.pragma_update(None, "user_version", next).map_err(failed)?;
            transaction.commit().map_err(failed)?;
        }
        Ok(())
    }
}

/// The ledger tells who asked when: only its owner may read it. SQLite gives its other files the same permissions.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // A checkpoint waits for the disk, and admissions wait for it: those of `checkpoint` hold up nobody, and this is for when they
    // cannot keep up. In pages of 4 KiB.
    connection.pragma_update(None, "wal_autocheckpoint", 40_000)?;
    // After a burst the log shrinks back to this; in bytes.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Opens a connection that can only read.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI,
    )?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup::DAY_MS;

    #[test]
    fn a_folder_has_one_user_and_is_free_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let first = Database::open(folder.path()).unwrap();
        assert!(matches!(Database::open(folder.path()), Err(Error::InUse(_))));
        drop(first);
        assert!(Database::open(folder.path()).is_ok());
    }

    #[test]
    fn migrations_run_once_and_a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(folder.path()).unwrap();
        let later = [&MIGRATIONS[..], &["CREATE TABLE later (x INTEGER)"]].concat();
        database.migrate(&later).unwrap();
        database.migrate(&later).unwrap();
        drop(database);
        let refused = Database::open(folder.path()).err().unwrap();
        let known = i64::try_from(MIGRATIONS.len()).unwrap();
        assert!(matches!(refused, Error::NewerSchema { found, .. } if found == known + 1), "{refused}");
    }

    #[test]
    fn a_failed_migration_leaves_the_version_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = Database::open(folder.path()).unwrap();
        let broken = [&MIGRATIONS[..], &["CREATE TABLE later (x INTEGER); NOT SQL"]].concat();
        assert!(database.migrate(&broken).is_err());
        let version =
            database.connection.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0)).unwrap();
        let made = database.connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE name = 'later'",
            [],
            |r| r.get::<_, i64>(0),
        );
        assert_eq!((version, made), (i64::try_from(MIGRATIONS.len()).unwrap(), Ok(0)));
    }

    #[test]
    fn days_of_less_detail_are_whole_from_the_day_after_they_were_introduced() {
        let marks = |request: &str| -> Vec<(String, i64)> {
            let connection = Connection::open_in_memory().unwrap();
            MIGRATIONS[..5].iter().for_each(|migration| connection.execute_batch(migration).unwrap());
            connection.execute_batch(request).unwrap();
            MIGRATIONS[5..].iter().for_each(|migration| connection.execute_batch(migration).unwrap());
            let mut marks = connection.prepare("SELECT name, at FROM marks ORDER BY name").unwrap();
            let marks = marks.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            marks.map(Result::unwrap).collect()
        };
        let of = |at: i64| [("tags_from".to_owned(), at), ("users_from".to_owned(), at)];
        assert_eq!(marks(""), of(0));
        let sums = marks("INSERT INTO rollups (grain, at, key, cell) VALUES (3, 0, 'k', x'00')");
        assert!(sums[0].1 > 0, "sums outlive the records: {sums:?}");
        let request = "INSERT INTO requests VALUES ('r', 'acme', 'k', NULL, NULL, NULL, NULL, 'm', NULL, 1, 1, 0, 0, 0, 5, 6, 1, NULL, 1, NULL, NULL, 0, NULL)";
        let old = marks(request);
        let today = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() / DAY_MS;
        assert_eq!(old[0].1 % DAY_MS, 0);
        // The test may run over midnight.
        assert!([today, today + 1].contains(&(old[0].1 / DAY_MS)) && old == of(old[0].1), "{old:?}");
    }

    #[test]
    fn budgets_of_the_first_schema_are_carried_over() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        let row = |name: &str, scope: &str| {
            format!(
                "INSERT INTO budgets (tenant, name, configured, unit, amount, period, time_zone, hard, shadow, scope_dimension, \
                 scope_value, scope_key, window_start, window_end, spent, uncovered, told_percent, told_unix_ms) \
                 VALUES ('acme', '{name}', 0, 'tokens', 7, 'month', 'Europe/Berlin', 1, 0, {scope}, 1, 2, 3, 0, 0, 0)"
            )
        };
        let scopes =
            ["'', '', ''", "'tag', 'prod', 'env'", "'requested_model', 'fast', ''", "'team', 't', ''"];
        for (n, scope) in scopes.into_iter().enumerate() {
            connection.execute_batch(&row(&n.to_string(), scope)).unwrap();
        }
        connection.execute_batch(MIGRATIONS[1]).unwrap();
        let found = super::super::rows::budgets(&connection).unwrap();
        let terms = &found[0].terms;
        assert_eq!(
            (terms.limit, terms.period.name(), terms.zone_name.as_str()),
            (7, "month", "Europe/Berlin")
        );
        assert_eq!((terms.hard, terms.shadow, terms.carry_over, found[0].spent), (true, false, false, 3));
        let scopes: Vec<_> = found.iter().map(|b| serde_json::to_string(&b.terms.scope).unwrap()).collect();
        assert_eq!(
            scopes,
            ["[]", r#"[[{"tag":"env"},"prod"]]"#, r#"[["model","fast"]]"#, r#"[["team","t"]]"#]
        );
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), vec![b'x'; 4_096]).unwrap();
        assert!(matches!(Database::open(folder.path()), Err(Error::Foreign(_))));
        let other = tempfile::tempdir().unwrap();
        Connection::open(other.path().join(FILE)).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert!(matches!(Database::open(other.path()), Err(Error::Foreign(_))));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let refused = Database::open(&file.join("data")).err().unwrap().to_string();
        assert!(refused.contains("--data-dir") && refused.contains("file/data"), "{refused}");
    }
}
