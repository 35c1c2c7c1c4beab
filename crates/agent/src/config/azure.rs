//! `[source.azure]` and `[store.azure]`: a container of Azure Blob Storage.

use sealift_outside::{AzureFrom, Endpoint};
use sealift_store::AzureSettings;
use sealift_terms::BucketName;
use toml::Spanned;

use super::{
    checker::Checker,
    classes,
    key_services::{ROOTS_REMEDY, endpoint},
    named::Wanted,
    places::AzureContainer,
    raw,
    rules::prefix,
    s3::store_prefix,
};

/// How the settings of a container are called where it stands.
struct Names {
    section: &'static str,
    account: &'static str,
    container: &'static str,
    prefix: &'static str,
    endpoint: &'static str,
    key_file: &'static str,
    sas_file: &'static str,
    roots_file: &'static str,
}

const SOURCE: Names = Names {
    section: "source.azure",
    account: "source.azure.account",
    container: "source.azure.container",
    prefix: "source.azure.prefix",
    endpoint: "source.azure.endpoint",
    key_file: "source.azure.key_file",
    sas_file: "source.azure.sas_file",
    roots_file: "source.azure.roots_file",
};

const STORE: Names = Names {
    section: "store.azure",
    account: "store.azure.account",
    container: "store.azure.container",
    prefix: "store.azure.prefix",
    endpoint: "store.azure.endpoint",
    key_file: "store.azure.key_file",
    sas_file: "store.azure.sas_file",
    roots_file: "store.azure.roots_file",
};

/// `[source.azure]`.
pub(super) fn source(c: &mut Checker<'_>, section: &Spanned<raw::Azure>) -> Option<AzureContainer> {
    if let Some(told) = &section.get_ref().access_tier {
        return c.refuse(
            "source.azure.access_tier",
            &told.span(),
            "access_tier",
            "nothing of the kind: each blob of a source is in a tier already",
            "leave it out",
        );
    }
    container(c, section, &SOURCE)
}

/// `[store.azure]`.
pub(super) fn store(c: &mut Checker<'_>, section: &Spanned<raw::Azure>) -> Option<AzureContainer> {
    let raw = section.get_ref();
    if let Some(told) = &raw.versions {
        return c.refuse(
            "store.azure.versions",
            &told.span(),
            "versions",
            "nothing of the kind: what a store's account keeps is no matter here",
            "leave it out",
        );
    }
    let tier = raw.access_tier.as_ref();
    let tier = tier.map(|tier| classes::of_azure(c, tier));
    let mut container = container(c, section, &STORE)?;
    if let Some(tier) = tier {
        container.settings.access_tier = Some(tier?);
    }
    let span = raw.prefix.as_ref().unwrap_or(&raw.container).span();
    store_prefix(c, STORE.prefix, &container.settings.prefix, &span)?;
    Some(container)
}

fn container(
    c: &mut Checker<'_>,
    section: &Spanned<raw::Azure>,
    names: &Names,
) -> Option<AzureContainer> {
    let raw = section.get_ref();
    let account = account(c, names, &raw.account);
    let container: Option<BucketName> = c.name(names.container, &raw.container);
    let remedy = "write the account's key, or a shared access signature, into it";
    let credentials = match (&raw.key_file, &raw.sas_file) {
        (Some(file), None) => Some(AzureFrom::Key(c.named(
            names.key_file,
            file,
            Wanted::Secret,
            remedy,
        ))),
        (None, Some(file)) => Some(AzureFrom::Sas(c.named(
            names.sas_file,
            file,
            Wanted::Secret,
            remedy,
        ))),
        _ => c.refuse(
            names.section,
            &section.span(),
            "none or two sources of credentials",
            "key_file, or sas_file",
            "keep one of them",
        ),
    };
    let roots_file = raw
        .roots_file
        .as_ref()
        .map(|file| c.named(names.roots_file, file, Wanted::File, ROOTS_REMEDY));
    let prefix = prefix(c, names.prefix, raw.prefix.as_ref());
    let account = account?;
    let endpoint = match &raw.endpoint {
        Some(text) => endpoint(c, names.endpoint, text),
        None => Endpoint::parse(&AzureSettings::usual_endpoint(&account)).ok(),
    };
    Some(AzureContainer {
        settings: AzureSettings {
            endpoint: endpoint?,
            account,
            container: container?,
            prefix: prefix?,
            credentials: credentials?,
            keeps_versions: raw.versions.as_ref().is_none_or(|told| *told.get_ref()),
            access_tier: None,
        },
        roots_file,
    })
}

