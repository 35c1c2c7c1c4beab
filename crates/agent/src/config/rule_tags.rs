//! `rule.tags`: the tags that a version has to have for a rule to take it.

use std::collections::BTreeMap;

use sealift_terms::limits::{TAG_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX};

use super::{checker::Checker, declared::Declared, raw};

/// All of the tags that a rule asks for; none where it asks for none.
pub(super) fn tags(
    c: &mut Checker<'_>,
    rule: &raw::Rule,
    declared: &Declared,
) -> BTreeMap<String, String> {
    let Some(raw) = &rule.tags else {
        return BTreeMap::new();
    };
    let mut refuse = |found: String, allowed: &str, remedy: &str| {
        c.refuse::<()>("rule.tags", &raw.span(), found, allowed, remedy);
    };
    if let Some(kind) = declared.untagged.get(rule.bucket.get_ref()) {
        refuse(
            format!("tags, and bucket {:?} is {kind}", rule.bucket.get_ref()),
            "tags of a bucket of S3, of Azure or of this archive: files have none, nor has Google",
            "leave tags out, or tell objects apart by prefix",
        );
    }
    let tags = raw.get_ref();
    if tags.is_empty() || tags.len() > TAGS_MAX {
        let found = format!("{} tags", tags.len());
        refuse(
            found,
            "1 to 10 tags, as objects have",
            "leave tags out to ask for none",
        );
    }
    let is_one = |tag: &str, value: &str| {
        !tag.is_empty() && tag.len() <= TAG_NAME_BYTES_MAX && value.len() <= TAG_VALUE_BYTES_MAX
    };
    for (tag, value) in tags {
        if !is_one(tag, value.get_ref()) {
            refuse(
                format!("{tag:?} = {:?}", value.get_ref()),
                "names of 1 to 512 bytes and values of at most 1,024, which is what S3 takes",
                "shorten it",
            );
        }
    }
    let tags = tags.iter();
    tags.map(|(tag, value)| (tag.clone(), value.get_ref().clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, tests::example_with};

    fn check(source: &str, tags: &str) -> Result<Config, ConfigError> {
        let peer = "[[peer]]\nname = \"b9\"\nidentity = \"spiffe://example.org/region/r/agent/b9\"\n\
                    address = \"127.0.0.1:1\"\ntrust_bundle = \"b\"\n";
        let bucket = "[[bucket]]\nname = \"kept\"\nkey = \"alias/kept\"\n";
        let rule = format!(
            "[[rule]]\nname = \"hot\"\nbucket = \"kept\"\npeers = [\"b9\"]\ntags = {tags}\n"
        );
        let source = format!("[[source]]\nbucket = \"kept\"\n{source}\n");
        example_with(&format!("{peer}{bucket}{source}{rule}"))
    }

    #[test]
    fn a_rule_asks_for_tags_where_the_source_has_such_and_is_refused_where_not() {
        let config = check("archive = true", r#"{ class = "hot", keep = "" }"#).unwrap();
        let tags: Vec<_> = config.rules[0].tags.iter().collect();
        assert_eq!(tags.len(), 2);
        assert_eq!((tags[0].0.as_str(), tags[0].1.as_str()), ("class", "hot"));
        for (source, kind) in [
            ("directory = \"/srv/kept\"", "is a directory"),
            ("[source.gcs]\ncredentials_file = \"h\"", "is one of Google"),
        ] {
            let told = check(source, r#"{ class = "hot" }"#);
            let told = told.unwrap_err().to_string();
            assert!(told.contains("rule.tags") && told.contains(kind), "{told}");
        }
    }

    #[test]
    fn no_tags_too_many_and_what_no_tag_is_are_refused() {
        let many: Vec<_> = (0..11).map(|n| format!("t{n} = \"\"")).collect();
        let ten = format!("{{ {} }}", many[..10].join(", "));
        assert!(check("archive = true", &ten).is_ok());
        for tags in [
            "{}".to_owned(),
            format!("{{ {} }}", many.join(", ")),
            format!("{{ {} = \"\" }}", "n".repeat(513)),
            format!("{{ n = \"{}\" }}", "v".repeat(1025)),
            "{ \"\" = \"v\" }".to_owned(),
        ] {
            let told = check("archive = true", &tags).unwrap_err().to_string();
            assert!(told.contains("rule.tags"), "{tags}: {told}");
        }
    }
}
