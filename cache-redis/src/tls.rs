//! Whom to trust, and who to be, in TLS.

use std::{
    fs,
    path::{Path, PathBuf},
};

use redis::{ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{connect::ConnectError, secret::Secret};

/// TLS to the server, always verified.
///
/// By default the certificates of the operating system are trusted, and no certificate of the
/// client is shown. Whether the files can be read is checked when it connects.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[must_use = "does nothing until it is given to `RedisBuilder::tls`"]
pub struct Tls {
    ca: Option<Pem>,
    client: Option<(Pem, Pem)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Pem {
    Text(Secret),
    File(PathBuf),
}

impl Pem {
    fn read(&self, setting: &'static str) -> Result<Vec<u8>, ConnectError> {
        match self {
            Self::Text(text) => Ok(text.0.clone().into_bytes()),
            Self::File(path) => fs::read(path).map_err(|error| ConnectError::Setting {
                entry: None,
                setting,
                problem: "the file cannot be read: check its path and its permissions",
                source: Some(error.into()),
            }),
        }
    }
}

impl Tls {
    /// TLS with the certificates of the operating system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts these certificates, in PEM, instead of those of the operating system.
    pub fn ca_pem(self, ca: impl Into<String>) -> Self {
        Self {
            ca: Some(Pem::Text(Secret(ca.into()))),
            ..self
        }
    }

    /// Trusts the certificates in this file, in PEM, instead of those of the operating system.
    pub fn ca_file(self, ca: impl AsRef<Path>) -> Self {
        Self {
            ca: Some(Pem::File(ca.as_ref().into())),
            ..self
        }
    }

    /// Shows this certificate to the server; both in PEM.
    pub fn client_pem(self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        let pem = |text: String| Pem::Text(Secret(text));
        Self {
            client: Some((pem(certificate.into()), pem(key.into()))),
            ..self
        }
    }

    /// Shows the certificate in this file to the server; both files in PEM.
    pub fn client_files(self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self {
            client: Some((
                Pem::File(certificate.as_ref().into()),
                Pem::File(key.as_ref().into()),
            )),
            ..self
        }
    }

    /// Adds the certificates to what is known of the server.
    pub(crate) fn complete(&self, server: ConnectionInfo) -> Result<ConnectionInfo, ConnectError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been first, which is as good.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let client_tls = match &self.client {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: certificate.read("tls.cert_file")?,
                client_key: key.read("tls.key_file")?,
            }),
            None => None,
        };
        let root_cert = match &self.ca {
            Some(ca) => Some(authorities(ca.read("tls.ca_file")?)?),
            None => None,
        };
        let certificates = TlsCertificates {
            client_tls,
            root_cert,
        };
        redis::Client::build_with_tls(server, certificates)
            .and_then(|client| client.get_connection_info().clone().into_connection_info())
            .map_err(|error| ConnectError::Setting {
                entry: None,
                setting: "tls",
                problem: "the certificates cannot be used: give them in PEM",
                source: Some(crate::error::Cause::of(&error).into()),
            })
    }
}

/// The certificates of a CA, of which there is to be one at least: without, nobody is trusted.
fn authorities(pem: Vec<u8>) -> Result<Vec<u8>, ConnectError> {
    let mut certificates = CertificateDer::pem_slice_iter(&pem);
    if certificates.next().is_some_and(|first| first.is_ok()) {
        return Ok(pem);
    }
    let problem = "there is no certificate in it: give it in PEM";
    Err(ConnectError::setting("tls.ca_file", problem))
}