/// Becomes a part of a host, and of what is signed.
fn account(c: &mut Checker<'_>, names: &Names, text: &raw::Text) -> Option<String> {
    let account = text.get_ref();
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if (3..=24).contains(&account.len()) && account.bytes().all(is_plain) {
        return Some(account.clone());
    }
    c.refuse(
        names.account,
        &text.span(),
        format!("{account:?}"),
        "3 to 24 lower-case letters and digits",
        "write the storage account's name, without its host",
    )
}

#[cfg(test)]
mod tests {
    use sealift_store::BucketSettings;

    use super::*;
    use crate::config::{SourceFrom, tests::example_with as check};

    const STORE: &str = "[store.azure]\naccount = \"sealedb\"\ncontainer = \"sealed\"\n\
                         prefix = \"site-b/\"\nkey_file = \"azure-key\"\n";
    const SOURCE: &str = "[[source]]\nbucket = \"photos\"\n[source.azure]\naccount = \"photos1\"\n\
                          container = \"in\"\nsas_file = \"azure-sas\"\n";

    #[test]
    fn a_container_is_a_store_and_a_source_by_its_account() {
        let store = check(STORE).unwrap().store.unwrap().settings;
        let BucketSettings::Azure(store) = store else {
            panic!("{store:?}");
        };
        let wanted = "https://sealedb.blob.core.windows.net";
        assert_eq!(store.endpoint.to_string(), wanted);
        assert!(matches!(store.credentials, AzureFrom::Key(_)));
        for (line, keeps) in [("", true), ("versions = false\n", false)] {
            let config = check(&format!("{SOURCE}{line}")).unwrap();
            let SourceFrom::Azure(container) = &config.sources[0].from else {
                panic!("{:?}", config.sources);
            };
            assert_eq!(container.settings.keeps_versions, keeps);
        }
    }

    #[test]
    fn what_cannot_be_one_is_refused_with_its_line() {
        for (from, to, setting) in [
            ("sealedb", "Sealed.B", "store.azure.account"),
            ("\"sealed\"", "\"Sealed Objects\"", "store.azure.container"),
            ("key_file = \"azure-key\"", "", "store.azure"),
            ("key_file", "sas_file = \"s\"\nkey_file", "store.azure"),
            ("site-b/", "site-b", "store.azure.prefix"),
            ("prefix", "versions = true\nprefix", "store.azure.versions"),
            (
                "prefix",
                "endpoint = \"http://azure\"\nprefix",
                "store.azure.endpoint",
            ),
            ("account =", "region = \"x\"\naccount =", "configuration"),
        ] {
            let text = STORE.replacen(from, to, 1);
            let refusals = check(&text).unwrap_err().refusals;
            let refused: Vec<_> = refusals.iter().map(|one| one.setting.as_str()).collect();
            assert_eq!(refused, [setting], "{text}");
        }
        let both = format!(
            "{STORE}[store.s3]\nregion = \"eu-west-1\"\nbucket = \"sealed\"\ncredentials_file = \"c\"\n"
        );
        let told = check(&both).unwrap_err().to_string();
        assert!(
            told.contains("[store.s3], [store.azure] and [store.gcs]"),
            "{told}"
        );
    }
}
