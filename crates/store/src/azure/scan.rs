//! A listing of what is there, page by page, with the versions below it where those are kept.

use async_trait::async_trait;

use super::{client::AzureClient, xml::ListedBlob};
use crate::{
    StoreError,
    oldest_first::Names,
    s3::{S3Error, xml::ListedVersion},
};

const OUT_OF_ORDER: &str = "its names are not in the order of their bytes: an account with a \
                            hierarchical namespace is no source";

#[async_trait]
impl Names for AzureClient {
    type Marker = String;

    fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    async fn versions(
        &self,
        prefix: &str,
        after: Option<&String>,
        count: usize,
    ) -> Result<(Vec<ListedVersion>, Option<String>), StoreError> {
        let page = self.source_page(prefix, after.map(String::as_str), count);
        let page = page.await?;
        Ok((page.blobs.into_iter().map(listed).collect(), page.next))
    }

    fn shape(&self, what: &'static str) -> StoreError {
        self.of_container(S3Error::Shape { what })
    }

    fn out_of_order(&self) -> &'static str {
        OUT_OF_ORDER
    }
}

fn listed(blob: ListedBlob) -> ListedVersion {
    ListedVersion {
        key: blob.name,
        version: blob.version,
        is_latest: blob.is_current,
        is_marker: false,
        last_modified: blob.last_modified,
        etag: blob.etag,
        size: blob.size,
        storage_class: None,
        // When a blob was deleted nobody says.
        deleted: None,
    }
}
