//! Certificates as no authority would issue them.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use sealift_agent::World;
use sealift_identity::{Authority, Enrolments, LeafRequest};
use sealift_terms::Region;

use super::{pair::Pair, site::Site};

/// How long before now they begin.
pub(crate) const BACKDATED: Duration = Duration::from_secs(60);

impl Pair {
    /// Gives a site a certificate of the authority's that ends soon.
    pub(crate) fn certify(&self, site: &Site, life: Duration) {
        let authority = Authority::open(&self.authority()).unwrap();
        let region = Region::new(format!("region-{}", site.name)).unwrap();
        let request = LeafRequest {
            life,
            ..LeafRequest::new(site.identity.parse().unwrap())
        };
        let World { clock, rng, .. } = World::real();
        let issuing = authority.issuing(&region).unwrap();
        let issued = issuing.issue(&request, &*clock, &*rng).unwrap();
        let (certificate, key) = (site.dir.join("identity.crt"), site.dir.join("identity.key"));
        for old in [&certificate, &key] {
            fs::remove_file(old).unwrap();
        }
        issued.save(&certificate, &key).unwrap();
        let enrolments = Enrolments::open(&self.authority()).unwrap();
        enrolments.note_issued(&issued.leaf).unwrap();
    }

    /// Gives b a certificate that lives so long from [`BACKDATED`] on, signed with the
    /// issuing CA's own key.
    pub(crate) fn certify_b(&self, life: Duration) {
        let region = self.authority().join("regions/region-b");
        let read = |name: &str| fs::read_to_string(region.join(name)).unwrap();
        let issuing = read("issuing.pem");
        let key = KeyPair::from_pem(&read("issuing.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&issuing, key).unwrap();
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name.push(DnType::CommonName, "b");
        let uri = self.b.identity.as_str().try_into().unwrap();
        leaf.subject_alt_names = vec![SanType::URI(uri)];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        leaf.use_authority_key_identifier_extension = true;
        leaf.not_before = (SystemTime::now() - BACKDATED).into();
        leaf.not_after = leaf.not_before + life;
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        fs::write(self.b.dir.join("identity.crt"), leaf.pem() + &issuing).unwrap();
        fs::write(self.b.dir.join("identity.key"), key.serialize_pem()).unwrap();
    }
}
