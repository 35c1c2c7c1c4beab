#![no_main]
use libfuzzer_sys::fuzz_target;
fuzz_target!(|_d: &[u8]| { let _ = sealift_agent::config::SETTINGS; });
