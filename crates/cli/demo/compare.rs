//! Opening every replica again and comparing it with its source, byte by byte.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use sealift_agent::{
    Error,
    admin::{Client, Count, Get, Ls, ObjectRow, Piece, Request},
};
use sealift_terms::{BucketName, ObjectKey};

/// What was compared.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// Replicas that are their source, byte by byte.
    pub(crate) same: Count,
    /// What is not as it should be.
    pub(crate) findings: Vec<String>,
}

/// Compares every file below `dir` with its replica.
pub(crate) async fn compare(
    client: &Client,
    bucket: &BucketName,
    dir: &Path,
    bar: &ProgressBar,
) -> Result<Compared, Error> {
    let mut compared = Compared::default();
    let mut sources = files(dir)?;
    for row in listed(client, bucket).await? {
        let path = dir.join(row.key.as_str());
        if !sources.remove(&path) {
            compared
                .findings
                .push(format!("{}: a replica without a source", row.key));
            continue;
        }
        match same(client, bucket, &row.key, &path, bar).await {
            Ok(bytes) => {
                compared.same.objects += 1;
                compared.same.bytes += bytes;
            }
            Err(error) => compared
                .findings
                .push(format!("{}: {}", row.key, error.failure().what)),
        }
    }
    let missing = |path: PathBuf| format!("{}: a source without a replica", path.display());
    compared.findings.extend(sources.into_iter().map(missing));
    Ok(compared)
}

async fn listed(client: &Client, bucket: &BucketName) -> Result<Vec<ObjectRow>, Error> {
    let mut answers = client.ask(Request::Ls(Ls {
        bucket: Some(bucket.clone()),
        ..Ls::default()
    }));
    let mut rows = Vec::new();
    while let Some(row) = answers.next_row().await? {
        rows.push(row);
    }
    answers.finish().await?;
    Ok(rows)
}

/// Every plain file below `dir` whose name can be a key; links are not followed.
pub(crate) fn files(dir: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = std::fs::read_dir(&dir).map_err(Error::io("read", &dir))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &dir))?;
            let kind = entry.file_type().map_err(Error::io("read", &dir))?;
            match (kind.is_dir(), kind.is_file()) {
                (true, _) => open.push(entry.path()),
                (_, true) => drop(found.insert(entry.path())),
                _ => {}
            }
        }
    }
    found.retain(|path| {
        let key = path.strip_prefix(dir).ok().and_then(Path::to_str);
        key.is_some_and(|key| ObjectKey::new(key).is_ok())
    });
    Ok(found)
}

async fn same(
    client: &Client,
    bucket: &BucketName,
    key: &ObjectKey,
    path: &Path,
    bar: &ProgressBar,
) -> Result<u64, Error> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut answers = client.ask(Request::Get(Get {
        bucket: bucket.clone(),
        key: key.clone(),
        version: None,
        range: None,
    }));
    let different = |what: &str| Error::Verification {
        what: what.to_owned(),
    };
    let (mut buffer, mut at) = (Vec::new(), 0);
    while let Some(piece) = answers.next().await {
        let Piece::Bytes(replica) = piece else {
            continue;
        };
        buffer.resize(replica.len(), 0);
        file.read_exact(&mut buffer)
            .map_err(|_| different("the replica is longer"))?;
        if buffer != replica {
            return Err(different(&format!(
                "different within {} bytes from {at}",
                replica.len()
            )));
        }
        at += replica.len() as u64;
        bar.inc(replica.len() as u64);
    }
    answers.finish().await?;
    match file.read(&mut [0]).map_err(Error::io("read", path))? {
        0 => Ok(at),
        _ => Err(different("the replica is shorter")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_files_are_found_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("d/f"), "x").unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
        let found = files(dir.path()).unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [dir.path().join("d/f")]
        );
    }
}
