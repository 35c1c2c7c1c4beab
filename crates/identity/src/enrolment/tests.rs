use rcgen::{CertificateParams, KeyPair};
use sealift_host::{OsClock, OsRng};
use sealift_terms::Region;

use super::*;

const LIFE: Duration = Duration::from_secs(3600);
const TTL: Duration = Duration::from_secs(60);

struct Stage {
    _dir: tempfile::TempDir,
    enrolments: Enrolments,
}

/// A clock that stands.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn identity(name: &str) -> Identity {
    format!("spiffe://example.org/region/eu/agent/{name}")
        .parse()
        .unwrap()
}

fn roles() -> SiteRoles {
    [SiteRole::Sender].into_iter().collect()
}

/// A signing request of a new key.
fn csr() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::default();
    params
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap()
        .into_bytes()
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("ca");
    let regions = [Region::new("eu").unwrap()];
    let words = "correct horse battery staple";
    Authority::init(&at, "example.org", &regions, words, &OsClock, &OsRng).unwrap();
    Stage {
        enrolments: Enrolments::open(&at).unwrap(),
        _dir: dir,
    }
}

impl Stage {
    /// As they are on disk now.
    fn enrolments(&self) -> Enrolments {
        Enrolments::open(self.enrolments.dir.parent().unwrap()).unwrap()
    }

    fn token(&self) -> EnrolmentToken {
        let issuer = ("localhost:1".to_owned(), identity("issuer"));
        let made = self
            .enrolments()
            .token((identity("a"), roles()), issuer, TTL, &OsClock, &OsRng);
        made.unwrap()
    }

    /// Revokes the identity.
    fn revoke(&self) {
        let revoked = self
            .enrolments()
            .revoke_identity(&identity("a"), OsClock.now());
        assert!(revoked.unwrap());
    }

    fn enrol(&self, token: &EnrolmentToken, csr: &[u8]) -> Result<Enrolled, IdentityError> {
        self.enrolments()
            .enrol(&token.secret(), csr, LIFE, &OsClock, &OsRng)
    }

    fn renew(&self, shown: &Enrolled, csr: &[u8]) -> Result<Enrolled, IdentityError> {
        self.renew_at(shown, csr, OsClock.now())
    }

    fn renew_at(
        &self,
        shown: &Enrolled,
        csr: &[u8],
        now: Timestamp,
    ) -> Result<Enrolled, IdentityError> {
        self.enrolments()
            .renew(&shown.leaf, csr, LIFE, &At(now), &OsRng)
    }
}

