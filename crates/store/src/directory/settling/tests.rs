use parking_lot::Mutex as Lock;
use sealift_terms::Timestamp;

use super::*;

/// A clock that stands where the test puts it, in step with the file system's.
#[derive(Debug)]
struct Held(Lock<Duration>, Timestamp);

impl Held {
    fn new() -> Arc<Self> {
        use sealift_terms::Clock as _;
        Arc::new(Self(Lock::default(), sealift_host::OsClock.now()))
    }

    fn pass(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for Held {
    fn now(&self) -> Timestamp {
        self.1.plus(*self.0.lock())
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("file").unwrap()
}

fn beginning() -> (tempfile::TempDir, Arc<Held>, Root, Settling) {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("file"), b"begun").unwrap();
    let clock = Held::new();
    let root = Root::new(temp.path(), clock.clone());
    (temp, clock.clone(), root, Settling::new(clock))
}

#[test]
fn a_file_being_written_is_left_until_a_second_after_its_last_change() {
    let (_temp, clock, root, settling) = beginning();
    assert!(!settling.is_settled(&key(), &root.look(&key()).unwrap().unwrap()));
    clock.pass(Duration::from_millis(900));
    settling.touch(&key(), Touch::Written);
    clock.pass(Duration::from_millis(900));
    assert!(settling.due(&root).is_empty());
    clock.pass(Duration::from_millis(200));
    assert_eq!(settling.due(&root), [key()]);
    assert!(settling.due(&root).is_empty(), "hinted once");
    assert!(settling.is_settled(&key(), &root.look(&key()).unwrap().unwrap()));
}

#[test]
fn a_closed_file_settles_at_once() {
    let (_temp, clock, root, settling) = beginning();
    settling.touch(&key(), Touch::Written);
    settling.touch(&key(), Touch::Closed);
    clock.pass(Duration::from_millis(150));
    assert_eq!(settling.due(&root), [key()]);
}

#[test]
fn a_file_that_never_settles_is_hinted_at_after_five_minutes() {
    let (_temp, clock, root, settling) = beginning();
    for _ in 0..598 {
        settling.touch(&key(), Touch::Written);
        clock.pass(Duration::from_millis(500));
        assert!(settling.due(&root).is_empty());
    }
    settling.touch(&key(), Touch::Written);
    clock.pass(Duration::from_secs(1));
    assert_eq!(settling.due(&root), [key()]);
}

#[test]
fn files_that_are_waited_for_are_bounded() {
    let (_temp, _clock, _root, settling) = beginning();
    for i in 0..SETTLING_MAX {
        assert!(settling.touch(&ObjectKey::new(i.to_string()).unwrap(), Touch::Written));
    }
    assert!(!settling.touch(&key(), Touch::Written));
    assert!(
        settling.touch(&ObjectKey::new("0").unwrap(), Touch::Closed),
        "a known one has room"
    );
}
