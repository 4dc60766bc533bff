//! What is sealed of a grant.

use ledger::seal::digest;
use salesforce::{AccessGrant, GrantRefusal, StoredGrant};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// How many of the operator's grants are remembered, so that a file that nobody may write is not taken for a new grant.
const REMEMBERED: usize = 16;

/// The grant, as it is sealed.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) refresh_token: Option<SecretString>,
    pub(super) access: Option<AccessGrant>,
    pub(super) refusal: Option<GrantRefusal>,
    /// When the refresh token was presented without its answer being kept, in milliseconds since 1970.
    pub(super) presented_at: Option<u64>,
    /// Which process presented it then.
    pub(super) presented_by: Option<String>,
    /// Digests of the refresh tokens that operators put into files.
    pub(super) given: Vec<String>,
}

impl Content {
    pub(super) fn to_text(&self) -> String {
        let access = self.access.as_ref().map(|access| {
            json!({ "instance_url": access.instance_url, "access_token": access.access_token.expose_secret() })
        });
        let refusal =
            self.refusal.as_ref().map(|refusal| json!({ "error": refusal.error, "description": refusal.description }));
        json!({
            "refresh_token": self.refresh_token.as_ref().map(ExposeSecret::expose_secret),
            "access": access,
            "refusal": refusal,
            "presented_at": self.presented_at,
            "presented_by": self.presented_by,
            "given": self.given,
        })
        .to_string()
    }

    pub(super) fn read(text: &SecretString) -> Option<Self> {
        let value: Value = serde_json::from_str(text.expose_secret()).ok()?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let access = value.get("access").and_then(|access| {
            let access_token = text(access, "access_token")?.into();
            Some(AccessGrant { instance_url: text(access, "instance_url")?, access_token })
        });
        let refusal = value.get("refusal").and_then(|refusal| {
            Some(GrantRefusal { error: text(refusal, "error")?, description: text(refusal, "description")? })
        });
        let given = value.get("given").and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            refresh_token: text(&value, "refresh_token").map(SecretString::from),
            access,
            refusal,
            presented_at: value.get("presented_at").and_then(Value::as_u64),
            presented_by: text(&value, "presented_by"),
            given: given.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// Whether an operator's refresh token has been here before.
    pub(super) fn knows(&self, token: &SecretString) -> bool {
        let current = self.refresh_token.as_ref().map(ExposeSecret::expose_secret);
        current == Some(token.expose_secret()) || self.given.contains(&digest(&[token.expose_secret()]))
    }

    /// The operator's grant in the place of this one.
    pub(super) fn replaced_by(&self, grant: StoredGrant) -> Self {
        let mut given = self.given.clone();
        given.push(digest(&[grant.refresh_token.expose_secret()]));
        given.drain(..given.len().saturating_sub(REMEMBERED));
        Self { refresh_token: Some(grant.refresh_token), access: grant.access, given, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_back_as_it_was_written() {
        let content = Content {
            refresh_token: Some("r1".into()),
            access: Some(AccessGrant { instance_url: "https://x.my.salesforce.com".into(), access_token: "a1".into() }),
            refusal: Some(GrantRefusal { error: "invalid_grant".into(), description: "expired".into() }),
            presented_at: Some(7),
            presented_by: Some("p".into()),
            given: vec!["d".into()],
        };
        for content in [content, Content::default()] {
            let read = Content::read(&content.to_text().into()).expect("a grant");
            assert_eq!(read.to_text(), content.to_text());
        }
        assert!(Content::read(&"not JSON".into()).is_none());
    }

    #[test]
    fn a_grant_that_was_given_before_is_known_although_it_was_rotated_since_and_few_are_remembered() {
        let plain = |token: &str| StoredGrant { refresh_token: token.into(), access: None, refusal: None };
        let mut content = Content::default().replaced_by(plain("first"));
        content.refresh_token = Some("rotated".into());
        assert!(content.knows(&"first".into()) && content.knows(&"rotated".into()) && !content.knows(&"second".into()));
        for number in 0..100 {
            content = content.replaced_by(plain(&number.to_string()));
        }
        assert_eq!(content.given.len(), REMEMBERED);
        assert!(content.knows(&"99".into()) && !content.knows(&"first".into()));
        assert!(!content.given.iter().any(|given| given.contains("99") && given.len() < 32), "digests only");
    }
}
