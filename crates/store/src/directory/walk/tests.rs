use std::sync::Arc;

use sealift_host::OsClock;

use super::*;

fn keys(walk: &mut Walk, limit: usize) -> Vec<String> {
    let mut keys = Vec::new();
    loop {
        let page = walk.page(limit).unwrap();
        keys.extend(
            page.objects
                .into_iter()
                .map(|listed| listed.key.to_string()),
        );
        if page.last {
            return keys;
        }
    }
}

#[test]
fn a_window_smaller_than_the_directory_loses_and_repeats_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for i in 0..100 {
        let file = format!("f{:02}", i * 37 % 100);
        std::fs::write(temp.path().join(&file), b"").unwrap();
        expected.push(file);
        if i % 10 == 0 {
            let directory = format!("f{i:02}-d");
            std::fs::create_dir(temp.path().join(&directory)).unwrap();
            std::fs::write(temp.path().join(&directory).join("x"), b"").unwrap();
            expected.push(format!("{directory}/x"));
        }
    }
    expected.sort_unstable();
    let clock = Arc::new(OsClock);
    let root = Arc::new(Root::new(temp.path(), clock.clone()));
    for held_max in [1, 2, 7, 64, 1000] {
        let settling = Arc::new(Settling::new(clock.clone()));
        let mut walk = Walk::begin(&root, settling, "").unwrap();
        walk.held_max = held_max;
        walk.stack.clear();
        walk.stack
            .push(walk.level(root.open().unwrap(), Vec::new()).unwrap());
        assert!(walk.stack[0].names.len() <= held_max);
        assert_eq!(keys(&mut walk, 5), expected, "windows of {held_max}");
    }
}
