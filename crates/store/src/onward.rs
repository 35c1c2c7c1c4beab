//! Markers of a listing that goes on page by page.
//!
//! A service that tells one twice, or page after page in which nothing stands, would be asked for
//! ever. That is an error, and never the end of the listing: whoever compares it would take what
//! it did not reach for gone.

use sealift_terms::limits::LISTED_EMPTY_MAX;

/// What is known of the markers that came. Not all of them: the last one, and another one that is
/// replaced after twice as many pages each time, which a listing that goes in a circle meets (R. P.
/// Brent, "An improved Monte Carlo factorization algorithm", 1980).
#[derive(Debug)]
pub(crate) struct Onward<M> {
    last: Option<M>,
    held: Option<M>,
    pages: u64,
    /// Empty pages in a row.
    empty: usize,
}

impl<M> Default for Onward<M> {
    fn default() -> Self {
        Self {
            last: None,
            held: None,
            pages: 0,
            empty: 0,
        }
    }
}

impl<M: PartialEq + Clone> Onward<M> {
    /// Takes the marker that the next page is behind, told by one that is empty or not; or says
    /// what is wrong with it.
    pub(crate) fn take(&mut self, next: &M, is_empty: bool) -> Result<(), &'static str> {
        self.empty = if is_empty { self.empty + 1 } else { 0 };
        if self.empty > LISTED_EMPTY_MAX {
            return Err("page after page of it is empty");
        }
        if self.last.as_ref() == Some(next) || self.held.as_ref() == Some(next) {
            return Err("its next page begins where an earlier one did");
        }
        self.pages += 1;
        self.last = Some(next.clone());
        if self.pages.is_power_of_two() {
            self.held = Some(next.clone());
        }
        Ok(())
    }

    /// The last one that was taken.
    pub(crate) fn last(&self) -> Option<&M> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(markers: impl Iterator<Item = u64>, is_empty: bool) -> usize {
        let mut onward = Onward::default();
        let taken = markers.map(|marker| onward.take(&marker, is_empty));
        taken.take_while(Result::is_ok).count()
    }

    #[test]
    fn a_marker_that_comes_again_at_once_is_refused_at_once() {
        assert_eq!(pages([1, 2, 2].into_iter(), false), 2);
        assert_eq!(pages(0..100_000, false), 100_000);
    }

    #[test]
    fn whoever_goes_in_a_circle_is_found_whatever_it_begins_with_and_how_long_it_is() {
        for (before, long) in [(0, 2), (5, 3), (100, 7), (3, 1000)] {
            let circle = (0..before).chain((0..).map(|n| before + n % long));
            let found = pages(circle.take(1_000_000), false) as u64;
            assert!(found <= 4 * (before + long), "{before} {long}: {found}");
        }
    }

    #[test]
    fn so_many_pages_may_be_empty_and_no_more() {
        assert_eq!(pages(0..100_000, true), LISTED_EMPTY_MAX);
    }
}
