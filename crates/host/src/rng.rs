//! The system's random generator.

use ring::rand::{SecureRandom, SystemRandom};
use sealift_terms::Rng;

/// The operating system's generator (`getrandom`): reseeded by the kernel, also
/// after a fork of the machine where the kernel is told of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRng;

impl Rng for OsRng {
    fn fill(&self, bytes: &mut [u8]) {
        if SystemRandom::new().fill(bytes).is_err() {
            // Going on would seal with predictable keys and salts.
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let (mut a, mut b) = ([0; 32], [0; 32]);
        OsRng.fill(&mut a);
        OsRng.fill(&mut b);
        assert_ne!(a, b);
    }
}
