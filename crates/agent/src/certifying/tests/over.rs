//! A certificate that is over: what an agent may begin with, and for how long.

use std::{fs, sync::Arc, time::Duration};

use sealift_host::OsClock;
use sealift_identity::Credentials;
use sealift_terms::{Clock, limits::RENEWAL_GRACE_MIN};

use super::{
    super::{awaits_renewal, load_credentials, load_credentials_beside, load_last_credentials},
    stage::{AGENT, Given, SetClock, Stage, write_secret},
};
use crate::{CheckLine, Outcome, check_offline, config::Config, offline::CERTIFICATE};

const FILES: &str = "certificate = \"tls.crt\"\nprivate_key_file = \"tls.key\"";
const SECOND: Duration = Duration::from_secs(1);

/// A site that has a certificate in its files, and a clock that can be set.
struct Over {
    stage: Stage,
    clock: Arc<SetClock>,
}

impl Over {
    fn new() -> Self {
        let clock = SetClock::now_is(OsClock.now());
        let stage = Stage::new(clock.clone());
        let (chain, key) = stage.pair(Given::Good);
        fs::write(stage.path("tls.crt"), chain).unwrap();
        write_secret(&stage.path("tls.key"), &key);
        Self { stage, clock }
    }

    fn renewed_by(&self, issuer: &str, more: &str) -> Config {
        let issuer = format!("issuer = {{ address = \"127.0.0.1:1\", identity = \"{issuer}\" }}");
        self.stage.config(&format!("{FILES}\n{issuer}"), more)
    }

    fn last(&self, config: &Config) -> Credentials {
        load_last_credentials(config, &self.stage.world).unwrap()
    }

    fn awaits(&self, config: &Config) -> bool {
        awaits_renewal(config, &self.stage.world)
    }
}

async fn certificate_line(over: &Over, config: &Config) -> CheckLine {
    let lines = check_offline(config, &over.stage.world).await;
    let found = lines.into_iter().find(|line| line.check == CERTIFICATE);
    found.unwrap()
}

#[tokio::test]
async fn an_agent_begins_with_a_certificate_that_is_over_while_its_issuer_renews_it() {
    let over = Over::new();
    let config = over.renewed_by(&AGENT.replace("a1", "issuer"), "");
    let leaf = over.last(&config).leaf().clone();
    assert!(!over.awaits(&config), "it is good");
    over.clock.jump(over.stage.life * 2, false);
    assert!(load_credentials(&config, &over.stage.world).is_err());
    assert_eq!(over.last(&config).leaf(), &leaf);
    assert!(over.awaits(&config));
    let line = certificate_line(&over, &config).await;
    assert_eq!(line.outcome, Outcome::Fail);
    assert!(line.remedy.unwrap().contains("its issuer renews it"));
    // Its grace is over.
    over.clock.jump(RENEWAL_GRACE_MIN, false);
    assert!(over.stage.world.clock.now() > leaf.renewable_until().plus(SECOND));
    assert!(!over.awaits(&config));
    let line = certificate_line(&over, &config).await;
    assert_eq!(line.outcome, Outcome::Fail);
    assert!(line.remedy.unwrap().contains("sealift init --token-file"));
    // The issuing agent and those whose certificates come from elsewhere need none.
    let ca = "[ca]\ndirectory = \"ca\"\nlisten = \"127.0.0.1:1\"\n";
    assert!(over.awaits(&over.renewed_by(AGENT, ca)));
    assert!(over.awaits(&over.stage.config(FILES, "")));
    // It is no other agent's.
    let (chain, key) = over.stage.pair(Given::OtherAgent);
    fs::write(over.stage.path("tls.crt"), chain).unwrap();
    write_secret(&over.stage.path("tls.key"), &key);
    assert!(!over.awaits(&over.stage.config(FILES, "")));
}

#[tokio::test]
async fn what_is_over_takes_the_place_of_nothing_that_is_in_force() {
    let over = Over::new();
    let config = over.stage.config(FILES, "");
    let (world, last) = (&over.stage.world, over.last(&config));
    over.clock.jump(over.stage.life * 2, false);
    // It stays what it was, and is no news.
    let beside = load_credentials_beside(&last, &config, world).unwrap();
    assert!(beside.shows_the_same(&last));
    // Whoever has a better one keeps it.
    let better = over.stage.credentials();
    assert!(load_credentials_beside(&better, &config, world).is_err());
    // What was never good is not looked at.
    let (chain, key) = over.stage.pair(Given::ForeignRoot);
    fs::write(over.stage.path("tls.crt"), chain).unwrap();
    write_secret(&over.stage.path("tls.key"), &key);
    over.clock.jump(over.stage.life * 2, false);
    assert!(load_last_credentials(&config, world).is_err());
}
