//! Denials that are repeated: on record once a minute each, so that whoever asks on and on
//! does not fill the audit log.

use std::{collections::HashMap, time::Duration};

use sealift_terms::Timestamp;

/// The same denial goes on record once in this time.
const RECORDED_EVERY: Duration = Duration::from_secs(60);
/// Denials that are remembered for that; of more each goes on record.
const DENIALS_MAX: usize = 1024;

/// When each denial, in its words, last went on record.
#[derive(Debug, Default)]
pub struct Denials(HashMap<String, Timestamp>);

impl Denials {
    /// Whether a denial is to go on record now.
    pub fn is_due(&mut self, decision: &str, now: Timestamp) -> bool {
        let recent = |at: &Timestamp| now.since(*at) < RECORDED_EVERY;
        if self.0.get(decision).is_some_and(recent) {
            return false;
        }
        self.0.retain(|_, at| recent(at));
        if self.0.len() < DENIALS_MAX {
            self.0.insert(decision.to_owned(), now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_due_once_a_minute_and_so_many_are_remembered() {
        let at = Timestamp::from_secs;
        let mut denials = Denials::default();
        assert!(denials.is_due("a", at(0)) && denials.is_due("b", at(1)));
        assert!(!denials.is_due("a", at(59)) && denials.is_due("a", at(60)));
        for n in 0..2 * DENIALS_MAX {
            assert!(denials.is_due(&format!("many {n}"), at(61)));
        }
        assert_eq!(denials.0.len(), DENIALS_MAX);
    }
}
