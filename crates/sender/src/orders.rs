//! Orders: the hybrid logical clock and the change number of this site.

use std::sync::Arc;

use parking_lot::Mutex;
use sealift_ledger::{HighWater, Journal};
use sealift_terms::{Clock, Order, Region, order::next_clock};

use crate::SenderError;

/// Gives every change of this site an order above all it gave before, restarts
/// included: the journal remembers the highest that was recorded.
#[derive(Debug)]
pub struct Orders {
    region: Region,
    clock: Arc<dyn Clock>,
    last: Mutex<HighWater>,
}

impl Orders {
    /// Goes on where the journal ends.
    ///
    /// # Errors
    /// What the journal says.
    pub async fn load(
        journal: &dyn Journal,
        region: Region,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SenderError> {
        let last = Mutex::new(journal.high_water().await?);
        Ok(Self {
            region,
            clock,
            last,
        })
    }

    /// The region in which changes are made.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The next order.
    #[must_use]
    pub fn next(&self) -> Order {
        let mut last = self.last.lock();
        last.clock = next_clock(last.clock, self.clock.now());
        last.change += 1;
        Order {
            clock: last.clock,
            region: self.region.clone(),
            change: last.change,
        }
    }
}
