//! The S3 endpoint, as far as it can be looked at from here.

use sealift_endpoint::AccessSecret;

use super::{counted, named};
use crate::{
    CheckLine,
    config::{Config, EndpointSettings},
};

const CHECK: &str = "S3 endpoint";

pub(super) fn check(config: &Config) -> Vec<CheckLine> {
    let Some(endpoint) = &config.endpoint else {
        return Vec::new();
    };
    if let Some(refused) = named(config, CHECK, "endpoint.") {
        return refused;
    }
    let unusable = endpoint.keys.iter().filter_map(|key| {
        let error = AccessSecret::load(&key.secret_file).err()?;
        let found = format!(
            "access key {}: {}: {error}",
            key.id,
            key.secret_file.display()
        );
        let remedy = "make another with `sealift endpoint key`";
        Some(CheckLine::fail(CHECK, found, remedy))
    });
    let mut lines: Vec<_> = unusable.collect();
    if lines.is_empty() {
        lines.push(reached(endpoint));
    }
    lines
}

fn reached(endpoint: &EndpointSettings) -> CheckLine {
    let keys = counted(endpoint.keys.len(), "access key", "access keys");
    let found = format!("{} for {keys}", endpoint.listen);
    match endpoint.listen.ip().is_loopback() {
        true => CheckLine::pass(CHECK, found),
        false => CheckLine::warn(
            CHECK,
            format!(
                "{found}; unsafe_listen: what is read and written there leaves this machine in the clear"
            ),
            "listen on loopback",
        ),
    }
}
