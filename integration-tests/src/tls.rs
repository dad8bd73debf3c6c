//! Certificates for a server and its clients, made anew for each test.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use redis::{ClientTlsConfig, TlsCertificates};

use crate::Error;

/// A certification authority, with a certificate for a server and one for a client.
///
/// Everything is PEM. Another `Tls` is foreign to this one, which is what the test of a refusal
/// needs.
#[derive(Clone, Debug)]
pub struct Tls {
    ca: String,
    server: Identity,
    client: Identity,
}

#[derive(Clone, Debug)]
struct Identity {
    certificate: String,
    key: String,
}

impl Tls {
    /// Makes keys and certificates, for a server on `localhost` and 127.0.0.1, and lets rustls use
    /// *ring* in this process unless it has been told what to use.
    ///
    /// # Panics
    ///
    /// Panics if they cannot be made, which has no cause in the test.
    #[must_use]
    pub fn new() -> Self {
        Self::made_out_to(&["localhost", "127.0.0.1"])
    }

    /// Makes keys and certificates as [`new`](Self::new) does, for a server on these hosts alone.
    /// The harness itself goes by 127.0.0.1, which has to be one of them.
    ///
    /// # Panics
    ///
    /// Panics if they cannot be made, as of a host that is no name.
    #[must_use]
    pub fn made_out_to(hosts: &[&str]) -> Self {
        // Whoever was first is as good.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        match Self::make(hosts) {
            Ok(tls) => tls,
            Err(error) => panic!(
                "{}",
                Error::because("cannot make certificates", error).whole()
            ),
        }
    }

    fn make(hosts: &[&str]) -> Result<Self, rcgen::Error> {
        let mut authority = named("test authority", &[])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
        let key = KeyPair::generate()?;
        let ca = authority.self_signed(&key)?.pem();
        let issuer = Issuer::new(authority, key);
        Ok(Self {
            ca,
            server: identity(&issuer, named("server", hosts)?)?,
            client: identity(&issuer, named("client", &["client"])?)?,
        })
    }

    /// Returns the certificate of the authority, which signed the other two.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Returns the certificate of the client.
    #[must_use]
    pub fn client_certificate(&self) -> &str {
        &self.client.certificate
    }

    /// Returns the key of the client.
    #[must_use]
    pub fn client_key(&self) -> &str {
        &self.client.key
    }

    /// Returns what a client of the `redis` crate needs to trust the server and to be trusted.
    #[must_use]
    pub fn certificates(&self) -> TlsCertificates {
        TlsCertificates {
            client_tls: Some(ClientTlsConfig {
                client_cert: self.client.certificate.clone().into_bytes(),
                client_key: self.client.key.clone().into_bytes(),
            }),
            root_cert: Some(self.ca.clone().into_bytes()),
        }
    }

    /// Returns the files that the server reads.
    pub(crate) fn files(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ca.pem", self.ca.clone()),
            ("server.pem", self.server.certificate.clone()),
            ("server.key", self.server.key.clone()),
        ]
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

fn named(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn identity(
    issuer: &Issuer<'_, KeyPair>,
    mut params: CertificateParams,
) -> Result<Identity, rcgen::Error> {
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A replica is a client of its primary, with the certificate of a server.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    Ok(Identity {
        certificate: params.signed_by(&key, issuer)?.pem(),
        key: key.serialize_pem(),
    })
}
