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
    /// Ask the source of this site's certificate for another one now
    Renew,
    /// Whether this site's certificate is due to be renewed: 0 when it is, 5 when it is not yet
    NeedsRenewal,
}

impl Certs {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        match self {
            Self::List => list(global, Request::Certs).await,
            Self::Renew => list(global, Request::Renew).await,
            Self::NeedsRenewal => needs_renewal(global).await,
        }
    }
}

/// For scripts: what is said beside the exit code is for people.
async fn needs_renewal(global: &Global) -> Outcome {
    let (_site, answers) = ask(global, Request::Certs).await?;
    let mut own = None;
    rows(answers, |row: CertificateRow| {
        if row.peer.is_none() {
            own = Some(row);
        }
        Ok(())
    })
    .await?;
    let (now, due) = (
        World::real().clock.now(),
        own.as_ref().and_then(|row| row.due),
    );
    let is_due = due.is_none_or(|due| due <= now);
    if let Some(row) = &own {
        let due = due.map_or_else(|| "-".to_owned(), |due| due.to_string());
        let told = match is_due {
            true => format!("it is due since {due}"),
            false => format!("it is due at {due}"),
        };
        output::row(global.json, row, &told)?;
    }
    Ok(match is_due {
        true => Exit::Done,
        false => Exit::TryAgain,
    })
}

async fn list(global: &Global, request: Request) -> Outcome {
    let (_site, answers) = ask(global, request).await?;
    let head = [
        "PEER", "IDENTITY", "SERIAL", "SOURCE", "UNTIL", "LEFT", "BUNDLE", "NOTE",
    ];
    let mut table = Table::new(&head, &[5, 6]);
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

fn cells(row: &CertificateRow) -> [String; 8] {
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
        row.source.clone().unwrap_or_else(none),
        facts.map_or_else(none, |facts| facts.not_after.to_string()),
        facts.map_or_else(none, |facts| left(facts.not_after)),
        row.bundle.to_string(),
        note,
    ]
}
