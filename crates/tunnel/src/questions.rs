//! What a peer asks outside of any offer, and who answers.

use async_trait::async_trait;

use crate::Binding;

/// Answers what a peer asks, whichever of the two sends.
#[async_trait]
pub trait Questions: Send + Sync {
    /// The answer; empty when the question is not understood. `binding` is there when it
    /// came over a control link by which keys may go.
    async fn answer(&self, question: &[u8], binding: Option<&Binding>) -> Vec<u8>;
}

/// Answers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAnswers;

#[async_trait]
impl Questions for NoAnswers {
    async fn answer(&self, _question: &[u8], _binding: Option<&Binding>) -> Vec<u8> {
        Vec::new()
    }
}
