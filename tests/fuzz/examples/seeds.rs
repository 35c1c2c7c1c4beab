//! Writes the first inputs that are not text to `corpus/`: honest ones, from which
//! a fuzzer goes on. `cargo run --release --example seeds` in this directory; the
//! files with certificates come out new every time, the others as they are.

use std::{collections::BTreeMap, error::Error, fs, path::Path, time::Duration};

use sealift_fuzz::{
    fixed::{CountingRng, StoppedClock},
    script, seal,
};
use sealift_identity::{LeafRequest, RootAuthority};
use sealift_seal::{Header, Keys, Meta, ObjectSealer, RecordKey};
use sealift_terms::{
    Epoch, ForwardName, ObjectFacts, ObjectUid, PartSize, RecordId, Region, SessionId, SiteId, Timestamp,
};
use sealift_wire::{
    Carries, FrameType, Header as FrameHeader, Hello, Limits, LinkId, Packer, Parts, ReceiveEvent,
    forward::{Open, Position, Say, Token},
    ReceiveSession, Role, SendEvent, SendSession, Work,
};

const RECORD: &str = r#"{"id":"01010101010101010101010101010101","kind":"bucket","bucket":"b","region":"eu-west","provider":"local","cmk":"key-1","cmk_version":"1","wrapped":"AQID","created":"1970-01-01T00:00:00Z"}"#;
const META: &str = r#"{"bucket":"b","checksum":{"algorithm":"crc64nvme","value":"AAAAAAAAAAE="},"key":"k","mark":"tags","order":{"change":1,"clock":2,"region":"a"},"sealed_at":"2026-11-23T15:04:05Z","sequence":18446744073709551615,"size":0,"tags":{"a":"b"},"version":"v"}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut seeds = BTreeMap::<(&str, &str), Vec<u8>>::new();
    let object = sealed(None)?;
    seeds.insert(("seal", "object"), [&[0], object.as_slice()].concat());
    let in_two = sealed(Some(RecordId([6; 16])))?;
    seeds.insert(("seal", "object-in-two-layers"), [&[0], in_two.as_slice()].concat());
    let forged = [&[3, 0], seal::meta_of(META.as_bytes()).as_slice()].concat();
    seeds.insert(("seal", "forged-in-two-layers"), forged);
    let meta = [&[1, 0], seal::meta_of(META.as_bytes()).as_slice()].concat();
    seeds.insert(("seal", "forged"), meta);
    seeds.insert(("seal", "meta"), [&[2], META.as_bytes()].concat());
    seeds.insert(("pack", "pack"), packed(&object)?);
    compressed(&mut seeds)?;
    seeds.insert(("forward", "stream"), forwarded(true));
    seeds.insert(("forward", "moved"), forwarded(false));
    identities(&mut seeds)?;
    sessions(&mut seeds)?;
    for ((target, name), bytes) in seeds {
        let folder = Path::new("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

/// A frame of text, and one that holds more than it says.
fn compressed(seeds: &mut BTreeMap<(&str, &str), Vec<u8>>) -> Result<(), Box<dyn Error>> {
    let mut packer = Packer::new().ok_or("no memory")?;
    let mut text = Vec::new();
    packer.pack(&META.as_bytes().repeat(4), &mut text);
    let mut bomb = Vec::new();
    packer.pack(&[0; 100_000], &mut bomb);
    bomb.splice(..4, 1000_u32.to_be_bytes());
    seeds.insert(("packed", "text"), text);
    seeds.insert(("packed", "bomb"), bomb);
    Ok(())
}

/// A whole object, as sealift seals it: in two layers, if there is a second record.
fn sealed(second: Option<RecordId>) -> Result<Vec<u8>, Box<dyn Error>> {
    let header = Header {
        part_size: PartSize::MIN,
        uid: ObjectUid([9; 16]),
        record: RecordId([5; 16]),
        second,
    };
    let (inner, outer) = (RecordKey::new([7; 32]), RecordKey::new([8; 32]));
    let keys = match second {
        None => Keys::one(&inner),
        Some(_) => Keys::two(&inner, &outer),
    };
    let (offer, _) = script::offer(1, 17, 0);
    let facts = ObjectFacts {
        size: 17,
        ..ObjectFacts::default()
    };
    let meta = Meta::new(offer.change.name, facts);
    let mut sealed = Vec::new();
    let rng = CountingRng::default();
    ObjectSealer::new(keys, header)?.seal_whole(&meta, &[1; 17], &rng, &mut sealed)?;
    Ok(sealed)
}

/// A stream as one end sees it: linked, bytes both ways, both ends; in one the link is
/// lost in between.
fn forwarded(on_one_link: bool) -> Vec<u8> {
    let number = |number: u32| number.to_be_bytes();
    let mut script = number(65_536).to_vec();
    let linked = |script: &mut Vec<u8>, received| {
        script.push(4);
        script.extend(number(received));
        script.extend(number(65_536));
    };
    linked(&mut script, 0);
    script.push(0);
    script.extend(number(1000));
    script.push(3);
    let data = Say::Data {
        position: 0,
        length: 5,
    };
    script.push(6);
    script.extend(data.header().encode());
    script.extend(b"bytes");
    if !on_one_link {
        linked(&mut script, 700);
    }
    let ack = FrameHeader {
        offset: 65_536,
        ..FrameHeader::of(FrameType::Ack, if on_one_link { 1000 } else { 700 }, 0)
    };
    for frame in [ack, Say::End { position: 5 }.header()] {
        script.push(6);
        script.extend(frame.encode());
    }
    script.push(2);
    script.extend(number(5));
    script.extend([1, 3, 5]);
    let token = Token([3; 16]);
    let (received, window) = (0, 65_536);
    let open = Open {
        target: ForwardName::new("postgres").unwrap(),
        token,
        is_new: on_one_link,
        position: Position { received, window },
    };
    script.push(7);
    open.append_to(&mut script);
    script
}

/// A pack of an object, a record, and a stretch of damage between them.
fn packed(object: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    use sealift_seal::pack::{EntryKind, PACK_HEADER, append_entry};
    let mut pack = PACK_HEADER.to_vec();
    for (kind, body) in [
        (EntryKind::Object, object),
        (EntryKind::Record, RECORD.as_bytes()),
    ] {
        append_entry(&mut pack, kind, |out| {
            out.extend(body);
            Ok(())
        })?;
        pack.extend(b"SLPE\x01");
    }
    Ok(pack)
}

fn identities(
    seeds: &mut BTreeMap<(&'static str, &'static str), Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    let (clock, rng) = (StoppedClock, CountingRng::default());
    let root = RootAuthority::generate("example.org", &clock, &rng)?;
    let issuing = root.issuing(&Region::new("a")?, &clock, &rng)?;
    let name = "spiffe://example.org/region/a/agent/a1";
    let request = LeafRequest {
        life: Duration::from_secs(3600),
        ..LeafRequest::new(name.parse()?)
    };
    let issued = issuing.issue(&request, &clock, &rng)?;
    let leaf = issued.chain_pem.split("-----").nth(2).unwrap_or_default();
    let leaf: String = leaf.split_whitespace().collect();
    let leaf = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, leaf)?;
    let bundle = root.bundle(1)?.to_json();
    let pem = root.certificate_pem();
    for (seed, kind, bytes) in [
        ("leaf", 0, leaf.as_slice()),
        ("bundle", 1, bundle.as_bytes()),
        ("roots", 1, pem.as_bytes()),
        ("name", 3, name.as_bytes()),
    ] {
        seeds.insert(("identity", seed), [&[kind], bytes].concat());
    }
    Ok(())
}

/// Two honest sessions over one link: what each hears becomes the other's seed.
fn sessions(
    seeds: &mut BTreeMap<(&'static str, &'static str), Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    const LINK: LinkId = LinkId(1);
    let mut sender = SendSession::new(Limits::default());
    let mut receiver = ReceiveSession::new(Limits::default());
    sender.linked(LINK, Carries::Data);
    receiver.linked(LINK, Carries::Data);
    // Action 0 on link 1 is a frame, 6 an offer, 7 an acceptance or a turn.
    let (mut to_receiver, mut to_sender) = (Vec::new(), Vec::new());
    for (number, size, how) in [(1_u8, 100_352_u64, 0_u8), (2, 2048, 1), (3, 0, 4)] {
        let (offer, how_to) = script::offer(number, size, how);
        sender.offer(offer, how_to);
        to_sender.extend([0x16, (size / 2048) as u8, how]);
    }
    for _ in 0..12 {
        let mut out = Vec::new();
        let work = sender.next(LINK, &mut out);
        to_sender.push(0x17);
        if let Some(Work::Part {
            offer, part, range, ..
        }) = work
        {
            let bytes = (range.end - range.start) as u32;
            out.extend(FrameHeader::data(offer, part, 0, bytes).encode());
            sender.part_sent(LINK, offer, part, 0, &mut out);
            to_sender.extend([0x18, offer.0 as u8, part.0 as u8]);
        }
        for (header, payload) in script::frames_in(&out) {
            to_receiver.push(0x10);
            script::write_frame(&mut to_receiver, &header, &payload);
            if header.frame == FrameType::Data {
                receiver.data(LINK, &header, 0, header.length)?;
            } else {
                receiver.frame(LINK, &header, &payload)?;
            }
            seeds.insert(
                ("frames", header.frame.as_str()),
                [header.encode().as_slice(), &payload].concat(),
            );
        }
        while let Some(event) = receiver.next_event() {
            answer(&mut receiver, event, &mut to_receiver);
        }
        let mut out = Vec::new();
        receiver.take(LINK, &mut out);
        for (header, payload) in script::frames_in(&out) {
            to_sender.push(0x10);
            script::write_frame(&mut to_sender, &header, &payload);
            sender.frame(LINK, &header, &payload)?;
            seeds.insert(
                ("frames", header.frame.as_str()),
                [header.encode().as_slice(), &payload].concat(),
            );
        }
        while let Some(event) = sender.next_event() {
            if let SendEvent::AllSent { offer, checksum } = event {
                sender.commit(offer, &checksum);
            }
        }
    }
    seeds.insert(("frames", "HELLO"), hello()?);
    seeds.insert(("receiving", "session"), to_receiver);
    seeds.insert(("sending", "session"), to_sender);
    Ok(())
}

/// What an honest driver does, as steps of the script too.
fn answer(receiver: &mut ReceiveSession, event: ReceiveEvent, steps: &mut Vec<u8>) {
    match event {
        ReceiveEvent::Offered {
            offer,
            what,
            inline: false,
        } => {
            if let Some(parts) = Parts::none_of(what.bytes(), what.part_size) {
                receiver.accept(offer, parts, 255 * 8192);
                steps.extend([0x17, offer.0 as u8, 255]);
            }
        }
        ReceiveEvent::PartEnd { offer, part, .. } => {
            receiver.stored(offer, part);
            steps.extend([0x19, offer.0 as u8, part.0 as u8]);
        }
        ReceiveEvent::Commit { offer, .. } | ReceiveEvent::InlineEnd { offer } => {
            receiver.receipt(offer, script::receipt(offer.0 as u8));
            steps.extend([0x1b, offer.0 as u8]);
        }
        _ => {}
    }
}

fn hello() -> Result<Vec<u8>, Box<dyn Error>> {
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        session: SessionId([1; 16]),
        link: 0,
        role: Role::Send,
        site: SiteId([2; 16]),
        site_name: "b1".parse()?,
        region: Region::new("b")?,
        epoch: Epoch([3; 16]),
        commit_sequence: 4,
        clock: Timestamp::from_millis(5),
        software: "sealift/0.1.0".into(),
        limits: Limits::default(),
        policy: None,
        remembered: None,
        decompresses: None,
        cuts: None,
        key_exchange: None,
    };
    let mut out = Vec::new();
    hello.append_to(&mut out);
    Ok(out)
}
