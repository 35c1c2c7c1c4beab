//! ACME as servers speak it, and as they should not.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sealift_host::OsClock;
use sealift_terms::{Clock, Timestamp};
use tokio::{net::TcpStream, time::timeout};

use super::{
    super::{Advice, CertificateSource, get_first, keep, load_credentials, source_of, turn},
    acme_server::{AcmeServer, Info},
    free_address,
    stage::{Given, Stage, TestDesk, write_secret},
};
use crate::{Error, config::Config};

struct Acme {
    stage: Arc<Stage>,
    server: Arc<AcmeServer>,
}

impl Acme {
    async fn new() -> Self {
        Self::living(Duration::from_secs(3600)).await
    }

    async fn living(life: Duration) -> Self {
        let mut stage = Stage::new(Arc::new(OsClock));
        stage.life = life;
        let stage = Arc::new(stage);
        let server = AcmeServer::start(&stage, free_address()).await;
        Self { stage, server }
    }

    fn config(&self, more: &str) -> Config {
        self.stage.config(&self.server.section(more), "")
    }

    fn source(&self, more: &str) -> Box<dyn CertificateSource> {
        let config = self.config(more);
        source_of(&config, &self.stage.world, &self.stage.facts(&config))
    }

    fn desk(&self, more: &str) -> TestDesk {
        let config = self.config(more);
        let (facts, world) = (self.stage.facts(&config), self.stage.world.clone());
        self.stage
            .desk(Box::new(move || source_of(&config, &world, &facts)))
    }

    async fn refuses(&self, more: &str) -> String {
        let error: Error = self
            .source(more)
            .next(None, &self.desk(more))
            .await
            .unwrap_err();
        error.in_one_line()
    }
}

#[tokio::test]
async fn acme_s_silent_profile_is_caught() {
    let acme = Acme::new().await;
    {
        let mut manner = acme.server.manner.lock();
        manner.profiles = vec!["classic", "shortlived"];
        manner.ignores_profiles = true;
    }
    let told = acme.refuses("profile = \"shortlived\"\n").await;
    assert!(
        told.contains("ignores the profile \"shortlived\""),
        "{told}"
    );
    assert_eq!(acme.server.asked("finalize"), 0);
    acme.server.manner.lock().ignores_profiles = false;
    let given = acme
        .source("profile = \"shortlived\"\n")
        .next(None, &acme.desk(""))
        .await;
    assert!(given.unwrap().is_some());
}

#[tokio::test]
async fn a_profile_that_is_not_offered_is_not_ordered() {
    let acme = Acme::new().await;
    let told = acme.refuses("profile = \"shortlived\"\n").await;
    assert!(
        told.contains("no profile \"shortlived\": it has none"),
        "{told}"
    );
    acme.server.manner.lock().profiles = vec!["classic"];
    let told = acme.refuses("profile = \"shortlived\"\n").await;
    assert!(told.contains("it has classic"), "{told}");
    assert_eq!(acme.server.asked("new-order"), 0);
}

fn info(start: Timestamp, end: Timestamp, retry_after: Option<&'static str>) -> Option<Info> {
    let body = format!(
        "{{\"suggestedWindow\":{{\"start\":\"{}\",\"end\":\"{}\"}}}}",
        rfc3339(start),
        rfc3339(end)
    );
    Some(Info { body, retry_after })
}

fn rfc3339(at: Timestamp) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(at.as_secs()).unwrap();
    at.format(&time::format_description::well_known::Rfc3339)
        .unwrap()
}