fn refusal(result: Result<Enrolled, IdentityError>) -> EnrolmentRefusal {
    match result {
        Err(IdentityError::Enrolment(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_is_good_for_one_key_and_the_same_answer_comes_again() {
    let stage = stage();
    let (token, mine) = (stage.token(), csr());
    let first = stage.enrol(&token, &mine).unwrap();
    assert_eq!(first.leaf.identity, identity("a"));
    assert_eq!(stage.enrol(&token, &mine).unwrap(), first);
    assert_eq!(
        refusal(stage.enrol(&token, &csr())),
        EnrolmentRefusal::TokenReused
    );
    // Locked for both from now on, renewal included.
    assert_eq!(
        refusal(stage.enrol(&token, &mine)),
        EnrolmentRefusal::Locked
    );
    assert_eq!(
        refusal(stage.renew(&first, &csr())),
        EnrolmentRefusal::Locked
    );
    let again = stage.token();
    let second = stage.enrol(&again, &csr()).unwrap();
    stage.renew(&second, &csr()).unwrap();
}

#[test]
fn a_token_that_is_over_or_was_never_made_is_refused_alike() {
    let stage = stage();
    let token = stage.token();
    let late = At(OsClock.now().plus(TTL));
    let over = stage
        .enrolments
        .enrol(&token.secret(), &csr(), LIFE, &late, &OsRng);
    assert_eq!(refusal(over), EnrolmentRefusal::UnknownToken);
    let never = stage.enrolments.enrol("0f", &csr(), LIFE, &OsClock, &OsRng);
    assert_eq!(refusal(never), EnrolmentRefusal::UnknownToken);
    // Its file goes with the next one that is made.
    let issuer = ("localhost:1".to_owned(), identity("issuer"));
    stage
        .enrolments()
        .token((identity("b"), roles()), issuer, TTL, &late, &OsRng)
        .unwrap();
    let tokens = fs::read_dir(stage.enrolments.dir.join(TOKENS)).unwrap();
    assert_eq!(tokens.count(), 1);
}

#[test]
fn a_token_that_was_made_before_a_revocation_gives_nothing() {
    let stage = stage();
    let (unused, used, key) = (stage.token(), stage.token(), csr());
    // Nor does one that another took the place of.
    assert_eq!(
        refusal(stage.enrol(&unused, &csr())),
        EnrolmentRefusal::UnknownToken
    );
    stage.enrol(&used, &key).unwrap();
    let other = stage.token();
    stage.revoke();
    for (token, csr) in [(&unused, csr()), (&used, key), (&other, csr())] {
        assert_eq!(
            refusal(stage.enrol(token, &csr)),
            EnrolmentRefusal::UnknownToken
        );
    }
    let after = stage.enrol(&stage.token(), &csr()).unwrap();
    let bundle = stage.enrolments().authority().bundle().clone();
    assert!(!bundle.is_revoked(&after.leaf));
}

#[test]
fn tokens_of_an_older_version_are_read_and_give_nothing_that_was_revoked_since() {
    let stage = stage();
    // As they were written, without a word on when, and left where they were.
    let older = |token: &EnrolmentToken| {
        let path = stage.enrolments.token_path(&token.secret());
        let mut row: TokenRow = read(&path).unwrap().unwrap();
        row.made = None;
        (path, row)
    };
    let mut before = Vec::new();
    for _ in 0..3 {
        let token = stage.token();
        let (path, row) = older(&token);
        before.push((token, path, row));
    }
    for (_, path, row) in &before {
        write(path, row).unwrap();
    }
    let [first, second, third] = [0, 1, 2].map(|n| before[n].0.clone());
    stage.enrol(&first, &csr()).unwrap();
    // The others are none any more.
    assert_eq!(
        refusal(stage.enrol(&second, &csr())),
        EnrolmentRefusal::UnknownToken
    );
    stage.revoke();
    let (_, path, row) = &before[2];
    write(path, row).unwrap();
    assert_eq!(
        refusal(stage.enrol(&third, &csr())),
        EnrolmentRefusal::Locked
    );
    // That version unlocked for a new token and left the others in force.
    remove(&stage.enrolments.agent_path(&identity("a"))).unwrap();
    assert_eq!(
        refusal(stage.enrol(&third, &csr())),
        EnrolmentRefusal::UnknownToken
    );
    stage.enrol(&stage.token(), &csr()).unwrap();
}

#[test]
fn a_token_that_was_left_half_written_hinders_no_other() {
    let stage = stage();
    stage.token();
    let left = stage.enrolments.dir.join(TOKENS).join("0f.new");
    fs::write(&left, "").unwrap();
    stage.enrol(&stage.token(), &csr()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_certificate_is_renewed_with_one_key_and_a_second_holder_locks_it() {
    let stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let next = csr();
    let second = stage.renew(&first, &next).unwrap();
    assert_ne!(second.leaf.serial, first.leaf.serial);
    assert_eq!(stage.renew(&first, &next).unwrap(), second, "a lost answer");
    let third = stage.renew(&second, &csr()).unwrap();
    // Somebody has a copy of the second and its key.
    assert_eq!(
        refusal(stage.renew(&second, &csr())),
        EnrolmentRefusal::CertificateReused
    );
    assert_eq!(
        refusal(stage.renew(&third, &csr())),
        EnrolmentRefusal::Locked
    );
}

#[test]
fn an_older_certificate_is_not_renewed() {
    let stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let second = stage.renew(&first, &csr()).unwrap();
    let third = stage.renew(&second, &csr()).unwrap();
    assert_eq!(
        refusal(stage.renew(&first, &csr())),
        EnrolmentRefusal::Superseded
    );
    assert_eq!(
        refusal(stage.renew(&third, &csr())),
        EnrolmentRefusal::Locked
    );
}

#[test]
fn what_was_issued_by_hand_can_be_renewed() {
    let stage = stage();
    let region = Region::new("eu").unwrap();
    let issuing = stage.enrolments.authority().issuing(&region).unwrap();
    let issue = || {
        issuing
            .issue(&LeafRequest::new(identity("a")), &OsClock, &OsRng)
            .unwrap()
    };
    let renew = |leaf: &Leaf| stage.enrolments.renew(leaf, &csr(), LIFE, &OsClock, &OsRng);
    renew(&issue().leaf).unwrap();
    let by_hand = issue();
    stage.enrolments.note_issued(&by_hand.leaf).unwrap();
    renew(&by_hand.leaf).unwrap();
}

#[test]
fn of_a_request_only_the_key_counts() {
    let stage = stage();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let made = stage.enrol(&stage.token(), pem.as_bytes()).unwrap();
    let chain = files::certificates_from_pem(made.chain_pem.as_bytes(), 9).unwrap();
    let facts = crate::certificate::CaFacts::parse(&chain[0]).unwrap();
    assert!(!facts.is_ca);
    assert_eq!(made.leaf.identity, identity("a"));
    let refused = stage.enrol(&stage.token(), b"no request");
    assert!(matches!(refused, Err(IdentityError::SigningRequest { .. })));
}

#[test]
fn a_lock_names_whom_why_and_from_where_until_somebody_deals_with_it() {
    let stage = stage();
    let from: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    let locked = || {
        let token = stage.token();
        assert!(stage.enrolments.locks().unwrap().is_empty());
        stage.enrol(&token, &csr()).unwrap();
        let asked = stage.enrolments.clone().asked_from(from);
        let again = asked.enrol(&token.secret(), &csr(), LIFE, &OsClock, &OsRng);
        assert!(refusal(again).locks());
        let whose = stage.enrolments.whose(&token.secret()).unwrap();
        assert_eq!(whose, Some(identity("a")));
        assert!(stage.enrolments.is_locked(&identity("a")).unwrap());
        let locks = stage.enrolments.locks().unwrap();
        assert_eq!(locks.len(), 1);
        assert_eq!(locks[0].identity, identity("a"));
        assert_eq!(locks[0].from, Some(from));
        assert!(locks[0].why.contains("another key"), "{}", locks[0].why);
    };
    // A new token, another certificate by hand, a revocation: each is an answer to it.
    locked();
    stage.token();
    assert!(!stage.enrolments.is_locked(&identity("a")).unwrap());
    locked();
    let issuing = stage.enrolments.authority().issuing(identity("a").region());
    let request = LeafRequest::new(identity("a"));
    let issued = issuing.unwrap().issue(&request, &OsClock, &OsRng).unwrap();
    stage.enrolments.note_issued(&issued.leaf).unwrap();
    locked();
    let mut enrolments = stage.enrolments();
    enrolments
        .revoke_identity(&identity("a"), OsClock.now())
        .unwrap();
    assert!(enrolments.locks().unwrap().is_empty());
    assert!(enrolments.is_locked(&identity("a")).unwrap());
}

#[test]
fn an_expired_certificate_is_renewed_within_its_grace_and_no_later() {
    let stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let (leaf, second) = (&first.leaf, Duration::from_secs(1));
    // As long as it lived, a day at least.
    let grace = limits::RENEWAL_GRACE_MIN;
    assert_eq!(leaf.renewable_until(), leaf.not_after.plus(grace));
    let long = Leaf {
        not_after: leaf.not_before.plus(grace * 3),
        ..leaf.clone()
    };
    assert_eq!(long.renewable_until(), long.not_after.plus(grace * 3));
    let late = stage.renew_at(&first, &csr(), leaf.renewable_until().plus(second));
    assert_eq!(refusal(late), EnrolmentRefusal::BeyondGrace);
    let (mine, at) = (csr(), leaf.renewable_until());
    let next = stage.renew_at(&first, &mine, at).unwrap();
    assert!(next.leaf.not_after > at && !next.leaf.is_over(at));
    assert_eq!(next.roles, roles());
    // The rule for keys is the same: one, or the identity is locked.
    assert_eq!(stage.renew_at(&first, &mine, at).unwrap(), next);
    assert_eq!(
        refusal(stage.renew_at(&first, &csr(), at)),
        EnrolmentRefusal::CertificateReused
    );
    assert_eq!(
        refusal(stage.renew_at(&next, &csr(), at)),
        EnrolmentRefusal::Locked
    );
}

#[test]
fn an_expired_certificate_that_is_not_the_last_one_is_not_renewed() {
    let stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let second = stage.renew(&first, &csr()).unwrap();
    let third = stage.renew(&second, &csr()).unwrap();
    let at = third.leaf.not_after.plus(LIFE);
    assert_eq!(
        refusal(stage.renew_at(&first, &csr(), at)),
        EnrolmentRefusal::Superseded
    );
    // With a new token everything that was issued before is none of the identity's.
    stage.token();
    assert_eq!(
        refusal(stage.renew_at(&third, &csr(), at)),
        EnrolmentRefusal::Revoked
    );
}

#[test]
fn a_revoked_certificate_is_not_renewed_within_its_grace() {
    let mut stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let at = first.leaf.not_after.plus(Duration::from_secs(60));
    let now = OsClock.now();
    let revoked = stage.enrolments.revoke_serial(&first.leaf.serial, now);
    assert!(revoked.unwrap());
    assert_eq!(
        refusal(stage.renew_at(&first, &csr(), at)),
        EnrolmentRefusal::Revoked
    );
    // Neither is the issuing agent's own.
    let clock = At(at);
    let own = stage
        .enrolments
        .renew_own(&first.leaf, &csr(), LIFE, &clock, &OsRng);
    assert_eq!(refusal(own), EnrolmentRefusal::Revoked);
    let revoked = stage.enrolments.revoke_identity(&identity("a"), now);
    assert!(revoked.unwrap());
    assert_eq!(
        refusal(stage.renew_at(&first, &csr(), at)),
        EnrolmentRefusal::Locked
    );
}

#[test]
fn an_answer_that_was_lost_and_is_over_by_now_is_issued_anew_for_the_same_key() {
    let stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let mine = csr();
    let lost = stage.renew(&first, &mine).unwrap();
    let at = lost.leaf.not_after.plus(LIFE);
    let anew = stage.renew_at(&first, &mine, at).unwrap();
    assert_ne!(anew.leaf.serial, lost.leaf.serial);
    assert!(!anew.leaf.is_over(at));
    assert_eq!(stage.renew_at(&first, &mine, at).unwrap(), anew);
    stage.renew_at(&anew, &csr(), at).unwrap();
}

#[test]
fn the_issuing_agent_renews_its_own_however_long_it_is_over() {
    let stage = stage();
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let at = At(first.leaf.renewable_until().plus(LIFE * 1000));
    let renew = |leaf: &Leaf| stage.enrolments.renew_own(leaf, &csr(), LIFE, &at, &OsRng);
    assert!(!renew(&first.leaf).unwrap().leaf.is_over(at.0));
    // It is held to the rule for keys all the same.
    assert_eq!(
        refusal(renew(&first.leaf)),
        EnrolmentRefusal::CertificateReused
    );
}

/// What became of an identity before somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was renewed twice, and all is well.
    Good,
    /// The same, and an operator made a token that nobody has used yet.
    GoodWithToken,
    /// Somebody showed its first certificate: it is locked.
    Locked,
    /// It was locked, and an operator made a token.
    AwaitsToken,
    /// It was revoked.
    Revoked,
    /// It was revoked, and an operator made a token.
    RevokedAwaitsToken,
    /// A roll-over left it behind.
    Forgotten,
}

/// What its first and its last certificate and a token made before all of that still give,
/// asked after the state was reached, each on a stage of its own.
#[test]
fn whatever_became_of_an_identity_each_way_to_a_certificate_gives_what_it_should() {
    use EnrolmentRefusal::{
        Locked, Revoked, Superseded, UnknownCertificate as Unknown, UnknownToken as NoToken,
    };
    let over = limits::RENEWAL_GRACE_MIN;
    // Its first certificate, its last one, that in its grace, and the unused token.
    let table = [
        (State::Good, Some(Superseded), None, None, None),
        (
            State::GoodWithToken,
            Some(Superseded),
            None,
            None,
            Some(NoToken),
        ),
        (
            State::Locked,
            Some(Locked),
            Some(Locked),
            Some(Locked),
            Some(Locked),
        ),
        (
            State::AwaitsToken,
            Some(Revoked),
            Some(Revoked),
            Some(Revoked),
            Some(NoToken),
        ),
        (
            State::Revoked,
            Some(Locked),
            Some(Locked),
            Some(Locked),
            Some(NoToken),
        ),
        (
            State::RevokedAwaitsToken,
            Some(Revoked),
            Some(Revoked),
            Some(Revoked),
            Some(NoToken),
        ),
        (
            State::Forgotten,
            Some(Unknown),
            Some(Unknown),
            Some(Unknown),
            Some(NoToken),
        ),
    ];
    for (state, first, last, in_grace, token) in table {
        let asked = |ask: &dyn Fn(&Stage, &Told) -> Result<Enrolled, IdentityError>| {
            let stage = stage();
            let told = reach(&stage, state);
            let found = ask(&stage, &told);
            // Nobody is locked for what an operator has dealt with.
            let is_settled = !matches!(state, State::Good | State::GoodWithToken | State::Locked);
            assert!(
                !is_settled || stage.enrolments().locks().unwrap().is_empty(),
                "{state:?}"
            );
            // And the token that was made last is good, once somebody has dealt with it.
            if let Some(made) = &told.made {
                stage.enrol(made, &csr()).unwrap();
            }
            found.map(drop).map_err(|error| refusal(Err(error)))
        };
        let expected = |refusal: Option<EnrolmentRefusal>| refusal.map_or(Ok(()), Err);
        // Who shows what is over when it is good only locks the identity: no token, then.
        let is_alarm = first == Some(Superseded);
        if !is_alarm {
            let found = asked(&|stage, told| stage.renew(&told.first, &csr()));
            assert_eq!(found, expected(first), "{state:?}: its first certificate");
        } else {
            let stage = stage();
            let told = reach(&stage, state);
            assert_eq!(
                refusal(stage.renew(&told.first, &csr())),
                Superseded,
                "{state:?}"
            );
            assert_eq!(
                refusal(stage.renew(&told.last, &csr())),
                Locked,
                "{state:?}"
            );
        }
        let found = asked(&|stage, told| stage.renew(&told.last, &csr()));
        assert_eq!(found, expected(last), "{state:?}: its last certificate");
        let found = asked(&|stage, told| {
            let at = told.last.leaf.not_after.plus(over / 2);
            stage.renew_at(&told.last, &csr(), at)
        });
        assert_eq!(
            found,
            expected(in_grace),
            "{state:?}: the last one in its grace"
        );
        let found = asked(&|stage, told| stage.enrol(&told.unused, &csr()));
        assert_eq!(found, expected(token), "{state:?}: the token from before");
    }
}

/// What somebody may have of an identity.
struct Told {
    first: Enrolled,
    last: Enrolled,
    /// A token from before the state was reached.
    unused: EnrolmentToken,
    /// One that was made to reach it.
    made: Option<EnrolmentToken>,
}

fn reach(stage: &Stage, state: State) -> Told {
    let first = stage.enrol(&stage.token(), &csr()).unwrap();
    let second = stage.renew(&first, &csr()).unwrap();
    let last = stage.renew(&second, &csr()).unwrap();
    let unused = stage.token();
    let lock = || {
        let shown = stage.renew(&first, &csr());
        assert_eq!(refusal(shown), EnrolmentRefusal::Superseded);
    };
    let made = match state {
        State::Good => None,
        State::GoodWithToken => Some(stage.token()),
        State::Locked => {
            lock();
            None
        }
        State::AwaitsToken => {
            lock();
            Some(stage.token())
        }
        State::Revoked => {
            stage.revoke();
            None
        }
        State::RevokedAwaitsToken => {
            stage.revoke();
            Some(stage.token())
        }
        State::Forgotten => {
            stage.enrolments().forget(&identity("a")).unwrap();
            None
        }
    };
    Told {
        first,
        last,
        unused,
        made,
    }
}

#[test]
fn a_token_for_an_identity_that_is_locked_revokes_what_it_was_given_and_the_next_is_good_at_once() {
    let stage = stage();
    let told = reach(&stage, State::AwaitsToken);
    let bundle = || stage.enrolments().authority().bundle().clone();
    assert!(bundle().is_revoked(&told.first.leaf) && bundle().is_revoked(&told.last.leaf));
    assert!(
        stage.enrolments().known().unwrap().is_empty(),
        "nothing waits for it"
    );
    // Another token is no other answer.
    let sequence = bundle().sequence();
    let next = stage.enrol(&stage.token(), &csr()).unwrap();
    assert_eq!(bundle().sequence(), sequence);
    assert!(!bundle().is_revoked(&next.leaf));
    assert!(next.leaf.not_before <= OsClock.now());
    stage.renew(&next, &csr()).unwrap();
}

#[test]
fn a_token_takes_nothing_from_a_site_that_is_well_until_it_is_used() {
    let stage = stage();
    let told = reach(&stage, State::GoodWithToken);
    let next = stage.renew(&told.last, &csr()).unwrap();
    assert_eq!(next.roles, roles());
    let mine = csr();
    let anew = stage.enrol(told.made.as_ref().unwrap(), &mine).unwrap();
    // The answer was lost.
    assert_eq!(
        stage.enrol(told.made.as_ref().unwrap(), &mine).unwrap(),
        anew
    );
    let bundle = stage.enrolments().authority().bundle().clone();
    assert!(
        !bundle.is_revoked(&next.leaf),
        "nobody said that two have it"
    );
    // From now on the one from before is not the last one.
    assert_eq!(
        refusal(stage.renew(&next, &csr())),
        EnrolmentRefusal::Superseded
    );
}

#[test]
fn a_token_of_an_older_version_that_may_have_unlocked_an_identity_keeps_its_certificates_from_renewal()
 {
    let stage = stage();
    let told = reach(&stage, State::Good);
    // As that version left it: the row is gone, and the token says no time.
    let path = stage.enrolments.token_path(&told.unused.secret());
    let mut row: TokenRow = read(&path).unwrap().unwrap();
    row.made = None;
    write(&path, &row).unwrap();
    remove(&stage.enrolments.agent_path(&identity("a"))).unwrap();
    assert_eq!(
        refusal(stage.renew(&told.first, &csr())),
        EnrolmentRefusal::UnknownCertificate
    );
    // Nor does another token make more of them.
    let next = stage.token();
    assert_eq!(
        refusal(stage.renew(&told.first, &csr())),
        EnrolmentRefusal::UnknownCertificate
    );
    stage.enrol(&next, &csr()).unwrap();
}
