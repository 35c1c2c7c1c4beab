//! Forwards and targets, as far as they can be looked at from here.

use std::time::Duration;

use sealift_forward::{Address, Forward, Target};

use crate::{CheckLine, config::Config};

/// How long a target may take to answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

pub(super) async fn check(config: &Config) -> Vec<CheckLine> {
    let mut lines: Vec<_> = config.forwards.iter().map(forward).collect();
    for one in &config.forward_targets {
        lines.push(target(one).await);
    }
    lines
}

fn forward(forward: &Forward) -> CheckLine {
    let check = format!("forward {}", forward.name);
    let Forward {
        listen,
        target,
        peer,
        ..
    } = forward;
    if let Address::Unix(path) = listen
        && let Some(directory) = path.parent()
        && !directory.is_dir()
    {
        let found = format!("{} is no directory", directory.display());
        let remedy = format!("make it: `mkdir {}`", directory.display());
        return CheckLine::fail(check, found, remedy);
    }
    let found = format!("{listen} leads to {target} at {peer}");
    match listen.is_local() {
        true => CheckLine::pass(check, found),
        false => CheckLine::warn(
            check,
            format!("{found}; unsafe_listen: whoever reaches it may use it, in the clear"),
            "listen on loopback or a Unix socket",
        ),
    }
}

/// A service that is away is no reason not to start.
async fn target(target: &Target) -> CheckLine {
    let check = format!("forward target {}", target.name);
    let Target { address, allow, .. } = target;
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, address.connect()).await;
    let obstacle = match connected {
        Ok(Ok(_)) if address.is_local() => {
            let users = super::counted(allow.len(), "identity", "identities");
            return CheckLine::pass(check, format!("{address} answers, for {users}"));
        }
        Ok(Ok(_)) => {
            let found = format!("{address} answers; bytes to it leave this machine in the clear");
            let remedy = "run the agent beside the service, or protect the network between";
            return CheckLine::warn(check, found, remedy);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_late) => format!("no answer within {} s", CONNECT_TIME_MAX.as_secs()),
    };
    let found = format!("{address}: {obstacle}");
    CheckLine::warn(
        check,
        found,
        "start the service, or correct forward_target.address",
    )
}
