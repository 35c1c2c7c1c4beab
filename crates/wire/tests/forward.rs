//! Two ends of a forwarded stream in memory, over links that are lost anywhere:
//! nothing is lost, doubled or out of order, and nobody holds more than allowed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;

use proptest::prelude::*;
use sealift_terms::limits::FORWARD_WINDOW_BYTES_MAX;
use sealift_wire::{
    FrameType, Header, WireError,
    forward::{Position, Say, Stream},
};

/// An application, its end of the stream, and the bytes both hold.
struct End {
    stream: Stream,
    input: Vec<u8>,
    fed: usize,
    kept: VecDeque<u8>,
    waiting: VecDeque<u8>,
    output: Vec<u8>,
    saw_end: bool,
    /// How often it was given more room, where it is.
    grows: Option<usize>,
}

type Frame = (Header, Vec<u8>);

impl End {
    fn new(window: u32, input: Vec<u8>) -> Self {
        Self {
            stream: Stream::new(window),
            input,
            fed: 0,
            kept: VecDeque::new(),
            waiting: VecDeque::new(),
            output: Vec::new(),
            saw_end: false,
            grows: None,
        }
    }

    /// The application writes so much at most, and reads so much at most.
    fn work(&mut self, writes: usize, reads: usize) {
        let count = writes
            .min(self.stream.room())
            .min(self.input.len() - self.fed);
        self.kept.extend(&self.input[self.fed..self.fed + count]);
        self.fed += count;
        self.stream.took(count);
        if self.fed == self.input.len() {
            self.stream.ended();
        }
        let count = reads.min(self.waiting.len());
        self.output.extend(self.waiting.drain(..count));
        self.stream.delivered(count);
        if self.stream.owes_end() {
            self.saw_end = true;
            self.stream.end_delivered();
        }
        self.check();
    }

    fn check(&self) {
        let (kept, window) = self.stream.sizes();
        assert_eq!(self.kept.len(), self.stream.kept());
        assert_eq!(self.waiting.len(), self.stream.waiting());
        assert!(self.kept.len() <= kept as usize && self.waiting.len() <= window as usize);
    }

    fn forget(&mut self) {
        let over = self.kept.len() - self.stream.kept();
        self.kept.drain(..over);
    }

    fn grow(&mut self) {
        let (kept, window) = self.stream.sizes();
        let Some(grown) = &mut self.grows else { return };
        if self.stream.wants_larger_window() {
            self.stream.enlarge_window(window * 2);
            *grown += 1;
        }
        if self.stream.wants_to_keep_more() {
            self.stream.keep_more(kept * 2);
            *grown += 1;
        }
    }

    /// What it has to say, as frames.
    fn say(&mut self, line: &mut VecDeque<Frame>) {
        self.grow();
        line.extend(self.stream.ack(false).map(|header| (header, Vec::new())));
        while let Some(say) = self.stream.say(u32::MAX) {
            let bytes = match say {
                Say::Data { position, length } => {
                    let from = (position - self.stream.kept_from()) as usize;
                    self.kept
                        .range(from..from + length as usize)
                        .copied()
                        .collect()
                }
                Say::End { .. } => Vec::new(),
            };
            line.push_back((say.header_of(&bytes), bytes));
        }
    }

    /// Hears the first `bytes` of a frame, in pieces.
    fn hear(&mut self, (header, payload): &Frame, bytes: usize) -> Result<(), WireError> {
        if header.frame != FrameType::Data {
            assert!(self.stream.frame(header)?);
            self.forget();
            return Ok(());
        }
        let mut done = 0;
        for piece in payload[..bytes.min(payload.len())].chunks(7000) {
            self.stream.data(header, done, piece.len())?;
            done += piece.len() as u32;
            self.waiting.extend(piece);
            self.check();
        }
        Ok(())
    }
}

trait HeaderOf {
    fn header_of(self, bytes: &[u8]) -> Header;
}

