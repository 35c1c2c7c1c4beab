//! What is asked for at once.

/// Versions that are asked for at once, and the bytes of their names: a request has room
/// for 64 KiB, and a byte of a name may take six in JSON.
const ASKED_AT_ONCE: usize = 100;
const NAME_BYTES_AT_ONCE: usize = 8 * 1024;

/// Versions that will be asked for together.
#[derive(Debug)]
pub(super) struct Group<T> {
    objects: Vec<T>,
    name_bytes: usize,
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self {
            objects: Vec::new(),
            name_bytes: 0,
        }
    }
}

impl<T> Group<T> {
    /// Adds one whose name is so long; whether it is time to ask.
    pub(super) fn add(&mut self, object: T, name_bytes: usize) -> bool {
        self.objects.push(object);
        self.name_bytes += name_bytes;
        self.objects.len() >= ASKED_AT_ONCE || self.name_bytes >= NAME_BYTES_AT_ONCE
    }

    pub(super) fn take(&mut self) -> Vec<T> {
        std::mem::take(self).objects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_to_ask_when_there_are_many_or_their_names_are_long() {
        let mut group = Group::default();
        assert!((1..ASKED_AT_ONCE).all(|n| !group.add(n, 1)));
        assert!(group.add(0, 1));
        assert_eq!(group.take().len(), ASKED_AT_ONCE);
        assert!(!group.add(1, NAME_BYTES_AT_ONCE - 1) && group.add(2, 1));
        assert_eq!(group.take(), [1, 2]);
    }
}
