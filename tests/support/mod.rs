//! What the tests of the running program stand on.

mod agent;
mod audit;
mod azurite;
mod certificate;
mod content;
mod databases;
mod image;
mod intruder;
mod issuing;
mod moto;
mod network;
mod pair;
mod parrot;
mod pebble;
mod plaintext;
mod program;
mod proxy;
mod rogue;
mod room;
mod s3;
mod sealed;
mod site;
mod stranger;
mod tell;
mod wait;

pub(crate) use audit::AuditLeaf;
pub(crate) use azurite::{ACCOUNT, Azurite, KEY};
pub(crate) use certificate::BACKDATED;
pub(crate) use content::{Content, files_below, mix, write_file};
pub(crate) use databases::{Postgres, Redis};
pub(crate) use image::{Image, Mount};
pub(crate) use intruder::{Intruder, Openssl};
pub(crate) use issuing::{
    announce, forget_site, init, init_again, renewed_by_b, serial, step, token, token_for,
    with_issuer,
};
pub(crate) use moto::Moto;
pub(crate) use network::Network;
pub(crate) use pair::{BUCKET, Pair, authority, free_address};
pub(crate) use parrot::parrot;
pub(crate) use pebble::Pebble;
pub(crate) use plaintext::Plaintext;
pub(crate) use program::{
    Ran, program, run, run_as, run_in_time, run_program, run_program_in_time, text,
};
pub(crate) use proxy::Proxy;
pub(crate) use rogue::{Rogue, RogueLink, bare};
pub(crate) use room::{Turn, roomy_dir};
pub(crate) use s3::{Answered, S3, read_answer};
pub(crate) use sealed::{flip, resting};
pub(crate) use site::Site;
pub(crate) use stranger::Stranger;
pub(crate) use tell::tell;
pub(crate) use wait::{wait_for, wait_until};

/// A part of an object, by default.
pub(crate) const PART: u64 = 8 << 20;
/// A chunk of a part.
pub(crate) const CHUNK: u64 = 16 << 10;
/// The largest object that rests in a pack.
pub(crate) const PACKED: u64 = 1 << 20;
