//! `sealift certs`.

use clap::Subcommand;
use sealift_agent::{
    Exit, World,
    admin::{CertificateRow, Request},
};

use super::{ask, rows};
use crate::{
    cli::Global,
    output::{self, Outcome, Table},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// List this site's certificate and those that its peers show, and until when they are valid
    List,
}

impl Certs {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let Self::List = self;
        let (_site, answers) = ask(global, Request::Certs).await?;
        let head = [
            "PEER", "IDENTITY", "SERIAL", "UNTIL", "LEFT", "BUNDLE", "NOTE",
        ];
        let mut table = Table::new(&head, &[4, 5]);
        rows(answers, |row: CertificateRow| {
            if global.json {
                return output::row(true, &row, "");
            }
            table.row(cells(&row));
            Ok(())
        })
        .await?;
        if !global.json {
            table.print()?;
        }
        Ok(Exit::Done)
    }
}

fn cells(row: &CertificateRow) -> [String; 7] {
    let none = || "-".to_owned();
    let now = World::real().clock.now();
    let facts = row.certificate.as_ref();
    let left = |until: sealift_terms::Timestamp| match until > now {
        true => output::seconds(until.since(now).as_secs()),
        false => "ended".to_owned(),
    };
    let note = match (row.denied, row.revoked, facts) {
        (true, ..) => "denied".to_owned(),
        (false, true, _) => "revoked".to_owned(),
        (false, false, None) => "no connection now".to_owned(),
        (false, false, Some(_)) => String::new(),
    };
    let lists = row
        .crl_until
        .map(|until| format!("revocation lists: {}", left(until)));
    let note = match (note.is_empty(), lists) {
        (_, None) => note,
        (true, Some(lists)) => lists,
        (false, Some(lists)) => format!("{note}; {lists}"),
    };
    [
        row.peer
            .as_ref()
            .map_or_else(|| "(this site)".to_owned(), ToString::to_string),
        row.identity.to_string(),
        facts.map_or_else(none, |facts| facts.serial.clone()),
        facts.map_or_else(none, |facts| facts.not_after.to_string()),
        facts.map_or_else(none, |facts| left(facts.not_after)),
        row.bundle.to_string(),
        note,
    ]
}
