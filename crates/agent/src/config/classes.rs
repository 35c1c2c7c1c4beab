//! In which class of its service what a store writes rests: `storage_class` of `[store.s3]` and
//! `[store.gcs]`, `access_tier` of `[store.azure]`.
//!
//! A store is read whenever somebody asks, and every file of it by scrubs and by compaction. So a
//! class out of which a file has to be brought back first is none for it: nobody here does that,
//! and until it were done what rests there would be as good as lost.

use super::{checker::Checker, raw::Text};

/// Those of S3 out of which an object is read when it is asked for.
const OF_S3: [&str; 5] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
];
/// Those of S3 from which it has to be brought back first.
const ARCHIVES_OF_S3: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
/// Those of Google: all are read at once, ARCHIVE too.
const OF_GOOGLE: [&str; 4] = ["STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"];
/// Those of Azure that are online; `Archive` has to be brought back first.
const OF_AZURE: [&str; 3] = ["Hot", "Cool", "Cold"];
/// What a class of an S3 store's own may be long.
const CLASS_BYTES_MAX: usize = 64;

/// What speaks as S3 may have classes of its own.
pub(super) fn of_s3(c: &mut Checker<'_>, class: &Text, is_of_aws: bool) -> Option<String> {
    let name = class.get_ref().as_str();
    let is_word = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b);
    let is_own = (1..=CLASS_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_word);
    let is_taken = match is_of_aws {
        true => OF_S3.contains(&name),
        false => is_own && !ARCHIVES_OF_S3.contains(&name),
    };
    let others = "; or one of a store's own";
    held(
        c,
        class,
        is_taken,
        ("store.s3.storage_class", &OF_S3, others),
    )
}

pub(super) fn of_google(c: &mut Checker<'_>, class: &Text) -> Option<String> {
    let is_taken = OF_GOOGLE.contains(&class.get_ref().as_str());
    held(
        c,
        class,
        is_taken,
        ("store.gcs.storage_class", &OF_GOOGLE, ""),
    )
}

pub(super) fn of_azure(c: &mut Checker<'_>, tier: &Text) -> Option<String> {
    let is_taken = OF_AZURE.contains(&tier.get_ref().as_str());
    held(
        c,
        tier,
        is_taken,
        ("store.azure.access_tier", &OF_AZURE, ""),
    )
}

fn held(
    c: &mut Checker<'_>,
    told: &Text,
    is_taken: bool,
    (setting, all, others): (&str, &[&str], &str),
) -> Option<String> {
    if is_taken {
        return Some(told.get_ref().clone());
    }
    c.refuse(
        setting,
        &told.span(),
        format!("{:?}", told.get_ref()),
        format!(
            "one that is read from at once, as what rests here is read whenever it is asked for: \
             {}{others}",
            all.join(", ")
        ),
        "write one of these, or leave it out to have objects rest as the store has them usually",
    )
}

#[cfg(test)]
mod tests {
    use sealift_store::BucketSettings;

    use super::*;
    use crate::config::tests::example_with as check;

    const S3: &str = "[store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\n\
                      credentials_file = \"credentials\"\n";
    const ELSEWHERE: &str = "endpoint = \"https://s3.example.org\"\n";
    const GOOGLE: &str = "[store.gcs]\nbucket = \"sealed\"\ncredentials_file = \"hmac\"\n";
    const AZURE: &str = "[store.azure]\naccount = \"sealedb\"\ncontainer = \"sealed\"\n\
                         key_file = \"azure-key\"\n";

    fn class(section: &str) -> Option<String> {
        match check(section).unwrap().store.unwrap().settings {
            BucketSettings::S3(settings) => settings.storage_class,
            BucketSettings::Azure(settings) => settings.access_tier,
        }
    }

    #[test]
    fn what_is_read_at_once_is_a_class_for_a_store() {
        let elsewhere = format!("{S3}{ELSEWHERE}");
        for (store, setting, named) in [
            (S3, "storage_class", &OF_S3[..]),
            (&*elsewhere, "storage_class", &["STANDARD", "COLD"]),
            (GOOGLE, "storage_class", &OF_GOOGLE),
            (AZURE, "access_tier", &OF_AZURE),
        ] {
            assert_eq!(class(store), None, "{store}");
            for name in named {
                let told = class(&format!("{store}{setting} = \"{name}\"\n"));
                assert_eq!(told.as_deref(), Some(*name), "{store}");
            }
        }
    }

    #[test]
    fn what_has_to_be_brought_back_first_and_what_is_none_are_refused_with_why() {
        let (elsewhere, long) = (format!("{S3}{ELSEWHERE}"), "X".repeat(CLASS_BYTES_MAX + 1));
        for (store, setting, named) in [
            (
                S3,
                "storage_class",
                &["GLACIER", "DEEP_ARCHIVE", "COLD", ""][..],
            ),
            (
                &*elsewhere,
                "storage_class",
                &["DEEP_ARCHIVE", "cold", &long],
            ),
            (GOOGLE, "storage_class", &["MULTI_REGIONAL", "nearline", ""]),
            (
                AZURE,
                "access_tier",
                &["Archive", "archive", "hot", "Premium", ""],
            ),
        ] {
            for name in named {
                let refused = check(&format!("{store}{setting} = \"{name}\"\n")).unwrap_err();
                let told = refused.to_string();
                assert_eq!(refused.refusals.len(), 1, "{told}");
                assert!(refused.refusals[0].setting.ends_with(setting), "{told}");
                assert!(told.contains("read from at once"), "{told}");
            }
        }
    }

    #[test]
    fn a_source_has_none() {
        for (section, setting) in [
            (
                "[source.gcs]\ncredentials_file = \"hmac\"\nstorage_class",
                "source.gcs.storage_class",
            ),
            (
                "[source.azure]\naccount = \"photos1\"\ncontainer = \"in\"\nsas_file = \"s\"\naccess_tier",
                "source.azure.access_tier",
            ),
        ] {
            let text = format!("[[source]]\nbucket = \"photos\"\n{section} = \"Hot\"\n");
            let refusals = check(&text).unwrap_err().refusals;
            let refused: Vec<_> = refusals.iter().map(|one| one.setting.as_str()).collect();
            assert_eq!(refused, [setting], "{text}");
        }
    }
}
