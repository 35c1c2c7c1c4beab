//! Certificates for the others: one authority, a server, a client.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// PEM files, and what each is called by the others' options.
pub struct Pki {
    pub ca: String,
    pub server: String,
    pub server_key: String,
    /// Certificate and key in one file.
    pub server_both: String,
    pub client: String,
    pub client_key: String,
    /// Certificate and key in one file.
    pub client_both: String,
}

impl Pki {
    /// Makes all of it below `folder`; the server is whoever listens at `addresses`.
    pub fn make(folder: &Path, addresses: &[&str]) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let ca = authority().map_err(io::Error::other)?;
        let server = leaf(&ca, addresses, ExtendedKeyUsagePurpose::ServerAuth);
        let (server, server_key) = server.map_err(io::Error::other)?;
        let client = leaf(&ca, &["client"], ExtendedKeyUsagePurpose::ClientAuth);
        let (client, client_key) = client.map_err(io::Error::other)?;
        let file = |name: &str, pem: &str| {
            let path = folder.join(name);
            fs::write(&path, pem)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(path.display().to_string())
        };
        Ok(Self {
            ca: file("ca.pem", &ca.pem())?,
            server: file("server.pem", &server)?,
            server_key: file("server.key", &server_key)?,
            server_both: file("server.both", &format!("{server}{server_key}"))?,
            client: file("client.pem", &client)?,
            client_key: file("client.key", &client_key)?,
            client_both: file("client.both", &format!("{client}{client_key}"))?,
        })
    }
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Issuer, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "compare");
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn leaf(
    ca: &Issuer,
    names: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<(String, String), rcgen::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
