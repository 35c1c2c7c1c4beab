//! Sealed objects under a fixed key: as they come, and with right tags around
//! fields that no honest sealer writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_fuzz::{script::Script, seal};

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    match script.byte() {
        Some(0) => seal::compare(script.0),
        Some(kind @ (1 | 3)) => {
            let fields = script.byte().unwrap_or_default();
            let fields = script.bytes(usize::from(fields));
            let layers = if kind == 1 { 1 } else { 2 };
            seal::compare(&seal::forge(layers, fields, script.0));
        }
        Some(_) => seal::compare(&seal::forge(1, &[], &seal::meta_of(script.0))),
        None => {}
    }
});
