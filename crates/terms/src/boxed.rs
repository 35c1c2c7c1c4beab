//! What a crate does in the background for another.

use std::pin::Pin;

/// What the entrances of a crate return, behind which all of its asynchronous code lies. The
/// bodies of `async fn`s are compiled in every crate and every test that awaits them; what
/// lies behind such a box is compiled once, in its own crate.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
