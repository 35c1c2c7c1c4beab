//! A path between two network namespaces: delay, rate, queue and loss.
//!
//! ```text
//!   near namespace                this process                  far namespace
//!   10.88.0.1 ── TUN ──▶ loss ─ queue ─ rate ─ delay ──▶ TUN ── 10.88.0.2
//!                TUN ◀── delay ─ rate ─ queue ─ loss ◀── TUN
//! ```
//!
//! The kernel here has no netem. Each direction is two threads: one takes packets off
//! a device, gives each the time at which it leaves the far end of the path, or drops
//! it; the other hands them on when their time has come. A packet that the queue has
//! no room for is dropped at its tail, as a router would.
//!
//! The namespaces have no names: each is held by a process that ends when its input
//! does. Whatever ends this process, kill -9 included, ends them, and with them the
//! namespaces, their devices and their routes.

mod emulator;

use std::{
    fs, io,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::hosts::Hosts;
use emulator::{Direction, Shape};

const NEAR: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 2);
const MTU: u16 = 1500;
/// What the kernel may hold for a device: the emulator's own queue is the one that counts.
const DEVICE_QUEUE_PACKETS: u32 = 20_000;

/// What a path is like, in both directions alike.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// There and back.
    pub round_trip_ms: u64,
    pub megabits_per_sec: u64,
    /// Room for packets that wait for the rate.
    pub queue_bytes: usize,
    /// Packets lost of a million, at random.
    pub lost_per_million: u64,
}

impl Settings {
    /// 80 ms and 1 Gbit/s with a queue of one bandwidth-delay product.
    pub fn long(lost_per_million: u64) -> Self {
        let (round_trip_ms, megabits_per_sec) = (80, 1000);
        Self {
            round_trip_ms,
            megabits_per_sec,
            queue_bytes: (megabits_per_sec * 125 * round_trip_ms) as usize,
            lost_per_million,
        }
    }
}

/// A path that stands until this is dropped.
pub struct Path {
    holders: [Child; 2],
    directions: [Arc<Direction>; 2],
    threads: Vec<JoinHandle<()>>,
}

/// What happened to the packets of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub passed: u64,
    /// The loss that was asked for.
    pub lost: u64,
    /// The queue was full.
    pub overflowed: u64,
}

impl Path {
    /// Makes both namespaces and starts the emulator. Needs root.
    ///
    /// # Errors
    /// A namespace or a device cannot be made.
    pub fn open(settings: Settings) -> io::Result<Self> {
        let mut path = Self {
            holders: [hold()?, hold()?],
            directions: [0, 1].map(|seed| Direction::new(Shape::of(settings), seed)),
            threads: Vec::new(),
        };
        let near = Arc::new(device(&path.holders[0], "near0", NEAR)?);
        let far = Arc::new(device(&path.holders[1], "far0", FAR)?);
        for (direction, from, to) in [
            (&path.directions[0], &near, &far),
            (&path.directions[1], &far, &near),
        ] {
            let (taking, from) = (Arc::clone(direction), Arc::clone(from));
            let (giving, to) = (Arc::clone(direction), Arc::clone(to));
            path.threads.push(thread::spawn(move || taking.take(&from)));
            path.threads.push(thread::spawn(move || giving.give(&to)));
        }
        Ok(path)
    }

    /// The two hosts at its ends.
    pub fn hosts(&self) -> Hosts {
        let [near, far] = [0, 1].map(|at| inside(&self.holders[at]));
        Hosts::behind(near, far, FAR)
    }

    /// What happened so far, from near to far and back.
    pub fn counted(&self) -> [Counted; 2] {
        [0, 1].map(|at| self.directions[at].counted())
    }

    /// Sets the congestion control of both hosts.
    ///
    /// # Errors
    /// The kernel has none of that name.
    pub fn set_congestion(&self, name: &str) -> io::Result<()> {
        for holder in &self.holders {
            let set = format!("net.ipv4.tcp_congestion_control={name}");
            succeed(command(holder, "sysctl").args(["-q", "-w", &set]))?;
        }
        Ok(())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        for direction in &self.directions {
            direction.stop();
        }
        for holder in &mut self.holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A process in a network namespace of its own, which ends with its input.
fn hold() -> io::Result<Child> {
    let child = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-c",
            "ip link set lo up && echo made && read end",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

/// A TUN device of this process inside the namespace of `holder`.
fn device(holder: &Child, name: &str, address: Ipv4Addr) -> io::Result<SyncDevice> {
    await_namespace(holder)?;
    let device = DeviceBuilder::new()
        .name(name)
        .mtu(MTU)
        .tx_queue_len(DEVICE_QUEUE_PACKETS)
        .enable(false)
        .build_sync()?;
    device.set_nonblocking(true)?;
    let pid = holder.id().to_string();
    succeed(Command::new("ip").args(["link", "set", name, "netns", &pid]))?;
    let address = format!("{address}/24");
    succeed(command(holder, "ip").args(["address", "add", &address, "dev", name]))?;
    succeed(command(holder, "ip").args(["link", "set", name, "up"]))?;
    Ok(device)
}

/// Waits until the holder has left this namespace.
fn await_namespace(holder: &Child) -> io::Result<()> {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net"));
    let (own, pid) = (namespace("self")?, holder.id().to_string());
    for _ in 0..1000 {
        if namespace(&pid)? != own {
            return Ok(());
        }
        thread::sleep(std::time::Duration::from_millis(5));
    }
    Err(io::Error::other("no network namespace: root is needed"))
}

fn inside(holder: &Child) -> Vec<String> {
    let namespace = format!("--net=/proc/{}/ns/net", holder.id());
    ["nsenter", &namespace, "--"].map(str::to_owned).to_vec()
}

fn command(holder: &Child, program: &str) -> Command {
    let prefix = inside(holder);
    let mut command = Command::new(&prefix[0]);
    command.args(&prefix[1..]).arg(program);
    command
}

fn succeed(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {}", said.trim())))
}
