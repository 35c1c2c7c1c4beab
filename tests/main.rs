//! One binary for all integration tests. A test that needs more than this
//! workspace is ignored with what it needs; `cargo xtask test` installs that and
//! runs it.

mod tidy;
