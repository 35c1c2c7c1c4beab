//! What is wrong with a service, as a test says.

use std::time::Duration;

/// What a service does in place of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing is wrong.
    #[default]
    None,
    /// Every call is answered with: too many.
    Throttled,
    /// So many calls are, and then no more.
    ThrottledFor(u32),
    /// One call of so many is.
    ThrottledEach(u32),
    /// Every call is answered with: not allowed.
    Denied,
    /// It answers that it does not work.
    Broken,
    /// It closes connections without a word.
    Unreachable,
    /// It takes so long for every answer.
    Slow(Duration),
    /// It does what is asked, and takes so long to say so.
    Late(Duration),
    /// It takes calls and never answers them: not later, either.
    Silent,
}
