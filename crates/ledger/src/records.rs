//! The key records of what the catalog's rows name: one, or one for each layer.

use sealift_terms::RecordIds;

use crate::{MarkRow, NewMark, NewVersion, UploadRow, VersionRow};

macro_rules! sealed_under_records {
    ($($row:ty),+) => {
        $(impl $row {
            /// The key record of each layer.
            #[must_use]
            pub fn records(&self) -> RecordIds {
                let (first, second) = (self.record, self.second_record);
                RecordIds { first, second }
            }
        })+
    };
}

sealed_under_records!(NewVersion, NewMark, VersionRow, UploadRow, MarkRow);
