//! The first certificate of an agent that gets it itself.

use std::time::Duration;

use async_trait::async_trait;

use super::{TakesBundles, load_last_credentials, source_of};
use crate::{
    Error, World,
    config::Config,
    providers::open_services,
    world::{open_keystore_under, root_secret_by},
};

/// Tries before a start is given up; whoever starts agents starts them again.
const TRIES: u32 = 5;
/// After the first of them; twice as long after each other one.
const PAUSE: Duration = Duration::from_secs(1);
const TRY_TIME_MAX: Duration = Duration::from_secs(120);

/// An agent that has not begun: what issues its first certificate gives no bundle.
struct Nobody;

#[async_trait]
impl TakesBundles for Nobody {
    async fn take(&self, _: &str) {}

    async fn files_changed(&self) {}
}

/// Gets a certificate where there is none that can be used and the configuration says
/// from where.
///
/// # Errors
/// What the last try failed with.
pub(crate) async fn get_first(config: &Config, world: &World) -> Result<(), Error> {
    let gets = config.identity.agent.is_some() && config.identity.source.writes();
    // One that is over is renewed when the agent runs.
    if !gets || load_last_credentials(config, world).is_ok() {
        return Ok(());
    }
    let services = open_services(config, world)?;
    let secret = root_secret_by(config, world, &services).await?;
    let facts = open_keystore_under(config, world, secret)?.facts_key();
    let source = source_of(config, world, &facts);
    if source.word() == "issuer" {
        return Ok(());
    }
    let mut pause = PAUSE;
    for left in (0..TRIES).rev() {
        let late = || Error::TryAgain {
            what: format!("{} gave no certificate in time", source.word()),
            reason: None,
        };
        let tried = tokio::time::timeout(TRY_TIME_MAX, source.next(None, &Nobody)).await;
        match tried.unwrap_or_else(|_| Err(late())) {
            Ok(_) => break,
            Err(error) if left == 0 => return Err(error),
            Err(error) => {
                let told = error.in_one_line();
                tracing::error!(
                    source = source.word(),
                    error = told,
                    "there is no first certificate yet"
                );
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    Ok(())
}
