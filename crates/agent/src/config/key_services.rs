//! `[keys.transit]` and the like: key services beside the embedded keystore.

use std::{ops::Range, time::Duration};

use sealift_keys::{AwsKmsSettings, Pace};
use sealift_outside::{ContainerCredentials, CredentialsFrom, Endpoint};
use sealift_terms::limits;
use toml::Spanned;

use super::{
    checked::{AwsKmsService, KeyServices, Pkcs11Token, Site, TransitService},
    checker::Checker,
    named::Wanted,
    raw::{self, Number, Text},
};

/// CK_TOKEN_INFO has so much room.
const TOKEN_LABEL_BYTES_MAX: usize = 32;
/// The roots of a service that is known by a file of them.
pub(super) const ROOTS_REMEDY: &str = "write the roots that vouch for the service into it, PEM";

pub(super) fn key_services(
    c: &mut Checker<'_>,
    raw: &raw::Keys,
    site: Option<&Site>,
) -> KeyServices {
    let transit = raw.transit.as_ref();
    let aws_kms = raw.aws_kms.as_ref().zip(site);
    let pkcs11 = raw.pkcs11.as_ref();
    KeyServices {
        pkcs11: pkcs11.and_then(|raw| self::pkcs11(c, raw.get_ref())),
        aws_kms: aws_kms.and_then(|(raw, site)| self::aws_kms(c, raw, site)),
        transit: transit.and_then(|transit| self::transit(c, transit.get_ref())),
    }
}

fn pkcs11(c: &mut Checker<'_>, raw: &raw::Pkcs11) -> Option<Pkcs11Token> {
    let remedy = "install the module, or name another";
    let module = c.named("keys.pkcs11.module", &raw.module, Wanted::File, remedy);
    let token = raw.token.get_ref();
    if token.is_empty() || token.len() > TOKEN_LABEL_BYTES_MAX {
        return c.refuse(
            "keys.pkcs11.token",
            &raw.token.span(),
            format!("{token:?}"),
            "the label of a token: 1 to 32 bytes",
            "write one that `pkcs11-tool --list-slots` shows",
        );
    }
    let remedy = "write the PIN of the token's user into it";
    let pin_file = c.named(
        "keys.pkcs11.pin_file",
        &raw.pin_file,
        Wanted::Secret,
        remedy,
    );
    let remedy = "write where the module keeps its tokens";
    let setting = "keys.pkcs11.directories";
    let directories = raw.directories.iter();
    let directories = directories.map(|text| c.named(setting, text, Wanted::Directory, remedy));
    let directories = directories.collect();
    let pace = pace(
        c,
        ["keys.pkcs11.calls_per_sec", "keys.pkcs11.state_known_secs"],
        raw.calls_per_sec.as_ref(),
        raw.state_known_secs.as_ref(),
    );
    Some(Pkcs11Token {
        module,
        token: token.clone(),
        pin_file,
        directories,
        pace,
    })
}

fn aws_kms(
    c: &mut Checker<'_>,
    section: &Spanned<raw::AwsKms>,
    site: &Site,
) -> Option<AwsKmsService> {
    let raw = section.get_ref();
    let aws_region = match &raw.region {
        Some(text) => c.name("keys.aws_kms.region", text)?,
        None => site.region.clone(),
    };
    let endpoint = match &raw.endpoint {
        Some(text) => endpoint(c, "keys.aws_kms.endpoint", text)?,
        None => Endpoint::parse(&AwsKmsSettings::usual_endpoint(&aws_region)).ok()?,
    };
    let credentials = credentials(
        c,
        [
            "keys.aws_kms",
            "keys.aws_kms.credentials_file",
            "keys.aws_kms.credentials_from",
        ],
        &section.span(),
        raw.credentials_file.as_ref(),
        raw.credentials_from.as_ref(),
    );
    let setting = "keys.aws_kms.roots_file";
    let roots = raw.roots_file.as_ref();
    let roots_file = roots.map(|file| c.named(setting, file, Wanted::File, ROOTS_REMEDY));
    let pace = pace(
        c,
        [
            "keys.aws_kms.calls_per_sec",
            "keys.aws_kms.state_known_secs",
        ],
        raw.calls_per_sec.as_ref(),
        raw.state_known_secs.as_ref(),
    );
    Some(AwsKmsService {
        aws_region,
        endpoint,
        credentials: credentials?,
        roots_file,
        pace,
    })
}

