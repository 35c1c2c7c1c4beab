//! Listings of versions, and how many of them stand.

use rusqlite::{Connection, ToSql, params_from_iter};
use sealift_terms::{ObjectKey, Order, VersionId, VersionName};

use super::{
    catalog_commit::{name_params, purged_at},
    catalog_rows::{LISTED, VERSION, known, listed_version, version},
    columns::{above_prefix, all, limit, order_bytes, prepare},
    sealing::Sealing,
};
use crate::{
    LedgerError, ListVersions, ListedVersion, Result, Standing, VersionCursor, VersionPage,
    VersionRow,
};

/// Values and conditions of a query, side by side.
struct Query {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Query {
    fn and(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.values.push(Box::new(value));
        let place = format!("?{}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('$', &place));
    }
}

pub(super) fn versions(
    db: &Connection,
    sealing: &Sealing,
    list: &ListVersions,
) -> Result<VersionPage> {
    let query = query(VERSION, list);
    let values = params_from_iter(query.values.iter());
    let rows = all(db, &query.sql, values, |row| version(row, sealing))?;
    let key = |row: &VersionRow| {
        (
            row.name.key.clone(),
            row.order.clone(),
            row.name.version.clone(),
        )
    };
    Ok(page(rows, list, key))
}

/// The same, of each version what a listing tells.
pub(super) fn listed(
    db: &Connection,
    sealing: &Sealing,
    list: &ListVersions,
) -> Result<VersionPage<ListedVersion>> {
    let query = query(LISTED, list);
    let values = params_from_iter(query.values.iter());
    let rows = all(db, &query.sql, values, |row| {
        listed_version(row, &list.bucket, sealing)
    })?;
    let key = |row: &ListedVersion| (row.key.clone(), row.order.clone(), row.version.clone());
    Ok(page(rows, list, key))
}

/// The rows, and where the next ones begin if there may be any.
fn page<R>(
    rows: Vec<R>,
    list: &ListVersions,
    place: impl Fn(&R) -> (ObjectKey, Order, VersionId),
) -> VersionPage<R> {
    let last = rows.last().filter(|_| rows.len() == list.limit);
    let next = last.map(|row| {
        let (key, order, version) = place(row);
        let version = list.all.then_some((order, version));
        VersionCursor { key, version }
    });
    VersionPage { rows, next }
}

fn query(columns: &str, list: &ListVersions) -> Query {
    let mut query = Query {
        sql: format!("{columns} WHERE v.bucket = ?1"),
        values: vec![Box::new(list.bucket.as_str().to_owned())],
    };
    if !list.prefix.is_empty() {
        query.and("v.key >= $", list.prefix.clone());
        if let Some(above) = above_prefix(&list.prefix) {
            query.and("v.key < $", above);
        }
    }
    begin_after(&mut query, list);
    if list.all {
        query
            .sql
            .push_str(" ORDER BY v.key, v.ord DESC, v.version DESC");
    } else {
        query.sql.push_str(
            " AND v.id = (SELECT l.id FROM versions l WHERE l.bucket = v.bucket AND l.key = v.key
                          ORDER BY l.ord DESC, l.version DESC LIMIT 1)
              ORDER BY v.key",
        );
    }
    query.values.push(Box::new(limit(list.limit)));
    query
        .sql
        .push_str(&format!(" LIMIT ?{}", query.values.len()));
    query
}

/// How each of `names` stands, as of one moment: within one transaction, as every one of
/// its own costs two locks of the database, which are system calls.
pub(super) fn standing(
    db: &Connection,
    sealing: &Sealing,
    names: &[VersionName],
) -> Result<Vec<Standing>> {
    let moment = db
        .unchecked_transaction()
        .map_err(LedgerError::at("begin to read"))?;
    let mut is_there = prepare(
        &moment,
        "SELECT 1 FROM versions WHERE bucket = ?1 AND key = ?2 AND version = ?3",
    )?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let there = is_there
            .exists(name_params(name))
            .map_err(LedgerError::at("query"))?;
        let row = match there {
            true => known(&moment, sealing, name)?,
            false => None,
        };
        found.push(match row {
            Some(row) => Standing::Known(Box::new(row)),
            None if purged_at(&moment, name)?.is_some() => Standing::Purged,
            None => Standing::Unknown,
        });
    }
    Ok(found)
}

fn begin_after(query: &mut Query, list: &ListVersions) {
    let Some(after) = &list.after else {
        return;
    };
    let key = after.key.as_str().to_owned();
    match &after.version {
        Some((order, version)) if list.all => {
            query.and("v.key >= $", key.clone());
            query.and("(v.key > $", key);
            let place = query.values.len();
            query.values.push(Box::new(order_bytes(order)));
            query.values.push(Box::new(version.as_str().to_owned()));
            let (order, version) = (place + 1, place + 2);
            query
                .sql
                .push_str(&format!(" OR (v.ord, v.version) < (?{order}, ?{version}))"));
        }
        _ => query.and("v.key > $", key),
    }
}
