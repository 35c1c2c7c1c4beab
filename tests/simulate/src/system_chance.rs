//! What libraries draw from the system on their own account: the seeds of hash
//! maps, and of the order in which `tokio::select!` looks at its branches. Both
//! decide what happens next, so a run that is to be the same again must draw the
//! same. The standard library takes them from the C library's `getrandom`, and so
//! that another can be put in its place ("A weak symbol allows interposition" in
//! its sources).

#![allow(
    unsafe_code,
    reason = "the one way to reach what the standard library draws"
)]

use std::{
    ffi::{c_uint, c_void},
    sync::atomic::{AtomicU64, Ordering},
};

static DRAWN: AtomicU64 = AtomicU64::new(0);

/// In the place of the system's: the same bytes in every process.
///
/// # Safety
/// As the system's: `length` bytes at `buffer` can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    for at in 0..length {
        let number = DRAWN.fetch_add(1, Ordering::Relaxed);
        let byte = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        // SAFETY: within the buffer that the caller gave.
        unsafe { buffer.cast::<u8>().add(at).write(byte) };
    }
    length.cast_signed()
}

/// Whether what is above is what the standard library draws from.
pub(crate) fn is_in_place() -> bool {
    let before = DRAWN.load(Ordering::Relaxed);
    std::thread::spawn(|| drop(std::hash::RandomState::new()))
        .join()
        .is_ok()
        && DRAWN.load(Ordering::Relaxed) > before
}
