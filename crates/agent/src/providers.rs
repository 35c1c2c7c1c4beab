//! The key providers that a configuration names, each held to its pace.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sealift_identity::https_client;
use sealift_keys::{
    AwsKms, AwsKmsSettings, KeyProvider, LocalKeystore, Pace, Paced, Pkcs11, Pkcs11Settings,
    Providers, Transit, TransitSettings, WRAPS_FILE, WrapCounter,
};
use sealift_outside::CredentialsFrom;
use tokio_rustls::rustls::ClientConfig;

use crate::{
    Error, World,
    config::{AwsKmsService, Config, Pkcs11Token, TransitService},
};

/// Where systems keep the roots of public authorities.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The roots that vouch for a server outside: a file of a configuration, or the system's.
pub(crate) fn roots_or_system(file: Option<&Path>) -> PathBuf {
    file.map_or_else(
        || {
            let mut known = SYSTEM_ROOTS.iter().map(PathBuf::from);
            let there = known.find(|path| path.exists());
            there.unwrap_or_else(|| PathBuf::from(SYSTEM_ROOTS[0]))
        },
        Path::to_owned,
    )
}

/// Key services, one of a sort.
pub(crate) type Services = Vec<Arc<dyn KeyProvider>>;

/// The keystore of a site beside its key services.
pub(crate) fn with_keystore(keystore: Arc<LocalKeystore>, services: Services) -> Arc<Providers> {
    let keystore: Arc<dyn KeyProvider> = keystore;
    let all = [keystore].into_iter().chain(services);
    Arc::new(Providers::new(all.collect()))
}

/// The key services that a configuration names. None of them is asked for anything yet.
///
/// # Errors
/// [`Error`] for roots or counts that cannot be read.
pub(crate) fn open_services(config: &Config, world: &World) -> Result<Services, Error> {
    let mut providers = Services::new();
    let services = &config.key_services;
    if let Some(service) = &services.aws_kms {
        let aws_kms = aws_kms(config, world, service)?;
        providers.push(paced(world, Arc::new(aws_kms), service.pace));
    }
    if services.transit.is_some() || services.pkcs11.is_some() {
        let counts = config.site.data_dir.join(WRAPS_FILE);
        let counts = Arc::new(WrapCounter::open(Arc::clone(&world.disk), &counts)?);
        if let Some(service) = &services.transit {
            let transit = transit(config, world, service, Arc::clone(&counts))?;
            providers.push(paced(world, Arc::new(transit), service.pace));
        }
        if let Some(token) = &services.pkcs11 {
            let pkcs11 = pkcs11(config, world, token, counts);
            providers.push(paced(world, Arc::new(pkcs11), token.pace));
        }
    }
    Ok(providers)
}

fn paced(world: &World, provider: Arc<dyn KeyProvider>, pace: Pace) -> Arc<dyn KeyProvider> {
    let (clock, rng) = (Arc::clone(&world.clock), Arc::clone(&world.rng));
    Arc::new(Paced::new(provider, pace, clock, rng))
}

fn aws_kms(config: &Config, world: &World, service: &AwsKmsService) -> Result<AwsKms, Error> {
    let settings = AwsKmsSettings {
        aws_region: service.aws_region.clone(),
        region: config.site.region.clone(),
        endpoint: service.endpoint.clone(),
        credentials: service.credentials.clone(),
    };
    let tls = client(
        world,
        service.roots_file.as_deref(),
        service.endpoint.is_tls(),
    )?;
    Ok(AwsKms::new(settings, tls, Arc::clone(&world.clock)))
}

fn pkcs11(config: &Config, world: &World, token: &Pkcs11Token, counts: Arc<WrapCounter>) -> Pkcs11 {
    let settings = Pkcs11Settings {
        module: token.module.clone(),
        token: token.token.clone(),
        pin_file: token.pin_file.clone(),
        region: config.site.region.clone(),
    };
    Pkcs11::new(settings, counts, Arc::clone(&world.rng))
}

fn transit(
    config: &Config,
    world: &World,
    service: &TransitService,
    counts: Arc<WrapCounter>,
) -> Result<Transit, Error> {
    let settings = TransitSettings {
        endpoint: service.endpoint.clone(),
        mount: service.mount.clone(),
        namespace: service.namespace.clone(),
        token_file: service.token_file.clone(),
        region: config.site.region.clone(),
    };
    let tls = client(
        world,
        service.roots_file.as_deref(),
        service.endpoint.is_tls(),
    )?;
    let clock = Arc::clone(&world.clock);
    Ok(Transit::new(settings, tls, clock, counts))
}

/// TLS for a service. One that is asked in the clear, on loopback, needs no roots.
pub(crate) fn client(
    world: &World,
    roots: Option<&Path>,
    is_tls: bool,
) -> Result<Option<Arc<ClientConfig>>, Error> {
    if !is_tls {
        return Ok(None);
    }
    let roots = roots_or_system(roots);
    Ok(Some(https_client(&roots, Arc::clone(&world.clock))?))
}

/// The files that key services need while the agent runs.
pub(crate) fn files_of_services(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let Some(aws_kms) = &config.key_services.aws_kms {
        match &aws_kms.credentials {
            CredentialsFrom::File(file) => files.push(file.clone()),
            CredentialsFrom::Container(container) => {
                files.extend(container.token_file().map(Path::to_owned));
            }
            CredentialsFrom::Instance => {}
        }
        files.push(roots_or_system(aws_kms.roots_file.as_deref()));
    }
    if let Some(pkcs11) = &config.key_services.pkcs11 {
        files.extend([pkcs11.module.clone(), pkcs11.pin_file.clone()]);
    }
    if let Some(transit) = &config.key_services.transit {
        files.push(transit.token_file.clone());
        files.push(roots_or_system(transit.roots_file.as_deref()));
    }
    files
}