#[tokio::test]
async fn renewal_information_is_read_bounded_and_missing_times_are_six_hours() {
    let acme = Acme::new().await;
    let (source, shown) = (acme.source(""), acme.stage.credentials());
    // A server that knows of no such thing.
    assert_eq!(source.advice(&shown).await.unwrap(), None);
    let now = Timestamp::from_secs(OsClock.now().as_secs());
    let hour = Duration::from_secs(3600);
    let ask = async |given: Option<Info>| {
        acme.server.manner.lock().info = given;
        source.advice(&shown).await
    };
    let Advice { window, again } = ask(info(now, now.plus(hour), Some("120")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((window.start, window.end), (now, now.plus(hour)));
    assert!((118..=120).contains(&again.as_secs()), "{again:?}");
    for none in [None, Some("soon")] {
        let advice = ask(info(now.minus(hour), now, none))
            .await
            .unwrap()
            .unwrap();
        assert!(
            (21_590..=21_600).contains(&advice.again.as_secs()),
            "{:?}",
            advice.again
        );
        assert_eq!(advice.window.end, now);
    }
    for bad in [
        "",
        "{}",
        "[]",
        "{\"suggestedWindow\":{\"start\":\"yesterday\",\"end\":\"now\"}}",
    ] {
        let body = bad.to_owned();
        let asked = ask(Some(Info {
            body,
            retry_after: Some("60"),
        }))
        .await;
        assert!(asked.is_err(), "{bad}");
    }
}

/// Runs the keeper until the certificate was replaced, or for a time.
async fn keeps(desk: &TestDesk, for_secs: u64) -> bool {
    let before = desk.serial();
    let replaced = async {
        while desk.serial() == before {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let replaced = async {
        timeout(Duration::from_secs(for_secs), replaced)
            .await
            .is_ok()
    };
    tokio::select! {
        () = keep(desk) => unreachable!(),
        replaced = replaced => replaced,
    }
}

#[tokio::test]
async fn a_window_that_is_past_renews_now_and_one_to_come_does_not() {
    let acme = Acme::new().await;
    let desk = acme.desk("");
    let now = OsClock.now();
    let day = Duration::from_secs(86_400);
    // To come, empty, malformed: what was drawn counts, which is half an hour away.
    for waits in [
        info(now.plus(day), now.plus(day * 2), Some("60")),
        info(now.minus(day), now.minus(day), Some("60")),
        Some(Info {
            body: "{".to_owned(),
            retry_after: Some("60"),
        }),
    ] {
        acme.server.manner.lock().info = waits.clone();
        assert!(!keeps(&desk, 1).await, "{waits:?}");
    }
    acme.server.manner.lock().info = info(now.minus(day * 2), now.minus(day), None);
    let shown = desk.tls.credentials();
    assert!(keeps(&desk, 20).await);
    // The order said what it replaces.
    let identifier = instant_acme::CertificateIdentifier::try_from(&shown.chain()[0]).unwrap();
    assert_eq!(acme.server.replaced(), [identifier.to_string()]);
}

#[tokio::test]
async fn an_account_is_made_once_and_its_key_rests_sealed() {
    let acme = Acme::new().await;
    let desk = acme.desk("");
    for _ in 0..3 {
        assert!(turn(&desk).await.unwrap());
    }
    assert_eq!(acme.server.asked("new-account"), 1);
    let file = acme.stage.path("data/acme-account");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let sealed = fs::read(&file).unwrap();
    let shows = |text: &[u8]| sealed.windows(text.len()).any(|part| part == text);
    assert!(!shows(b"key_pkcs8") && !shows(b"https://"));
    // What was altered is no account, and nothing is asked in its place.
    let mut spoilt = sealed.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    fs::write(&file, spoilt).unwrap();
    let error = turn(&desk).await.unwrap_err().in_one_line();
    assert!(error.contains("ACME account"), "{error}");
}

#[tokio::test]
async fn a_server_that_forgot_the_account_gets_another_one() {
    let acme = Acme::new().await;
    let desk = acme.desk("");
    assert!(turn(&desk).await.unwrap());
    acme.server.manner.lock().knows_nobody = true;
    let error = turn(&desk).await.unwrap_err().in_one_line();
    assert!(error.contains("no such account"), "{error}");
    assert!(turn(&desk).await.unwrap());
    assert_eq!(acme.server.asked("new-account"), 2);
}

#[tokio::test]
async fn each_certificate_has_a_key_of_its_own_and_nobody_listens_afterwards() {
    let acme = Acme::new().await;
    let desk = acme.desk("");
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..3 {
        assert!(turn(&desk).await.unwrap());
        let pair = fs::read_to_string(acme.stage.path("data/identity.pem")).unwrap();
        let key = pair.find("-----BEGIN PRIVATE KEY").unwrap();
        keys.insert(pair[key..].to_owned());
        assert!(!acme.stage.path("data/identity.key.next").exists());
    }
    assert_eq!(keys.len(), 3);
    let Config { identity, .. } = acme.config("");
    let crate::config::CertificatesFrom::Acme(acme) = identity.source else {
        panic!("{:?}", identity.source);
    };
    assert!(TcpStream::connect(acme.listen).await.is_err());
}

#[tokio::test]
async fn an_external_account_is_bound_with_its_key_and_with_no_other() {
    let acme = Acme::new().await;
    let key = b"thirty-two bytes of a shared key";
    acme.server.manner.lock().external = Some(("kid-1", key.to_vec()));
    let binding = "eab_key_id = \"kid-1\"\neab_key_file = \"eab.key\"\n";
    let told = acme.refuses("").await;
    assert!(told.contains("binding is not good"), "{told}");
    let file = acme.stage.path("eab.key");
    write_secret(&file, &URL_SAFE_NO_PAD.encode(b"another key"));
    let told = acme.refuses(binding).await;
    assert!(told.contains("binding is not good"), "{told}");
    write_secret(&file, "not base64!");
    let told = acme.refuses(binding).await;
    assert!(told.contains("no key in base64url"), "{told}");
    write_secret(&file, &format!("{}\n", URL_SAFE_NO_PAD.encode(key)));
    let given = acme
        .source(binding)
        .next(None, &acme.desk(""))
        .await
        .unwrap();
    assert!(given.is_some());
}

#[tokio::test]
async fn an_issuer_that_is_down_leaves_the_old_one_in_force() {
    let acme = Acme::new().await;
    let desk = acme.desk("");
    assert!(turn(&desk).await.unwrap());
    let serial = desk.serial();
    acme.server.manner.lock().is_down = true;
    assert!(turn(&desk).await.is_err());
    assert_eq!((desk.serial(), desk.counted("failed")), (serial, 1));
    acme.server.manner.lock().is_down = false;
    assert!(turn(&desk).await.unwrap());
}

#[tokio::test]
async fn certificates_of_twenty_seconds_are_renewed_past_an_outage() {
    let acme = Acme::living(Duration::from_secs(20)).await;
    let desk = acme.desk("");
    let watch = async {
        let (mut serials, mut last) = (0, String::new());
        while serials < 3 {
            let shown = desk.tls.credentials();
            let leaf = shown.leaf();
            let now = OsClock.now();
            assert!(now < leaf.not_after, "it ended");
            if last != leaf.serial {
                (serials, last) = (serials + 1, leaf.serial.clone());
            }
            // Down until the first one, which is due with six to nine seconds left, has four.
            let left = leaf.not_after.since(now);
            acme.server.manner.lock().is_down = serials == 1 && left > Duration::from_secs(4);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = keep(&desk) => unreachable!(),
        () = watch => {}
    }
    assert!(desk.counted("failed") >= 2);
}

#[tokio::test]
async fn the_first_certificate_is_got_before_an_agent_starts() {
    let acme = Acme::new().await;
    let config = acme.config("");
    assert!(load_credentials(&config, &acme.stage.world).is_err());
    // Once it is bad, then it is good: it is asked for again.
    acme.server.manner.lock().given = Given::Expired;
    let repaired = async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        acme.server.manner.lock().given = Given::Good;
    };
    let (got, ()) = tokio::join!(get_first(&config, &acme.stage.world), repaired);
    got.unwrap();
    let loaded = load_credentials(&config, &acme.stage.world).unwrap();
    // With one that is good nobody is asked.
    let orders = acme.server.asked("new-order");
    get_first(&config, &acme.stage.world).await.unwrap();
    assert_eq!(acme.server.asked("new-order"), orders);
    assert_eq!(loaded.leaf().identity.as_str(), super::stage::AGENT);
}
