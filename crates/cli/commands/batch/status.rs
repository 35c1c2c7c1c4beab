//! `sealift batch status`: how far a batch has come, by its number or by the report that it
//! writes.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    hash::{BuildHasher, RandomState},
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use sealift_agent::{Error, Exit, admin::BatchAct};
use sealift_terms::BatchId;
use serde::Serialize;

use super::queued::show;
use crate::{
    cli::Global,
    output::{self, Outcome, bytes, counted},
};

const READING: &str = "reading the report";

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The number of a batch of replication, or the report that a batch writes, or has written
    #[arg(value_name = "ID|REPORT")]
    of: PathBuf,
}

/// What a report says: of each version the last line counts.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Standing {
    /// By result: `replicated`, `resealed`, `adopted`, `failed`, `cancelled` and what else a batch says.
    results: BTreeMap<String, Sum>,
    /// Why something failed, and how often.
    reasons: BTreeMap<String, u64>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Sum {
    objects: u64,
    /// Bytes of plaintext.
    bytes: u64,
}

/// Where the columns are.
struct Columns {
    name: [Option<usize>; 4],
    result: usize,
    size: Option<usize>,
    reason: Option<usize>,
    all: usize,
}

impl Status {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        if let Some(batch) = self.number() {
            return show(global, BatchAct::Show(batch)).await;
        }
        let file = File::open(&self.of).map_err(Error::failed(READING))?;
        let standing = read(&self.of, file)?;
        let mut parts = Vec::new();
        for (result, sum) in &standing.results {
            let objects = counted(sum.objects, "version", "versions");
            parts.push(format!("{result}: {objects}, {}", bytes(sum.bytes)));
        }
        for (reason, count) in &standing.reasons {
            parts.push(format!("  {}: {count}", output::safe(reason)));
        }
        if parts.is_empty() {
            parts.push("nothing yet".to_owned());
        }
        output::row(global.json, &standing, parts.join("\n"))?;
        Ok(match standing.results.contains_key("failed") {
            false => Exit::Done,
            true => Exit::Partly,
        })
    }

    /// The number that is meant, unless a file has it as its name.
    fn number(&self) -> Option<BatchId> {
        let number = self.of.to_str()?.parse().ok()?;
        (!self.of.exists()).then_some(number)
    }
}

/// Reads a report; its last line may not be whole yet.
fn read(path: &Path, input: impl Read) -> Result<Standing, Error> {
    let mut lines = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let head = lines.headers().map_err(Error::failed(READING))?.clone();
    let columns = Columns::of(&head).ok_or_else(|| Error::Request {
        what: "report",
        found: format!("{}, without a column `result`", path.display()),
        allowed: "what a batch writes with --report".to_owned(),
    })?;
    // Nobody outside knows their keys, so that nobody makes two names fall together.
    let hashers = [RandomState::new(), RandomState::new()];
    let mut last: HashMap<[u64; 2], (String, u64, String)> = HashMap::new();
    let mut line = csv::StringRecord::new();
    while lines
        .read_record(&mut line)
        .map_err(Error::failed(READING))?
    {
        if line.len() != columns.all {
            continue;
        }
        let field = |at: Option<usize>| at.and_then(|at| line.get(at)).unwrap_or_default();
        let name = columns.name.map(field);
        let [first, second] = &hashers;
        let place = [first.hash_one(name), second.hash_one(name)];
        let size = field(columns.size).parse().unwrap_or(0);
        let told = (
            field(Some(columns.result)).to_owned(),
            size,
            field(columns.reason).to_owned(),
        );
        last.insert(place, told);
    }
    let mut standing = Standing::default();
    for (result, size, reason) in last.into_values() {
        if result == "failed" && !reason.is_empty() {
            *standing.reasons.entry(reason).or_default() += 1;
        }
        let sum = standing.results.entry(result).or_default();
        sum.objects += 1;
        sum.bytes = sum.bytes.saturating_add(size);
    }
    Ok(standing)
}

impl Columns {
    fn of(head: &csv::StringRecord) -> Option<Self> {
        let find = |name: &str| head.iter().position(|field| field == name);
        Some(Self {
            name: ["bucket", "key", "version", "peer"].map(find),
            result: find("result")?,
            size: find("size"),
            reason: find("reason"),
            all: head.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Standing, Error> {
        read(Path::new("r.csv"), text.as_bytes())
    }

    #[test]
    fn the_last_line_of_each_counts_and_one_that_is_cut_off_says_nothing() {
        let head = "bucket,key,version,result,size,peer,reason\n";
        let lines = "b,a,v,failed,5,x,DstQuotaExceeded\nb,a,v,failed,5,y,PolicyDenied\n\
                     b,\"c, d\",v,replicated,7,x,\nb,a,v,replicated,5,x,\nb,e,v,repl";
        let standing = of(&format!("{head}{lines}")).unwrap();
        let told: Vec<_> = standing
            .results
            .iter()
            .map(|(result, sum)| (result.as_str(), sum.objects, sum.bytes))
            .collect();
        assert_eq!(told, [("failed", 1, 5), ("replicated", 2, 12)]);
        assert_eq!(standing.reasons, [("PolicyDenied".to_owned(), 1)].into());
        assert_eq!(of(head).unwrap(), Standing::default());
        assert!(of("a,b\n1,2\n").is_err());
    }
}
