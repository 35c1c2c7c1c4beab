//! `sealift explain`.

use clap::Args;
use sealift_agent::{
    Error, Exit,
    admin::{Explanation, Named, Request},
};

use super::{ask, object::object, rows};
use crate::{
    cli::Global,
    output::{self, Outcome},
};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// BUCKET/KEY
    object: String,
}

impl Explain {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let (bucket, key) = object(&self.object)?;
        let request = Request::Explain(Named {
            bucket,
            key,
            version: None,
            facts: false,
        });
        let (_site, answers) = ask(global, request).await?;
        let mut seen = 0;
        rows(answers, |row: Explanation| {
            seen += 1;
            output::row(global.json, &row, told(&row))
        })
        .await?;
        match seen {
            0 => {
                let what = format!("object {}", output::safe(&self.object));
                Err(Error::NotFound { what }.into())
            }
            _ => Ok(Exit::Done),
        }
    }
}

fn told(row: &Explanation) -> String {
    let object = &row.object;
    let mut lines = vec![
        format!(
            "object    {}/{}",
            object.bucket,
            output::safe(object.key.as_str())
        ),
        format!("version   {}", object.version),
        format!("status    {}", object.status),
    ];
    let mut add = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name:<9} {}", output::safe(&value))));
    };
    add("peer", object.peer.as_ref().map(ToString::to_string));
    add("rule", row.rule.as_ref().map(ToString::to_string));
    add("reason", object.reason.map(|reason| reason.to_string()));
    add("evidence", row.evidence.clone());
    add("tries", (row.tries > 0).then(|| row.tries.to_string()));
    add("next try", row.next_try.map(|time| time.to_string()));
    add("to do", row.remedy.clone());
    lines.push(String::new());
    lines.join("\n")
}
