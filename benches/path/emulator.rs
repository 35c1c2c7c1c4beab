//! One direction of a path.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

use super::{Counted, Settings};

/// How long a thread waits before it looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);
/// The largest packet of a device.
const PACKET_BYTES_MAX: usize = 1600;
/// Packets are handed on when they are due, or this much earlier: waking up once for
/// several is what leaves the processor to those who are measured.
const EARLY: Duration = Duration::from_micros(100);
const MILLION: u64 = 1_000_000;

/// What a direction does to a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    delay: Duration,
    bytes_per_sec: u64,
    queue_bytes: u64,
    lost_per_million: u64,
}

impl Shape {
    /// Half of what `settings` say of the way there and back.
    pub(super) fn of(settings: Settings) -> Self {
        Self {
            delay: Duration::from_millis(settings.round_trip_ms) / 2,
            bytes_per_sec: settings.megabits_per_sec * 125_000,
            queue_bytes: settings.queue_bytes as u64,
            lost_per_million: settings.lost_per_million,
        }
    }

    fn time_of(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * 1_000_000_000 / self.bytes_per_sec)
    }
}

struct Packet {
    due: Instant,
    bytes: Box<[u8]>,
}

/// Packets on their way.
struct Way {
    packets: VecDeque<Packet>,
    /// When the last packet so far has left the queue.
    free_at: Instant,
    /// Marsaglia's xorshift: losses fall the same in every run.
    random: u64,
    counted: Counted,
}

pub(super) struct Direction {
    shape: Shape,
    ended: AtomicBool,
    way: Mutex<Way>,
    arrived: Condvar,
}

impl Direction {
    pub(super) fn new(shape: Shape, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            shape,
            ended: AtomicBool::new(false),
            way: Mutex::new(Way {
                packets: VecDeque::new(),
                free_at: Instant::now(),
                random: 0x9e37_79b9_7f4a_7c15 ^ seed,
                counted: Counted::default(),
            }),
            arrived: Condvar::new(),
        })
    }

    pub(super) fn counted(&self) -> Counted {
        self.way().counted
    }

    pub(super) fn stop(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.arrived.notify_all();
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Takes packets off `device` until it is gone or this is stopped.
    pub(super) fn take(&self, device: &SyncDevice) {
        let mut buffer = [0; PACKET_BYTES_MAX];
        while !self.is_ended() {
            match device.recv(&mut buffer) {
                Ok(bytes) => self.admit(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => await_packet(device),
                // The device is down for a moment at the start, and for good at the end.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn admit(&self, bytes: &[u8]) {
        let now = Instant::now();
        let mut way = self.way();
        let waiting = way.free_at.saturating_duration_since(now);
        let room = self.shape.time_of(self.shape.queue_bytes);
        if waiting > room {
            way.counted.overflowed += 1;
            return;
        }
        way.free_at = way.free_at.max(now) + self.shape.time_of(bytes.len() as u64);
        // It is lost on the way: it took its time in the queue.
        if way.draw() % MILLION < self.shape.lost_per_million {
            way.counted.lost += 1;
            return;
        }
        let due = way.free_at + self.shape.delay;
        way.counted.passed += 1;
        way.packets.push_back(Packet {
            due,
            bytes: bytes.into(),
        });
        if way.packets.len() == 1 {
            self.arrived.notify_one();
        }
    }

    /// Hands packets to `device` when they are due.
    pub(super) fn give(&self, device: &SyncDevice) {
        let mut due = Vec::new();
        while !self.is_ended() {
            let mut way = self.way();
            let Some(first) = way.packets.front().map(|packet| packet.due) else {
                let waited = self.arrived.wait_timeout(way, TICK);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                continue;
            };
            let horizon = Instant::now() + EARLY;
            if first > horizon {
                drop(way);
                thread::sleep((first - horizon + EARLY).min(TICK));
                continue;
            }
            while way.packets.front().is_some_and(|p| p.due <= horizon) {
                due.extend(way.packets.pop_front());
            }
            drop(way);
            for packet in due.drain(..) {
                while let Err(error) = device.send(&packet.bytes) {
                    if error.kind() != io::ErrorKind::WouldBlock || self.is_ended() {
                        break;
                    }
                    thread::sleep(EARLY);
                }
            }
        }
    }
}

impl Way {
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn await_packet(device: &SyncDevice) {
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: TICK.subsec_nanos().into(),
    };
    // An error means no more than an early look.
    let _ = poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&tick));
}
