//! From rows to types and back.

use std::str::FromStr;

use rusqlite::{CachedStatement, Connection, Params, Row, types::FromSql};
use sealift_terms::{Order, Region, Timestamp, limits};

use crate::{LedgerError, Result};

/// The columns of a row, read from left to right.
pub(super) struct Columns<'a, 'b> {
    row: &'a Row<'b>,
    table: &'static str,
    next: usize,
}

impl<'a, 'b> Columns<'a, 'b> {
    pub(super) fn new(table: &'static str, row: &'a Row<'b>) -> Self {
        Self {
            row,
            table,
            next: 0,
        }
    }

    pub(super) fn value<T: FromSql>(&mut self) -> Result<T> {
        let index = self.next;
        self.next += 1;
        self.row
            .get(index)
            .map_err(|error| self.bad(format!("column {index}: {error}")))
    }

    /// A text as it lies in the row, and what `read` makes of it.
    fn text<T>(&mut self, read: impl FnOnce(&str) -> std::result::Result<T, String>) -> Result<T> {
        let index = self.next;
        self.next += 1;
        let text = self.row.get_ref(index).map_err(|error| error.to_string());
        let text = text.and_then(|text| text.as_str().map_err(|error| error.to_string()));
        text.and_then(read)
            .map_err(|error| self.bad(format!("column {index}: {error}")))
    }

    /// A blob as it lies in the row, and what `read` makes of it.
    pub(super) fn blob<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        let index = self.next;
        self.next += 1;
        let blob = self.row.get_ref(index).map_err(|error| error.to_string());
        let blob = blob.and_then(|blob| blob.as_blob().map_err(|error| error.to_string()));
        read(blob.map_err(|error| self.bad(format!("column {index}: {error}")))?)
    }

    pub(super) fn bad(&self, finding: String) -> LedgerError {
        LedgerError::BadRow {
            table: self.table,
            finding,
        }
    }

    pub(super) fn uint(&mut self) -> Result<u64> {
        let value: i64 = self.value()?;
        u64::try_from(value).map_err(|_| self.bad(format!("{value} is below zero")))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp> {
        self.value().map(Timestamp::from_millis)
    }

    /// A name of any sort, checked again: the file is outside.
    pub(super) fn name<T: FromStr<Err: ToString>>(&mut self) -> Result<T> {
        self.text(|text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    pub(super) fn name_or_none<T: FromStr<Err: ToString>>(&mut self) -> Result<Option<T>> {
        let text: Option<String> = self.value()?;
        text.map(|text| text.parse())
            .transpose()
            .map_err(|error: T::Err| self.bad(error.to_string()))
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let table = self.table;
        self.blob(|bytes| {
            bytes.try_into().map_err(|_| LedgerError::BadRow {
                table,
                finding: format!("{} bytes instead of {N}", bytes.len()),
            })
        })
    }

    pub(super) fn bytes_or_none<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        let bytes: Option<Vec<u8>> = self.value()?;
        let sized = bytes.map(|bytes| {
            let found = bytes.len();
            bytes
                .try_into()
                .map_err(|_| self.bad(format!("{found} bytes instead of {N}")))
        });
        sized.transpose()
    }

    pub(super) fn order(&mut self) -> Result<Order> {
        let table = self.table;
        self.blob(|bytes| {
            order_from(bytes).ok_or_else(|| LedgerError::BadRow {
                table,
                finding: "no order".to_owned(),
            })
        })
    }
}

/// Reads all rows of a statement.
pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = db.prepare_cached(sql).map_err(LedgerError::at("prepare"))?;
    let mut rows = statement.query(params).map_err(LedgerError::at("query"))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(LedgerError::at("read rows"))? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Reads the first row, if there is one.
pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = db.prepare_cached(sql).map_err(LedgerError::at("prepare"))?;
    let mut rows = statement.query(params).map_err(LedgerError::at("query"))?;
    rows.next()
        .map_err(LedgerError::at("read a row"))?
        .map(read)
        .transpose()
}

/// Runs a statement that changes rows; says how many.
pub(super) fn change(db: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.execute(params))
        .map_err(LedgerError::at("change rows"))
}

/// A statement kept for a loop, without a look-up at every turn.
pub(super) fn prepare<'a>(db: &'a Connection, sql: &str) -> Result<CachedStatement<'a>> {
    db.prepare_cached(sql).map_err(LedgerError::at("prepare"))
}

/// Runs such a statement, as [`change`].
pub(super) fn run(statement: &mut CachedStatement<'_>, params: impl Params) -> Result<usize> {
    statement
        .execute(params)
        .map_err(LedgerError::at("change rows"))
}

/// A number as SQLite holds it.
pub(super) fn int(what: &'static str, number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| LedgerError::TooLarge { what, number })
}

/// A count of rows for LIMIT.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Bytes that compare as the orders do: clock, region, a zero byte (lower than
/// anything in a region's name), change.
pub(super) fn order_bytes(order: &Order) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17 + order.region.as_str().len());
    bytes.extend_from_slice(&order.clock.to_be_bytes());
    bytes.extend_from_slice(order.region.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&order.change.to_be_bytes());
    bytes
}

pub(super) fn order_from(bytes: &[u8]) -> Option<Order> {
    let (clock, rest) = bytes.split_first_chunk::<8>()?;
    let (rest, change) = rest.split_last_chunk::<8>()?;
    let region = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some(Order {
        clock: u64::from_be_bytes(*clock),
        region: Region::new(region).ok()?,
        change: u64::from_be_bytes(*change),
    })
}

/// The lowest string above all that begin with `prefix`; none when there is no such.
///
/// Steps the last character that can be stepped: UTF-8 sorts by bytes as by characters.
pub(super) fn above_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match u32::from(last) {
            0xd7ff => Some('\u{e000}'),
            code => char::from_u32(code + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// Evidence, cut to what is kept.
pub(super) fn evidence(text: &str) -> &str {
    let longest = limits::EVIDENCE_BYTES_MAX.min(text.len());
    (0..=longest)
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_orders_compare_as_the_orders() {
        let order = |clock, region: &str, change| Order {
            clock,
            region: Region::new(region).unwrap(),
            change,
        };
        let mut orders = Vec::new();
        for clock in [0, 255, 256, u64::MAX] {
            for region in ["a", "a-b", "a.b", "a0", "ab", "b"] {
                for change in [0, 1, 256, u64::MAX] {
                    orders.push(order(clock, region, change));
                }
            }
        }
        for a in &orders {
            assert_eq!(order_from(&order_bytes(a)).as_ref(), Some(a));
            for b in &orders {
                assert_eq!(a.cmp(b), order_bytes(a).cmp(&order_bytes(b)), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_above_a_prefix_bounds_all_that_begin_with_it() {
        for prefix in ["a", "ä", "\u{d7ff}", "a\u{10ffff}", "\u{7f}"] {
            let above = above_prefix(prefix).unwrap();
            assert!(above.as_str() > format!("{prefix}\u{10ffff}\u{10ffff}").as_str());
            assert!(!above.starts_with(prefix));
        }
        assert_eq!(above_prefix(""), None);
        assert_eq!(above_prefix("\u{10ffff}"), None);
    }

    #[test]
    fn evidence_is_cut_at_a_character() {
        let long = "é".repeat(limits::EVIDENCE_BYTES_MAX);
        assert_eq!(evidence(&long).len(), limits::EVIDENCE_BYTES_MAX);
        assert_eq!(evidence("short"), "short");
    }
}