impl HeaderOf for Say {
    fn header_of(self, bytes: &[u8]) -> Header {
        let header = self.header();
        let length = if header.frame == FrameType::Data {
            header.length as usize
        } else {
            0
        };
        assert_eq!(length, bytes.len());
        header
    }
}

/// Both ends and the link between them.
struct Two {
    ends: [End; 2],
    lines: [VecDeque<Frame>; 2],
    frames: usize,
}

impl Two {
    fn new(window: u32, inputs: [Vec<u8>; 2]) -> Self {
        let mut two = Self {
            ends: inputs.map(|input| End::new(window, input)),
            lines: Default::default(),
            frames: 0,
        };
        two.link();
        two
    }

    /// A new link: what was on the old one is gone.
    fn link(&mut self) {
        self.lines.iter_mut().for_each(VecDeque::clear);
        let [a, b] = &mut self.ends;
        let theirs = a.stream.position();
        b.stream.attach(theirs).unwrap();
        // As it travels.
        let ours = b.stream.position();
        let Position { received, window } = ours;
        a.stream.attach(Position { received, window }).unwrap();
        self.ends.iter_mut().for_each(|end| {
            end.forget();
            end.check();
        });
    }

    fn is_done(&self) -> bool {
        self.ends.iter().all(|end| end.stream.is_done())
    }

    /// One round; the link is lost before the frame `lost`, with `cut` of its bytes come.
    fn round(&mut self, writes: usize, reads: usize, lost: Option<(usize, usize)>) {
        for at in [0, 1] {
            self.ends[at].work(writes, reads);
            let (ends, lines) = (&mut self.ends, &mut self.lines);
            ends[at].say(&mut lines[at]);
            while let Some(frame) = self.lines[at].pop_front() {
                self.frames += 1;
                if let Some((number, cut)) = lost
                    && number == self.frames
                {
                    if frame.0.frame == FrameType::Data {
                        self.ends[1 - at].hear(&frame, cut).unwrap();
                    }
                    self.link();
                    break;
                }
                self.ends[1 - at].hear(&frame, usize::MAX).unwrap();
            }
        }
    }

    fn run(&mut self, writes: usize, reads: usize, lost: Option<(usize, usize)>) {
        for _ in 0..100_000 {
            if self.is_done() {
                return;
            }
            self.round(writes, reads, lost);
        }
        panic!("it does not come to its end");
    }

    fn assert_whole(&self) {
        for at in [0, 1] {
            assert!(self.ends[at].output == self.ends[1 - at].input);
            assert!(self.ends[at].saw_end);
            let (sent, came) = (&self.ends[1 - at].input, &self.ends[at].output);
            assert_eq!(self.ends[at].stream.moved().1, came.len() as u64);
            assert_eq!(self.ends[1 - at].stream.moved().0, sent.len() as u64);
        }
    }
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let word = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[1] ^ seed;
    (0..length).map(word).collect()
}

#[test]
fn a_loss_before_every_frame_and_within_it_loses_nothing() {
    let inputs = || [bytes(150_000, 1), bytes(40_000, 2)];
    let mut whole = Two::new(65_536, inputs());
    whole.run(20_000, 9_000, None);
    whole.assert_whole();
    assert!(whole.frames > 20, "{}", whole.frames);
    for frame in 1..=whole.frames {
        for cut in [0, 1, 7_000] {
            let mut two = Two::new(65_536, inputs());
            two.run(20_000, 9_000, Some((frame, cut)));
            two.assert_whole();
        }
    }
}

#[test]
fn an_application_that_does_not_read_holds_up_its_own_direction_only() {
    let mut two = Two::new(1000, [bytes(50_000, 1), bytes(50_000, 2)]);
    // The second application reads nothing; the first gets everything.
    for _ in 0..200 {
        two.round(usize::MAX, 0, None);
        let [first, second] = &mut two.ends;
        first.work(0, usize::MAX);
        assert!(second.waiting.len() <= 1000);
    }
    assert_eq!(two.ends[0].output.len(), 50_000);
    assert_eq!(two.ends[1].waiting.len(), 1000);
    two.run(usize::MAX, usize::MAX, None);
    two.assert_whole();
}

