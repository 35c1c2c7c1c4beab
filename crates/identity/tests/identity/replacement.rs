//! Certificates, peers and the deny list change while the agent runs.

use std::{collections::BTreeSet, time::Duration};

use sealift_identity::{
    Credentials, IdentityError, LeafRequest, Refusal, Session, TlsContext, TlsPolicy,
};
use sealift_terms::Clock;

use crate::stage::{ALPN, Ca, HeldClock, NOW, credentials, handshake, identity, trust};

fn session(ca: &Ca, server: &TlsContext) -> Result<Session, Refusal> {
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let client = ca
        .context(&one, &[(&two, &ca.bundle)])
        .client(&two, ALPN)
        .unwrap();
    let prepared = server.server(ALPN);
    match handshake(&client.config, &prepared.config).server {
        Ok(connection) => Session::of(&connection, &prepared.own),
        Err(error) => Err(Refusal::of(&error)),
    }
}

#[test]
fn a_new_certificate_is_shown_from_the_next_connection_on() {
    let ca = Ca::new();
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let context = ca.context(&two, &[(&one, &ca.bundle)]);
    let before = session(&ca, &context).unwrap();
    let prepared = context.server(ALPN);
    context.publish(ca.credentials(&two)).unwrap();
    let after = session(&ca, &context).unwrap();
    assert_ne!(before.own.serial, after.own.serial);
    assert_eq!(
        prepared.own.serial, before.own.serial,
        "what was handed out stays as it is"
    );
    assert_eq!(after.own.serial, context.credentials().leaf().serial);
}

#[test]
fn a_certificate_of_another_agent_is_not_published() {
    let ca = Ca::new();
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let context = ca.context(&two, &[(&one, &ca.bundle)]);
    let error = context
        .publish(ca.credentials(&identity("b", "three")))
        .unwrap_err();
    assert!(
        matches!(error, IdentityError::IdentityChanged { .. }),
        "{error}"
    );
    assert_eq!(context.credentials().leaf().identity, two);
}

#[test]
fn a_denied_agent_is_refused_at_once_and_its_session_has_to_end() {
    let ca = Ca::new();
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let context = ca.context(&two, &[(&one, &ca.bundle)]);
    let standing = session(&ca, &context).unwrap();
    assert_eq!(context.check_session(&standing), Ok(()));
    context.set_denied(&BTreeSet::from([one.clone()]));
    let denied = Refusal::Denied {
        identity: one.clone(),
    };
    assert_eq!(session(&ca, &context), Err(denied.clone()));
    assert_eq!(context.check_session(&standing), Err(denied));
    context.set_denied(&BTreeSet::new());
    assert!(session(&ca, &context).is_ok());
    context.set_peers(trust(&[]));
    let unknown = Refusal::UnknownIdentity { identity: one };
    assert_eq!(context.check_session(&standing), Err(unknown));
    // Without any peer there are no roots left by which to know the authority.
    assert!(matches!(
        session(&ca, &context),
        Err(Refusal::UntrustedIssuer { .. })
    ));
}

#[test]
fn a_session_does_not_outlive_either_certificate() {
    let ca = Ca::new();
    let (one, two) = (identity("a", "one"), identity("b", "two"));
    let clock = HeldClock::at(NOW);
    let request = LeafRequest {
        life: Duration::from_secs(20),
        ..LeafRequest::new(two.clone())
    };
    let short = ca.b.issue(&request, &*clock, &sealift_host::OsRng).unwrap();
    let short: Credentials = credentials(&short, &ca.bundle);
    let peers = trust(&[(&one, &ca.bundle)]);
    let policy = TlsPolicy::default();
    let context = TlsContext::new(policy, short.clone(), peers, clock.clone()).unwrap();
    let standing = session(&ca, &context).unwrap();
    assert_eq!(standing.ends(), short.leaf().not_after);
    assert_eq!(
        context.expiry(),
        (short.leaf().not_after, Duration::from_secs(20))
    );
    clock.set(NOW.plus(Duration::from_secs(20)));
    assert_eq!(
        context.check_session(&standing),
        Ok(()),
        "the last second counts"
    );
    clock.set(NOW.plus(Duration::from_secs(21)));
    let ended = context.check_session(&standing);
    assert!(matches!(ended, Err(Refusal::Expired { identity, .. }) if identity == two));
    assert_eq!(clock.now(), NOW.plus(Duration::from_secs(21)));
}
