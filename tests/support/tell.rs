//! What is to be read of a test that passes.

use std::io::Write;

/// Says one line that is seen though the test passes: what is printed otherwise is kept back.
pub(crate) fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