#[test]
fn a_window_that_is_used_up_grows_to_its_limit_and_no_further() {
    let mut two = Two::new(1000, [bytes(200_000, 1), Vec::new()]);
    two.ends.iter_mut().for_each(|end| end.grows = Some(0));
    two.run(usize::MAX, usize::MAX, None);
    two.assert_whole();
    let grown: Vec<_> = two.ends.iter().map(|end| end.grows.unwrap()).collect();
    assert!(grown[0] > 2 && grown[1] > 2, "{grown:?}");
    let mut stream = Stream::new(1000);
    stream.enlarge_window(u32::MAX);
    stream.keep_more(u32::MAX);
    assert_eq!(
        stream.sizes(),
        (FORWARD_WINDOW_BYTES_MAX, FORWARD_WINDOW_BYTES_MAX)
    );
    stream.enlarge_window(1);
    assert_eq!(stream.sizes().1, FORWARD_WINDOW_BYTES_MAX);
}

#[test]
fn what_does_not_fit_is_refused() {
    let fresh = || {
        let mut stream = Stream::new(1000);
        stream.position();
        let (received, window) = (0, 1000);
        stream.attach(Position { received, window }).unwrap();
        stream
    };
    let data = |position, length| Say::Data { position, length }.header();
    assert!(fresh().data(&data(1, 5), 0, 5).is_err(), "a gap");
    assert!(fresh().data(&data(0, 2000), 0, 1001).is_err(), "too much");
    assert!(fresh().data(&data(u64::MAX, 2), 1, 1).is_err());
    let mut stream = fresh();
    stream.data(&data(0, 5), 0, 5).unwrap();
    assert!(stream.data(&data(0, 5), 0, 5).is_err(), "again");
    let end = |position| Say::End { position }.header();
    assert!(stream.frame(&end(6)).is_err());
    assert!(stream.frame(&end(5)).unwrap());
    assert!(stream.frame(&end(6)).is_err(), "two ends");
    assert!(stream.data(&data(6, 1), 0, 1).is_err(), "after the end");
    let ack = |received, window| Header {
        offset: window,
        ..Header::of(FrameType::Ack, received, 0)
    };
    assert!(fresh().frame(&ack(1, 0)).is_err(), "never sent");
    assert!(
        fresh()
            .frame(&ack(0, FORWARD_WINDOW_BYTES_MAX + 1))
            .is_err()
    );
    let mut stream = fresh();
    stream.took(10);
    assert_eq!(
        stream.say(u32::MAX),
        Some(Say::Data {
            position: 0,
            length: 10
        })
    );
    stream.frame(&ack(7, 500)).unwrap();
    assert!(stream.frame(&ack(6, 500)).is_err(), "it goes back");
    for received in [6, 11] {
        let theirs = Position {
            received,
            window: 1,
        };
        assert!(stream.clone().attach(theirs).is_err(), "{received}");
    }
    let theirs = Position {
        received: 8,
        window: 1,
    };
    stream.attach(theirs).unwrap();
    assert_eq!(
        stream.say(u32::MAX),
        Some(Say::Data {
            position: 8,
            length: 1
        })
    );
    assert_eq!(stream.say(u32::MAX), None, "no window left");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_lost_nothing_is_missing_doubled_or_out_of_order(
        window in 1u32..200_000,
        lengths in (0usize..150_000, 0usize..150_000),
        rounds in proptest::collection::vec(
            (0usize..60_000, 0usize..60_000, proptest::option::of((1usize..6, 0usize..70_000))), 1..60),
    ) {
        let mut two = Two::new(window, [bytes(lengths.0, 3), bytes(lengths.1, 4)]);
        for (writes, reads, lost) in rounds {
            let lost = lost.map(|(ahead, cut)| (two.frames + ahead, cut));
            two.round(writes, reads, lost);
        }
        two.run(usize::MAX, usize::MAX, None);
        two.assert_whole();
    }
}
