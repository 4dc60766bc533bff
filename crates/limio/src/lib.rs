//! Speaks to Limio's API: links the records of other systems to Limio's subscriptions and customers.
//!
//! # The story of a call
//!
//! [`Client::link`] posts one external identity. A token comes from Limio's token endpoint by client credentials, serves
//! every call for an hour, and is renewed a minute early, or at the first 401, once, however many calls met it. Whatever
//! happens ends in an [`Error`] whose [`kind`](Error::kind) says what to do: give it up, wait, or look at the credentials.
//! [`Client::linked`] tells what is linked to a record of Salesforce's: for whoever could not tell from an answer.
//!
//! Sources: Limio documentation, "OAuth Bearer Token", "Subscriptions API" and "External Identities API"; Limio help desk,
//! "How to fix Subscriptions existing in Limio Commerce but not appearing in LFS". They say of 502 that the request is
//! usually at fault, and sometimes Limio; so its kind is [`Kind::Away`], and who calls asks something else to tell which.
//!
//! # Invariants
//!
//! - Linking twice is harmless: what is lost may be asked for again.
//! - Every call ends within its deadline, the token's request included.
//! - No token and no secret is in an error, a log or a `Debug`; no redirect is followed, so that none goes elsewhere.
//! - Nothing is retried here but a call whose token had run out, once.

mod client;
mod error;
mod token;

pub use crate::client::{Client, LinkedObjects, Object};
pub use crate::error::{Error, Kind};

use std::time::Duration;

use secrecy::SecretString;

/// Where Limio is, and as whom to call it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The environment's address, such as `https://acme.prod.limio.com`, checked by [`Settings::check_url`].
    pub url: String,
    /// The client id that Limio's support issued.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// How long one call may take before its answer counts as lost.
    pub deadline: Duration,
}

impl Settings {
    /// Whether tokens may be sent to this address: under https, or to this machine. What follows the host is not allowed.
    ///
    /// # Errors
    /// Why not, continuing the setting's name.
    pub fn check_url(url: &str) -> Result<(), String> {
        let parsed = reqwest::Url::parse(url.trim()).map_err(|error| format!("is no address ({error})"))?;
        let Some(host) = parsed.host_str() else { return Err("names no host".to_owned()) };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("holds a user or a password".to_owned());
        }
        if parsed.path() != "/" || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err("holds more than a host".to_owned());
        }
        match parsed.scheme() {
            "https" => Ok(()),
            "http" if matches!(host, "127.0.0.1" | "localhost" | "[::1]") => Ok(()),
            "http" => Err("is plain http, and tokens would go over the network in the clear".to_owned()),
            other => Err(format!("begins with {other}://")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_https_or_to_this_machine() {
        for fine in ["https://acme.prod.limio.com", "https://acme.prod.limio.com/", "http://127.0.0.1:8080"] {
            assert_eq!(Settings::check_url(fine), Ok(()), "{fine}");
        }
        for wrong in [
            "acme.prod.limio.com",
            "http://acme.prod.limio.com",
            "https://user:secret@acme.prod.limio.com",
            "https://acme.prod.limio.com/api",
            "ftp://acme.prod.limio.com",
        ] {
            let said = Settings::check_url(wrong).expect_err(wrong);
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn settings_do_not_show_the_secret() {
        let settings = Settings {
            url: "https://acme.prod.limio.com".to_owned(),
            client_id: "causeway".to_owned(),
            client_secret: "hush".into(),
            deadline: Duration::from_secs(10),
        };
        assert!(!format!("{settings:?}").contains("hush"));
    }
}
