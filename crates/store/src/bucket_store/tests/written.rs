//! Parts whose sums are made as they are written.

use std::{os::unix::fs::FileExt, path::PathBuf};

use super::*;

/// What the archive writes at once.
const PIECE: usize = 256 << 10;

/// A file that is cut and of which the head is written.
async fn begun(
    store: &BucketStore,
    name: &StoreName,
    bytes: &[u8],
    cut: Cut,
) -> Arc<dyn StoreFile> {
    let file = store.create(name).await.unwrap();
    file.cut(cut);
    let head = usize::try_from(cut.head).unwrap();
    file.write_at(&bytes[..head], 0).await.unwrap();
    file
}

/// Writes these units piece by piece, in turn, as links do that have one each.
async fn write_units(file: &dyn StoreFile, bytes: &[u8], cut: Cut, units: &[u32]) {
    let whole = usize::try_from(cut.unit).unwrap();
    for step in (0..whole).step_by(PIECE) {
        for unit in units {
            let at = usize::try_from(cut.head + u64::from(*unit) * cut.unit).unwrap();
            let is_last = *unit + 1 == cut.count;
            let end = if is_last { bytes.len() } else { at + whole };
            let from = (at + step).min(end);
            let to = (from + PIECE).min(end);
            if from < to {
                file.write_at(&bytes[from..to], from as u64).await.unwrap();
            }
        }
    }
}

fn staged_path(site: &Site, name: &StoreName) -> PathBuf {
    let flat = name.as_str().replace('/', "~");
    site.dir.join("staging").join(flat)
}

#[tokio::test]
async fn parts_that_are_written_in_turn_are_what_was_written() {
    let site = Site::new();
    let store = site.open().await;
    let (file_name, bytes) = (name("objects/ab/1.slf"), content(LARGE));
    let file = begun(&store, &file_name, &bytes, cut()).await;
    write_units(&*file, &bytes, cut(), &[1, 0]).await;
    file.sync().await.unwrap();
    file.settled(&[0, 1]);
    write_units(&*file, &bytes, cut(), &[3, 2]).await;
    file.sync().await.unwrap();
    file.prepare().await.unwrap();
    let names = std::slice::from_ref(&file_name);
    store.publish(names).await.unwrap();
    // The bucket holds what came against the sum that the request told.
    is_stored(&store, &file_name, &bytes).await;
    assert_eq!(site.left(), [""; 0]);
}

/// Units of a mebibyte, of which six are a part: only those that come in their order have a sum.
#[tokio::test]
async fn parts_of_several_units_are_what_was_written_in_any_order() {
    let site = Site::new();
    let store = site.open().await;
    let bytes = content(HEAD + 13 * MIB + 1000);
    let cut = Cut {
        head: HEAD,
        unit: MIB,
        count: 14,
    };
    let orders: [&[u32]; 3] = [
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
        &[0, 5, 1, 3, 2, 4, 6, 8, 7, 9, 11, 10, 12, 13],
    ];
    for (number, order) in orders.into_iter().enumerate() {
        let file_name = name(&format!("objects/ab/{number}.slf"));
        let file = begun(&store, &file_name, &bytes, cut).await;
        for unit in order {
            write_units(&*file, &bytes, cut, &[*unit]).await;
        }
        file.sync().await.unwrap();
        file.settled(order);
        file.prepare().await.unwrap();
        let names = std::slice::from_ref(&file_name);
        store.publish(names).await.unwrap();
        is_stored(&store, &file_name, &bytes).await;
    }
}

/// A disk that gives back something else than it was given: the bucket does not get that under
/// the name of what was written, and the file is of no more use.
#[tokio::test]
async fn what_a_disk_changed_is_not_sent_as_what_was_written() {
    let site = Site::new();
    let store = site.open().await;
    let one = Cut { count: 1, ..cut() };
    for (number, (cut, len)) in [(cut(), LARGE), (one, HEAD + 50_000)]
        .into_iter()
        .enumerate()
    {
        let file_name = name(&format!("objects/ab/{number}.slf"));
        let bytes = content(len);
        let all: Vec<u32> = (0..cut.count).collect();
        let names = std::slice::from_ref(&file_name);
        for is_changed in [true, false] {
            let file = begun(&store, &file_name, &bytes, cut).await;
            write_units(&*file, &bytes, cut, &all).await;
            file.sync().await.unwrap();
            if is_changed {
                let staged = staged_path(&site, &file_name);
                let disk = std::fs::OpenOptions::new()
                    .write(true)
                    .open(staged)
                    .unwrap();
                let at = HEAD + 777;
                let other = bytes[usize::try_from(at).unwrap()] ^ 1;
                disk.write_all_at(&[other], at).unwrap();
            }
            let prepared = file.prepare().await;
            let published = store.publish(names).await;
            match is_changed {
                true => {
                    let error = prepared.and(published).unwrap_err();
                    assert!(!error.leaves_it_whole(), "{error:?}");
                    assert_eq!(site.server().bytes(&format!("sealed/{file_name}")), None);
                    // As who is told that does; its parts come again.
                    store.discard(&file_name).await.unwrap();
                }
                false => {
                    prepared.and(published).unwrap();
                    is_stored(&store, &file_name, &bytes).await;
                }
            }
        }
    }
    assert_eq!(site.left(), [""; 0]);
}
