//! Key records, as JSON and as files: what is read is written as it was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_keys::KeyRecord;

fuzz_target!(|bytes: &[u8]| {
    let read = [KeyRecord::parse_file(bytes), KeyRecord::from_json(bytes)];
    for record in read.into_iter().flatten() {
        let json = KeyRecord::from_json(record.to_json().as_bytes());
        assert_eq!(json.as_ref().ok(), Some(&record));
        let file = KeyRecord::parse_file(&record.encode_file());
        assert_eq!(file.as_ref().ok(), Some(&record));
    }
});
