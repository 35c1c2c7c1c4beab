//! The files of a store in the order of their names, one page in memory.

use std::collections::VecDeque;

use sealift_store::{Store, StoreEntry, StoreName};

use crate::{Result, limits::PAGE_FILES};

/// Goes through what lies below one prefix after the other.
pub(crate) struct Listing<'a> {
    store: &'a dyn Store,
    /// Ascending, so that all of it is in order.
    prefixes: &'static [&'static str],
    after: Option<StoreName>,
    page: VecDeque<StoreEntry>,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(store: &'a dyn Store, prefixes: &'static [&'static str]) -> Self {
        Self {
            store,
            prefixes,
            after: None,
            page: VecDeque::new(),
        }
    }

    /// The next file, left where it is.
    pub(crate) async fn peek(&mut self) -> Result<Option<&StoreEntry>> {
        while self.page.is_empty()
            && let Some((prefix, later)) = self.prefixes.split_first()
        {
            let page = self.store.list(prefix, self.after.as_ref(), PAGE_FILES);
            self.page = page.await?.into();
            match self.page.back() {
                Some(last) => self.after = Some(last.name.clone()),
                None => (self.prefixes, self.after) = (later, None),
            }
        }
        Ok(self.page.front())
    }

    pub(crate) async fn next(&mut self) -> Result<Option<StoreEntry>> {
        self.peek().await?;
        Ok(self.page.pop_front())
    }

    /// The next file if `wanted` says so of its name.
    pub(crate) async fn next_if(
        &mut self,
        wanted: impl FnOnce(&str) -> bool,
    ) -> Result<Option<StoreEntry>> {
        match self.peek().await? {
            Some(entry) if wanted(entry.name.as_str()) => Ok(self.page.pop_front()),
            _ => Ok(None),
        }
    }
}