/// Said, and not guessed: an agent that takes whatever it finds may be somebody else.
pub(super) fn credentials(
    c: &mut Checker<'_>,
    [section, file_setting, from_setting]: [&'static str; 3],
    span: &Range<usize>,
    file: Option<&Text>,
    from: Option<&Text>,
) -> Option<CredentialsFrom> {
    let allowed = "credentials_file, or credentials_from = \"instance\" or \"container\"";
    match (file, from) {
        (Some(file), None) => Some(CredentialsFrom::File(c.named(
            file_setting,
            file,
            Wanted::Secret,
            "write aws_access_key_id and aws_secret_access_key into it",
        ))),
        (None, Some(from)) if from.get_ref() == "instance" => Some(CredentialsFrom::Instance),
        (None, Some(from)) if from.get_ref() == "container" => {
            let found = ContainerCredentials::from_environment(|name| std::env::var(name).ok());
            match found {
                Ok(container) => Some(CredentialsFrom::Container(container)),
                Err(missing) => c.refuse(
                    from_setting,
                    &from.span(),
                    "\"container\", and no container of ECS or EKS",
                    missing,
                    "give the task or the pod a role, or name a credentials_file",
                ),
            }
        }
        (None, Some(from)) => c.refuse(
            from_setting,
            &from.span(),
            format!("{:?}", from.get_ref()),
            allowed,
            "write one of them",
        ),
        _ => c.refuse(
            section,
            span,
            "none or two sources of credentials",
            allowed,
            "keep one of them",
        ),
    }
}

fn transit(c: &mut Checker<'_>, raw: &raw::Transit) -> Option<TransitService> {
    let endpoint = endpoint(c, "keys.transit.address", &raw.address);
    let mount = raw.mount.as_ref();
    let mount = mount.map(|mount| path(c, "keys.transit.mount", mount));
    let namespace = raw.namespace.as_ref();
    let namespace = namespace.map(|text| path(c, "keys.transit.namespace", text));
    let token_file = c.named(
        "keys.transit.token_file",
        &raw.token_file,
        Wanted::Secret,
        "write a token into it, or let an agent of the service keep one there",
    );
    let roots = raw.roots_file.as_ref();
    let setting = "keys.transit.roots_file";
    let roots_file = roots.map(|file| c.named(setting, file, Wanted::File, ROOTS_REMEDY));
    let pace = pace(
        c,
        [
            "keys.transit.calls_per_sec",
            "keys.transit.state_known_secs",
        ],
        raw.calls_per_sec.as_ref(),
        raw.state_known_secs.as_ref(),
    );
    Some(TransitService {
        endpoint: endpoint?,
        mount: mount.unwrap_or_else(|| Some("transit".to_owned()))?,
        namespace: match namespace {
            Some(namespace) => Some(namespace?),
            None => None,
        },
        token_file,
        roots_file,
        pace,
    })
}

pub(super) fn endpoint(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<Endpoint> {
    match Endpoint::parse(text.get_ref()) {
        Ok(endpoint) => Some(endpoint),
        Err(allowed) => c.refuse(
            setting,
            &text.span(),
            format!("{:?}", text.get_ref()),
            allowed,
            "write where the service is",
        ),
    }
}

/// What becomes a part of a path or a header.
fn path(c: &mut Checker<'_>, setting: &str, text: &Text) -> Option<String> {
    let path = text.get_ref().trim_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let segment = |segment: &str| !segment.is_empty() && segment != "." && segment != "..";
    if path.split('/').all(segment) && path.bytes().all(is_plain) {
        return Some(path.to_owned());
    }
    c.refuse(
        setting,
        &text.span(),
        format!("{:?}", text.get_ref()),
        "letters, digits, '-', '_', '.', with '/' between the parts",
        "write it as the service has it",
    )
}

fn pace(
    c: &mut Checker<'_>,
    settings: [&str; 2],
    calls: Option<&Number>,
    state_known: Option<&Number>,
) -> Pace {
    let calls = c.number(
        settings[0],
        calls,
        1..=limits::KEY_CALLS_PER_SEC_MAX,
        limits::KEY_CALLS_PER_SEC_DEFAULT,
    );
    let state_known = c.number(
        settings[1],
        state_known,
        0..=limits::KEY_STATE_KNOWN_MAX.as_secs(),
        limits::KEY_STATE_KNOWN_DEFAULT.as_secs(),
    );
    Pace {
        calls_per_sec: u32::try_from(calls).unwrap_or(u32::MAX),
        state_known: Duration::from_secs(state_known),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, tests::checked};

    fn check(services: &str, key: &str) -> Result<Config, ConfigError> {
        checked(&format!(
            "[site]\nname = \"b1\"\nregion = \"eu-west\"\ndata_dir = \"data\"\n\
                 [identity]\ntrust_bundle = \"roots.pem\"\ncertificate = \"c\"\nprivate_key_file = \"k\"\n\
                 [keys]\nroot_key_file = \"root.key\"\n{services}\n\
                 [[bucket]]\nname = \"photos\"\nkey = \"{key}\"\n"
        ))
    }

    #[track_caller]
    fn refused(services: &str, key: &str) -> String {
        let error = check(services, key).unwrap_err();
        assert_eq!(error.refusals.len(), 1, "{error}");
        error.to_string()
    }

    const TRANSIT: &str =
        "[keys.transit]\naddress = \"https://vault:8200\"\ntoken_file = \"token\"\n";

    #[test]
    fn a_key_of_a_service_needs_its_section() {
        let config = check(TRANSIT, "transit/photos").unwrap();
        let transit = config.key_services.transit.unwrap();
        assert_eq!(
            (transit.mount.as_str(), transit.pace.calls_per_sec),
            ("transit", 100)
        );
        for (key, section) in [
            ("transit/photos", "[keys.transit]"),
            ("aws-kms/alias/photos", "[keys.aws_kms]"),
            ("pkcs11/photos", "[keys.pkcs11]"),
        ] {
            assert!(refused("", key).contains(section), "{key}");
        }
        for key in [
            "aws-kms/alias/aws/s3",
            "aws-kms/arn:aws:kms:eu-west-1:999:alias/aws/s3",
        ] {
            let told = refused(AWS, key);
            assert!(told.contains("those that AWS manages"), "{told}");
        }
        assert!(check("", "alias/photos").is_ok());
    }

    const AWS: &str =
        "[keys.aws_kms]\nregion = \"eu-west-1\"\ncredentials_file = \"credentials\"\n";

    #[test]
    fn aws_kms_is_asked_in_its_region_as_whom_the_file_says() {
        let config = check(AWS, "aws-kms/alias/photos").unwrap();
        let service = config.key_services.aws_kms.unwrap();
        assert_eq!(
            service.endpoint.to_string(),
            "https://kms.eu-west-1.amazonaws.com"
        );
        let own = check(&AWS.replace("region = \"eu-west-1\"\n", ""), "alias/a").unwrap();
        let service = own.key_services.aws_kms.unwrap();
        assert_eq!(service.aws_region, own.site.region);
        for (from, to, setting) in [
            (
                "credentials_file",
                "endpoint = \"http://kms\"\ncredentials_file",
                "keys.aws_kms.endpoint",
            ),
            (
                "credentials_file",
                "credentials_from = \"instance\"\ncredentials_file",
                "keys.aws_kms",
            ),
            (
                "credentials_file",
                "credentials_from",
                "keys.aws_kms.credentials_from",
            ),
            ("credentials_file = \"credentials\"", "", "keys.aws_kms"),
            ("eu-west-1", "EU", "keys.aws_kms.region"),
        ] {
            let told = refused(&AWS.replace(from, to), "alias/photos");
            assert!(told.contains(setting), "{told}");
        }
        let instance = AWS.replace(
            "credentials_file = \"credentials\"",
            "credentials_from = \"instance\"",
        );
        assert!(check(&instance, "alias/photos").is_ok());
    }

    #[test]
    fn a_token_is_named_by_its_label() {
        let section = "[keys.pkcs11]\nmodule = \"/m.so\"\ntoken = \"sealift\"\npin_file = \"pin\"\n\
                       directories = [\"/var/lib/softhsm/tokens\"]\n";
        let config = check(section, "pkcs11/photos").unwrap();
        assert_eq!(config.key_services.pkcs11.unwrap().directories.len(), 1);
        let long = "x".repeat(33);
        for label in ["", long.as_str()] {
            let told = refused(&section.replace("sealift", label), "alias/a");
            assert!(told.contains("keys.pkcs11.token"), "{told}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_service_is_told_with_its_setting() {
        for (from, to, setting) in [
            (
                "https://vault:8200",
                "http://vault:8200",
                "keys.transit.address",
            ),
            ("https://vault:8200", "vault", "keys.transit.address"),
            (
                "token_file",
                "mount = \"a/../b\"\ntoken_file",
                "keys.transit.mount",
            ),
            (
                "token_file",
                "namespace = \"a b\"\ntoken_file",
                "keys.transit.namespace",
            ),
            (
                "token_file",
                "calls_per_sec = 0\ntoken_file",
                "keys.transit.calls_per_sec",
            ),
            (
                "token_file",
                "state_known_secs = 301\ntoken_file",
                "keys.transit.state_known_secs",
            ),
            (
                "token_file",
                "token = \"s3cret\"\ntoken_file",
                "unknown field",
            ),
        ] {
            let told = refused(&TRANSIT.replace(from, to), "alias/photos");
            assert!(told.contains(setting), "{told}");
        }
    }
}
