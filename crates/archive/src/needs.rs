//! What still needs a key, or a version of one, before it is destroyed: every copy of every
//! key record is looked at, and every unfinished upload.

use std::fmt;

use sealift_keys::KeyRecord;
use sealift_terms::{Boxed, KeyId, RecordId};

use crate::{
    Archive, Result, archive::Core, limits::PAGE_ROWS, listing::Listing, records::RECORDS,
};

/// What still needs a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Key records in the catalog that it wraps.
    pub records: u64,
    /// Versions and marks under them.
    pub objects: u64,
    /// Copies of key records in the store that it wraps.
    pub copies: u64,
    /// Copies of key records that cannot be read and that the catalog does not know: it
    /// may wrap them.
    pub unreadable: u64,
    /// Unfinished uploads under such records.
    pub uploads: u64,
}

impl Needs {
    /// Whether nothing needs it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} objects, {} key records in the catalog, {} copies of key records in the store",
            self.objects, self.records, self.copies
        )?;
        if self.unreadable > 0 {
            write!(f, ", {} copies that cannot be read", self.unreadable)?;
        }
        if self.uploads > 0 {
            write!(f, ", {} unfinished uploads", self.uploads)?;
        }
        Ok(())
    }
}

/// The key that is asked for.
struct Wanted<'a> {
    cmk: &'a KeyId,
    version: Option<&'a str>,
}

impl Wanted<'_> {
    fn is(&self, cmk: &KeyId, version: &str) -> bool {
        self.cmk == cmk && self.version.is_none_or(|wanted| wanted == version)
    }
}

impl Archive {
    /// Looks for everything that needs a key, or one version of it.
    ///
    /// # Errors
    /// What catalog and store say: then it is not known, and nothing may be destroyed.
    pub fn needs<'a>(
        &'a self,
        cmk: &'a KeyId,
        version: Option<&'a str>,
    ) -> Boxed<'a, Result<Needs>> {
        Box::pin(async move {
            let wanted = Wanted { cmk, version };
            let mut needs = Needs::default();
            for used in self.core.catalog.key_use().await? {
                if wanted.is(&used.cmk, &used.cmk_version) {
                    needs.records += used.records;
                    needs.objects += used.objects;
                }
            }
            self.core.count_copies(&wanted, &mut needs).await?;
            self.core.count_uploads(&wanted, &mut needs).await?;
            Ok(needs)
        })
    }
}

impl Core {
    async fn count_copies(&self, wanted: &Wanted<'_>, needs: &mut Needs) -> Result<()> {
        let mut files = Listing::new(&*self.store, &[RECORDS]);
        while let Some(entry) = files.next().await? {
            let name = entry.name.as_str();
            let id = name.strip_prefix(RECORDS);
            let id = id.and_then(|name| name.strip_suffix(".json"));
            let id = id.and_then(|id| id.parse::<RecordId>().ok());
            let record = match id {
                Some(id) => self.stored_record(id).await.ok(),
                None => None,
            };
            match (record, id) {
                (Some(record), _) => needs.copies += u64::from(wraps(wanted, &record)),
                // The catalog's copy has spoken for it.
                (None, Some(id)) if self.catalog.record(id).await?.is_some() => {}
                (None, _) => needs.unreadable += 1,
            }
        }
        Ok(())
    }

    async fn count_uploads(&self, wanted: &Wanted<'_>, needs: &mut Needs) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.catalog.uploads(after, PAGE_ROWS).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.uid);
            for upload in page {
                // The outer layer's, too.
                let mut is_wanted = false;
                for id in [upload.record].into_iter().chain(upload.second_record) {
                    let record = self.catalog.record(id).await?;
                    is_wanted |= record.is_none_or(|row| wanted.is(&row.cmk, &row.cmk_version));
                }
                needs.uploads += u64::from(is_wanted);
            }
        }
    }
}

fn wraps(wanted: &Wanted<'_>, record: &KeyRecord) -> bool {
    wanted.is(&record.cmk, &record.cmk_version)
}
