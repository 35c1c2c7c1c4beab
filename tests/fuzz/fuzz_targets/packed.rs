//! Compressed bytes of a part: whatever is in them, they become no longer than they
//! announce, and what is packed here comes out again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_terms::limits::FRAME_BYTES_MAX;
use sealift_wire::{Packer, Unpacker, announced};

fuzz_target!(|bytes: &[u8]| {
    let mut out = Vec::new();
    let mut unpacker = Unpacker::new().expect("memory");
    let unpacked = unpacker.unpack(bytes, &mut out);
    match announced(bytes) {
        Ok(length) => {
            assert!((1..=FRAME_BYTES_MAX).contains(&length));
            assert!(out.len() <= length as usize);
            assert!(unpacked.is_err() || out.len() == length as usize);
        }
        Err(_) => assert!(unpacked.is_err() && out.is_empty()),
    }
    let mut packed = Vec::new();
    if Packer::new().expect("memory").pack(bytes, &mut packed) {
        assert!(packed.len() < bytes.len());
        // One decompressor takes frame after frame, bad ones between.
        unpacker.unpack(&packed, &mut out).expect("it was packed here");
        assert_eq!(out, bytes);
    }
});
