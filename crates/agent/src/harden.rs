//! What a process that holds keys does before it reads any.

use std::{fs, io};

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// No core dump, and no other process of this user may read our memory: keys
/// would be in both.
///
/// # Errors
/// What the operating system says.
pub fn forbid_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Whether memory may be written to a swap device on this machine.
#[must_use]
pub fn swap_is_on() -> bool {
    // The first line is a heading.
    fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().nth(1).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardened_process_leaves_no_core() {
        forbid_dumps().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        let now = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(now, DumpableBehavior::NotDumpable);
    }
}
