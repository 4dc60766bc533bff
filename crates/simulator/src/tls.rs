//! TLS for clients that insist on https: a certificate made at start, or one's own.
//!
//! The made one is signed by an authority of its own that lives as long as the process: clients are given the
//! authority to trust, which every TLS library takes, where a self-signed leaf is refused by some. HTTP/2 and HTTP/1.1
//! are agreed on by ALPN, as Salesforce's edge does.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where the server's certificate comes from.
#[derive(Clone)]
pub enum Tls {
    /// Made at start for 127.0.0.1, `::1`, localhost, the orgs' host names and these names.
    Made {
        /// More host names and addresses.
        names: Vec<String>,
    },
    /// One's own, in PEM.
    Given {
        /// The certificate, followed by those that lead to its root.
        certificate: String,
        /// Its private key: PKCS#8, PKCS#1 or SEC1.
        key: String,
    },
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Made { names } => f.debug_struct("Made").field("names", names).finish(),
            Self::Given { certificate, .. } => f.debug_struct("Given").field("certificate", certificate).finish(),
        }
    }
}

/// Ready to shake hands.
pub(crate) struct Ready {
    pub(crate) acceptor: TlsAcceptor,
    /// PEM of what a client has to trust.
    pub(crate) trust: String,
}

/// Prepares the server side; `orgs` are names whose hosts the made certificate covers.
pub(crate) fn ready(tls: &Tls, orgs: &[String]) -> Result<Ready, String> {
    let (chain, key, trust) = match tls {
        Tls::Made { names } => make(names, orgs).map_err(|error| format!("no certificate could be made: {error}"))?,
        Tls::Given { certificate, key } => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("the certificate is not PEM: {error}"))?;
            if chain.is_empty() {
                return Err("the certificate's file holds no CERTIFICATE block".to_owned());
            }
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|error| format!("the key is no private key in PEM: {error}"))?;
            (chain, key, certificate.clone())
        }
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key do not go together: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Ready { acceptor: TlsAcceptor::from(Arc::new(config)), trust })
}

type Made = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String);

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is dated by the wall clock, whatever the orgs' clocks say"
)]
fn make(names: &[String], orgs: &[String]) -> Result<Made, rcgen::Error> {
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let dated = |mut params: CertificateParams, name: &str| {
        let ymd = |date: jiff::civil::Date| {
            rcgen::date_time_ymd(
                i32::from(date.year()),
                u8::try_from(date.month()).unwrap_or(1),
                u8::try_from(date.day()).unwrap_or(1),
            )
        };
        params.not_before = ymd(today.yesterday().unwrap_or(today));
        // The longest life that every client's library still accepts.
        params.not_after = ymd(today.saturating_add(jiff::Span::new().days(397)));
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let authority_key = KeyPair::generate()?;
    let mut authority = dated(CertificateParams::new(Vec::new())?, "causeway-simulator, this run only");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let trust = authority.self_signed(&authority_key)?.pem();
    let mut hosts: Vec<String> =
        ["127.0.0.1", "::1", "localhost", "*.localhost", "*.my.localhost"].map(str::to_owned).to_vec();
    // Some clients take no wildcard directly below a top-level name, so the names known now stand there in full.
    for org in orgs.iter().map(String::as_str).chain(["login", "test"]) {
        hosts.extend([format!("{org}.localhost"), format!("{org}.my.localhost")]);
    }
    hosts.extend_from_slice(names);
    let key = KeyPair::generate()?;
    let mut leaf = dated(CertificateParams::new(hosts)?, "localhost");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    Ok((vec![certificate.der().clone()], key, trust))
}
