//! Opening a database file: its pragmas, its schema version, its integrity.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use crate::{LedgerError, Result};

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Larger databases are not examined at every start; `verify` does it.
pub(super) const CHECKED_AT_OPEN_BYTES_MAX: u64 = 256 << 20;
/// Prepared statements kept by each connection.
const STATEMENTS_CACHED: usize = 64;

/// What a database is and how it came to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schema {
    /// `journal` or `catalog`.
    pub(super) name: &'static str,
    /// In the file's header, so that the two are never mixed up.
    pub(super) application_id: i32,
    /// Step i takes the schema from version i to i + 1.
    pub(super) migrations: &'static [&'static str],
}

impl Schema {
    fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }
}

/// Opens the writing connection; makes or migrates the schema.
pub(super) fn open_writer(path: &Path, schema: &Schema) -> Result<Connection> {
    make_private(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(LedgerError::at("open"))?;
    db.busy_timeout(BUSY_TIMEOUT)
        .map_err(LedgerError::at("set the busy timeout"))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Nothing is written before it is known to be ours and not newer than we are.
    let found = recognise(&db, path, schema)?;
    check_integrity(&db, path, CHECKED_AT_OPEN_BYTES_MAX)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY;",
    )
    .map_err(LedgerError::at("set pragmas"))?;
    migrate(&mut db, schema, found)?;
    Ok(db)
}

/// Opens a reading connection of an existing database that may be of any kind.
pub(super) fn open_unknown(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(LedgerError::at("open to look"))?;
    db.busy_timeout(BUSY_TIMEOUT)
        .map_err(LedgerError::at("set the busy timeout"))?;
    Ok(db)
}

/// Opens a reading connection of an existing database.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(LedgerError::at("open to read"))?;
    db.busy_timeout(BUSY_TIMEOUT)
        .map_err(LedgerError::at("set the busy timeout"))?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    db.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2000;")
        .map_err(LedgerError::at("set pragmas"))?;
    Ok(db)
}

/// Creates the file readable by its owner only: SQLite gives its side files the
/// same mode. What goes wrong here, opening reports.
fn make_private(path: &Path) {
    let _ = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
}

/// The schema version found; refuses what is another's or newer.
pub(super) fn recognise(db: &Connection, path: &Path, schema: &Schema) -> Result<i64> {
    let pragma = |name: &str| {
        db.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(|error| not_a_database(error, path, schema))
    };
    let found = pragma("user_version")?;
    let application_id = pragma("application_id")?;
    let fresh = found == 0 && application_id == 0 && pragma("schema_version")? == 0;
    if !fresh && application_id != i64::from(schema.application_id) {
        return Err(LedgerError::WrongDatabase {
            path: path.to_owned(),
            wanted: schema.name,
        });
    }
    if found > schema.version() {
        return Err(LedgerError::NewerSchema {
            path: path.to_owned(),
            found,
            supported: schema.version(),
        });
    }
    Ok(found)
}

fn not_a_database(error: rusqlite::Error, path: &Path, schema: &Schema) -> LedgerError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::WrongDatabase {
            path: path.to_owned(),
            wanted: schema.name,
        },
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => LedgerError::Damaged {
            path: path.to_owned(),
            finding: error.to_string(),
        },
        _ => LedgerError::at("read the schema version")(error),
    }
}

/// Examines the file's structure, unless it is larger than `bytes_max`.
pub(super) fn check_integrity(db: &Connection, path: &Path, bytes_max: u64) -> Result<()> {
    let bytes = std::fs::metadata(path).map_or(0, |facts| facts.len());
    if bytes > bytes_max {
        return Ok(());
    }
    let finding = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        .unwrap_or_else(|error| error.to_string());
    if finding == "ok" {
        return Ok(());
    }
    Err(LedgerError::Damaged {
        path: path.to_owned(),
        finding,
    })
}

fn migrate(db: &mut Connection, schema: &Schema, found: i64) -> Result<()> {
    let done = usize::try_from(found).unwrap_or(0);
    for (step, sql) in schema.migrations.iter().enumerate().skip(done) {
        let version = i64::try_from(step + 1).unwrap_or(i64::MAX);
        let transaction = db.transaction().map_err(LedgerError::at("migrate"))?;
        transaction
            .execute_batch(sql)
            .and_then(|()| transaction.pragma_update(None, "application_id", schema.application_id))
            .and_then(|()| transaction.pragma_update(None, "user_version", version))
            .and_then(|()| transaction.commit())
            .map_err(LedgerError::at("migrate the schema"))?;
    }
    Ok(())
}
