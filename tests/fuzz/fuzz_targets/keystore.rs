//! Keystore files: as they come, and with a body that was sealed under the root key.
#![no_main]

use std::{path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use sealift_fuzz::{
    fixed::{CountingRng, OneFile, StoppedClock},
    script::Script,
};
use sealift_keys::{LocalKeystore, RootSecret, Xaes256Gcm};

const HEAD: &str = r#"{"format":"sealift-keystore","version":1,"root":{"kind":"key"}}"#;

fuzz_target!(|bytes: &[u8]| {
    // A fresh generator begins at zero: the root key is the bytes 0 to 31.
    let secret = RootSecret::generate(&CountingRng::default());
    let mut script = Script(bytes);
    let file = match script.byte() {
        Some(0) => script.0.to_vec(),
        Some(_) => {
            let root: [u8; 32] = std::array::from_fn(|at| at as u8);
            let rng = CountingRng::default();
            let body = Xaes256Gcm::new(&root).seal(&rng, HEAD.as_bytes(), script.0);
            let head = HEAD.trim_end_matches('}');
            format!("{head}}},\"body\":\"{}\"}}\n", STANDARD.encode(body)).into_bytes()
        }
        None => return,
    };
    let file_bytes = file.len();
    let keystore = LocalKeystore::open(
        Arc::new(OneFile(file)),
        Arc::new(StoppedClock),
        Arc::new(CountingRng::default()),
        Path::new("keystore"),
        secret,
    );
    if let Ok(keystore) = keystore {
        assert!(keystore.without_backup().len() <= keystore.list().len() * file_bytes);
    }
});
