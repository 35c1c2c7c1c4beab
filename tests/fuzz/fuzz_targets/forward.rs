//! One end of a forwarded stream, whatever the peer sends, the application does and the
//! links suffer: it never holds more than allowed, and never sends what it may not.
//!
//! The bytes are a script. A step is one byte and what it needs: bytes of frames come
//! as they would over a link.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sealift_terms::limits::FORWARD_WINDOW_BYTES_MAX;
use sealift_wire::{
    FRAME_HEADER_BYTES, FrameType, Header,
    forward::{Position, Say, Stream, closed, opened, read_open, read_opened, refused},
};

fuzz_target!(|bytes: &[u8]| {
    let mut script = bytes;
    let window = number(&mut script) as u32;
    let mut end = End::new(window);
    while let Some((step, rest)) = script.split_first() {
        script = rest;
        match step % 8 {
            0 => end.takes(number(&mut script)),
            1 => end.stream.ended(),
            2 => end.delivers(number(&mut script)),
            3 => end.says(),
            4 => end.is_linked(number(&mut script), number(&mut script) as u32),
            5 => end.grows(),
            _ => {
                if !end.hears(&mut script) {
                    return;
                }
            }
        }
        end.check();
    }
});

/// An end, and what it was let do.
struct End {
    stream: Stream,
    /// How far the peer let us send, and how far we let the peer.
    limit: u64,
    told: u64,
    sent: u64,
    acked: u64,
    came: u64,
}

impl End {
    fn new(window: u32) -> Self {
        let mut stream = Stream::new(window);
        let told = u64::from(stream.position().window);
        Self {
            stream,
            limit: 0,
            told,
            sent: 0,
            acked: 0,
            came: 0,
        }
    }

    fn takes(&mut self, bytes: u64) {
        let count = self.stream.room().min(bytes as usize);
        self.stream.took(count);
    }

    fn delivers(&mut self, bytes: u64) {
        let count = self.stream.waiting().min(bytes as usize);
        self.stream.delivered(count);
        if self.stream.owes_end() {
            self.stream.end_delivered();
        }
    }

    fn says(&mut self) {
        if let Some(ack) = self.stream.ack(false) {
            self.tell(ack.number, ack.offset);
        }
        while let Some(say) = self.stream.say(u32::MAX) {
            match say {
                Say::Data { position, length } => {
                    assert_eq!(position, self.sent);
                    assert!(length > 0);
                    self.sent += u64::from(length);
                    assert!(self.sent <= self.limit, "beyond what the peer allows");
                }
                Say::End { position } => {
                    assert_eq!(position, self.sent);
                    self.sent += 1;
                }
            }
        }
    }

    fn tell(&mut self, received: u64, window: u32) {
        assert!(window <= FORWARD_WINDOW_BYTES_MAX);
        let told = received + u64::from(window);
        assert!(told + 1 >= self.told, "less than was promised");
        self.told = self.told.max(told);
    }

    fn is_linked(&mut self, received: u64, window: u32) {
        let Position { received: own, window: ours } = self.stream.position();
        self.tell(own, ours);
        let window = window.min(FORWARD_WINDOW_BYTES_MAX);
        let theirs = Position { received, window };
        if self.stream.attach(theirs).is_ok() {
            assert!(received >= self.acked && received <= self.stream.moved().0 + 1);
            (self.acked, self.sent) = (received, received);
            self.limit = received + u64::from(window);
        }
    }

    fn grows(&mut self) {
        let (kept, window) = self.stream.sizes();
        if self.stream.wants_to_keep_more() {
            self.stream.keep_more(kept.saturating_mul(2));
        }
        if self.stream.wants_larger_window() {
            self.stream.enlarge_window(window.saturating_mul(2));
        }
    }

    /// A frame as it comes; whether the stream goes on.
    fn hears(&mut self, script: &mut &[u8]) -> bool {
        let Ok(header) = Header::decode(script) else {
            return false;
        };
        let payload = &script[FRAME_HEADER_BYTES..];
        let length = payload.len().min(header.length as usize);
        let (payload, rest) = payload.split_at(length);
        *script = rest;
        match header.frame {
            FrameType::Data => self.data(&header),
            FrameType::Open => drop(read_open(payload).inspect(|open| {
                let mut out = Vec::new();
                open.append_to(&mut out);
                assert_eq!(read_open(&out[FRAME_HEADER_BYTES..]).as_ref().ok(), Some(open));
            })),
            FrameType::Opened => drop(read_opened(payload).inspect(|position| {
                let mut out = Vec::new();
                opened(*position, &mut out);
                assert_eq!(read_opened(&out[FRAME_HEADER_BYTES..]).ok(), Some(*position));
            })),
            FrameType::Refuse => drop(refused(payload)),
            FrameType::Close => drop(closed(payload)),
            _ => match self.stream.frame(&header) {
                Err(_) => return false,
                Ok(true) if header.frame == FrameType::Ack => {
                    assert!(header.number >= self.acked && header.number <= self.sent);
                    self.acked = header.number;
                    self.limit = header.number + u64::from(header.offset);
                }
                Ok(true) => self.came += 1,
                Ok(false) => {}
            },
        }
        true
    }

    fn data(&mut self, header: &Header) {
        let bytes = header.length as usize;
        if self.stream.data(header, 0, bytes).is_ok() {
            assert_eq!(header.number, self.came);
            self.came += bytes as u64;
            assert!(self.came <= self.told, "beyond what was allowed");
        }
    }

    fn check(&self) {
        let (kept, window) = self.stream.sizes();
        assert!(self.stream.kept() <= kept as usize);
        assert!(self.stream.waiting() <= window as usize);
        assert!(kept <= FORWARD_WINDOW_BYTES_MAX && window <= FORWARD_WINDOW_BYTES_MAX);
    }
}

/// Four bytes as a number.
fn number(script: &mut &[u8]) -> u64 {
    let Some((bytes, rest)) = script.split_first_chunk::<4>() else {
        *script = &[];
        return 0;
    };
    *script = rest;
    u64::from(u32::from_be_bytes(*bytes))
}
