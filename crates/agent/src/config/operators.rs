//! `[[operator]]` and the socket by which operators come.

use std::{fs, path::PathBuf};

use sealift_identity::{OperatorAction, OperatorRow, Operators, Principal};
use toml::Spanned;

use super::{
    checker::Checker,
    declared::{Declared, declared_or_any},
    raw::{self, Text},
};

/// Where operators that are not the agent's own user reach it.
pub(super) fn socket(c: &mut Checker<'_>, raw: &raw::Raw) -> Option<PathBuf> {
    match (&raw.admin.socket, raw.operators.first()) {
        (Some(text), _) => Some(c.source.resolve(text.get_ref())),
        (None, None) => None,
        (None, Some(operator)) => c.refuse(
            "admin.socket",
            &operator.span(),
            "an [[operator]] and no socket for one",
            "the path of a Unix socket that operators can reach",
            "add `socket = \"/run/sealift/operators.sock\"` to [admin]",
        ),
    }
}

pub(super) fn operators(
    c: &mut Checker<'_>,
    raw: &[Spanned<raw::Operator>],
    declared: &Declared,
) -> Operators {
    let rows = raw.iter().filter_map(|entry| row(c, entry, declared));
    let rows: Vec<_> = rows.collect();
    match Operators::new(rows) {
        Ok(operators) => operators,
        Err(error) => {
            let span = raw.last().map_or(0..0, Spanned::span);
            let allowed = sealift_terms::limits::OPERATORS_MAX.to_string();
            let remedy = "name a group instead of its members";
            c.refuse::<()>("operator", &span, error.to_string(), allowed, remedy);
            Operators::default()
        }
    }
}

fn row(
    c: &mut Checker<'_>,
    entry: &Spanned<raw::Operator>,
    declared: &Declared,
) -> Option<OperatorRow> {
    let line = c.place(&entry.span()).line();
    let span = entry.span();
    let entry = entry.get_ref();
    let who = match (&entry.user, &entry.group) {
        (Some(user), None) => number(c, "operator.user", user, "/etc/passwd").map(Principal::User),
        (None, Some(group)) => {
            number(c, "operator.group", group, "/etc/group").map(Principal::Group)
        }
        _ => c.refuse(
            "operator",
            &span,
            "both or neither of user and group",
            "one of user and group",
            "write two [[operator]] for a user and a group",
        ),
    };
    let actions = actions(c, &entry.actions);
    let keys = entry.keys.iter().flatten();
    let keys = keys.map(|key| key.get_ref().clone()).collect();
    let buckets = entry.buckets.iter().flatten();
    let buckets: Vec<_> = buckets
        .filter_map(|bucket| declared_or_any(c, "operator.buckets", bucket, declared))
        .collect();
    Some(OperatorRow {
        line,
        who: who?,
        actions: actions?,
        keys,
        buckets,
    })
}

fn actions(c: &mut Checker<'_>, raw: &Spanned<Vec<Text>>) -> Option<Vec<OperatorAction>> {
    let all = OperatorAction::ALL.map(OperatorAction::as_str).join(", ");
    let allowed = format!("at least one of {all}");
    let remedy = "name what the operator may do";
    if raw.get_ref().is_empty() {
        return c.refuse(
            "operator.actions",
            &raw.span(),
            "an empty list",
            allowed,
            remedy,
        );
    }
    let mut actions = Vec::new();
    for text in raw.get_ref() {
        match text.get_ref().parse() {
            Ok(action) => actions.push(action),
            Err(()) => {
                let found = format!("{:?}", text.get_ref());
                let allowed = allowed.clone();
                return c.refuse("operator.actions", &text.span(), found, allowed, remedy);
            }
        }
    }
    Some(actions)
}

/// A number, or the number of a name in a file of this machine: `NAME:…:NUMBER:…`.
fn number(c: &mut Checker<'_>, setting: &str, text: &Text, file: &str) -> Option<u32> {
    let name = text.get_ref();
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let listed = fs::read_to_string(file).unwrap_or_default();
    match number_of(&listed, name) {
        Some(number) => Some(number),
        None => c.refuse(
            setting,
            &text.span(),
            format!("{name:?}, which is not in {file}"),
            format!("a name in {file}, or a number"),
            "write the number if the name comes from a directory service",
        ),
    }
}

fn number_of(listed: &str, name: &str) -> Option<u32> {
    let mut lines = listed.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers_of_this_machine() {
        let listed = "root:x:0:0:root:/root:/bin/sh\nops:x:1000:50::/:/bin/sh\nbad:x:no:1\n";
        assert_eq!(number_of(listed, "ops"), Some(1000));
        assert_eq!(number_of(listed, "root"), Some(0));
        assert_eq!(number_of(listed, "bad"), None);
        assert_eq!(number_of(listed, "op"), None);
    }
}
