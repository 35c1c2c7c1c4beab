//! Packs, read without a catalog: every byte is in an entry or reported, and the
//! two readers agree on which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_fuzz::seal;

fuzz_target!(|bytes: &[u8]| {
    seal::compare_scans(bytes, false);
    seal::compare_scans(bytes, true);
});
