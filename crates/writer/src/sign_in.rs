//! How the writer signs in to Salesforce: its settings, and where the tokens come from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::RedisLedger;
use ledger::seal::Keys;
use salesforce::{
    ClientCredentials, JwtBearer, LoginSettings, RefreshToken, RefreshTokenStore, SignInSetting, TokenRetry,
    TokenSource,
};
use secrecy::SecretString;
use service::{Lifecycle, Problems};

use crate::fleet_tokens::FleetTokens;
use crate::grant_file::GrantFile;

const LOGIN_URL: &str = "CAUSEWAY_SALESFORCE_LOGIN_URL";
const CLIENT_ID: &str = "CAUSEWAY_SALESFORCE_CLIENT_ID";
const CLIENT_SECRET: &str = "CAUSEWAY_SALESFORCE_CLIENT_SECRET";
const JWT_KEY: &str = "CAUSEWAY_SALESFORCE_JWT_KEY";
const USERNAME: &str = "CAUSEWAY_SALESFORCE_USERNAME";
const GRANT_FILE: &str = "CAUSEWAY_SALESFORCE_GRANT_FILE";
const TOKEN_KEY: &str = "CAUSEWAY_SALESFORCE_TOKEN_KEY";
const TOKEN_LEASE: &str = "CAUSEWAY_SALESFORCE_TOKEN_LEASE";
const TRUSTED_HOSTS: &str = "CAUSEWAY_SALESFORCE_TRUSTED_HOSTS";

/// A lease is lengthened four times while it lasts; a shorter one would ask Redis all the time.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// The sign-in, as it is written.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
pub(crate) struct SignInArgs {
    #[arg(
        long,
        env = "CAUSEWAY_SALESFORCE_LOGIN_URL",
        value_name = "URL",
        help_heading = "Salesforce",
        help = "Where to sign in: https://login.salesforce.com, https://test.salesforce.com, or the org's My Domain"
    )]
    salesforce_login_url: Option<String>,
    /// How to sign in: client-credentials, jwt-bearer or refresh-token.
    #[arg(
        long,
        env = "CAUSEWAY_SALESFORCE_AUTH",
        default_value = "client-credentials",
        value_name = "FLOW",
        help_heading = "Salesforce"
    )]
    salesforce_auth: String,
    /// The connected app's consumer key.
    #[arg(long, env = "CAUSEWAY_SALESFORCE_CLIENT_ID", value_name = "KEY", help_heading = "Salesforce")]
    salesforce_client_id: Option<String>,
    /// The user name to sign in as, for jwt-bearer.
    #[arg(long, env = "CAUSEWAY_SALESFORCE_USERNAME", value_name = "NAME", help_heading = "Salesforce")]
    salesforce_username: Option<String>,
    /// The file that holds the refresh token, for refresh-token; rotated tokens are written back to it. A new refresh token
    /// that is put into it is used from the next renewal on, without a restart.
    #[arg(long, env = "CAUSEWAY_SALESFORCE_GRANT_FILE", value_name = "FILE", help_heading = "Salesforce")]
    salesforce_grant_file: Option<PathBuf>,
    /// How long a renewal of the shared sign-in that a dead or frozen writer began holds the others back, with
    /// `CAUSEWAY_SALESFORCE_TOKEN_KEY`; 1s or more. An answer may take 30s: a shorter lease may end before it.
    #[arg(
        long,
        env = "CAUSEWAY_SALESFORCE_TOKEN_LEASE",
        default_value = "30s",
        value_name = "TIME",
        help_heading = "Salesforce"
    )]
    salesforce_token_lease: String,
    /// Hosts (with port, comma-separated) besides Salesforce's own that a token may be sent to, plain http included.
    #[arg(long, env = "CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", value_name = "HOSTS", help_heading = "Salesforce")]
    salesforce_trusted_hosts: Option<String>,
}

/// The sign-in, checked.
#[derive(Debug)]
pub(crate) struct SignIn {
    flow: Flow,
    login: LoginSettings,
    /// The keys that seal what the fleet shares; without them each process signs in by itself.
    keys: Option<Arc<Keys>>,
    lease: Duration,
}

#[derive(Debug)]
enum Flow {
    ClientCredentials { secret: SecretString },
    JwtBearer { key: SecretString, username: String },
    RefreshToken { secret: Option<SecretString>, file: PathBuf },
}

#[derive(Clone, Copy)]
enum Kind {
    ClientCredentials,
    JwtBearer,
    RefreshToken,
}

impl SignInArgs {
    /// Checks the settings; every wrong one is noted, each under its own name.
    pub(crate) fn read(self, problems: &mut Problems) -> Option<SignIn> {
        let kind = problems.choice(
            "CAUSEWAY_SALESFORCE_AUTH",
            &self.salesforce_auth,
            &[
                ("client-credentials", Kind::ClientCredentials),
                ("jwt-bearer", Kind::JwtBearer),
                ("refresh-token", Kind::RefreshToken),
            ],
        );
        let login = self.login(problems);
        let lease = problems.duration(TOKEN_LEASE, &self.salesforce_token_lease).filter(|lease| {
            let long_enough = *lease >= SHORTEST_LEASE;
            if !long_enough {
                problems.note(TOKEN_LEASE, "is shorter than a second", "write 1s or more; 30s outlasts every answer");
            }
            long_enough
        });
        let keys = match problems.optional_secret(TOKEN_KEY) {
            Some(Some(text)) => match Keys::read(&text) {
                Ok(keys) => Some(Some(Arc::new(keys))),
                Err(what) => {
                    let remedy = "make a key by `openssl rand -base64 32`; the first line seals, all lines open";
                    problems.note(TOKEN_KEY, what, remedy);
                    None
                }
            },
            Some(None) => Some(None),
            None => None,
        };
        let flow = match kind? {
            Kind::ClientCredentials => problems.secret(CLIENT_SECRET).map(|secret| Flow::ClientCredentials { secret }),
            Kind::JwtBearer => {
                let key = problems.secret(JWT_KEY).filter(|key| {
                    let readable = JwtBearer::check_key(key);
                    if let Err(error) = &readable {
                        problems.note(
                            JWT_KEY,
                            format!("cannot be used: {error}"),
                            "give the app's private key, in PEM",
                        );
                    }
                    readable.is_ok()
                });
                let username =
                    problems.required(USERNAME, self.salesforce_username.as_deref(), "name the integration user");
                key.zip(username).map(|(key, username)| Flow::JwtBearer { key, username })
            }
            Kind::RefreshToken => {
                let secret = problems.optional_secret(CLIENT_SECRET);
                if self.salesforce_grant_file.is_none() {
                    problems.note(GRANT_FILE, "is not set", "name the file that holds the refresh token");
                }
                secret.zip(self.salesforce_grant_file).map(|(secret, file)| Flow::RefreshToken { secret, file })
            }
        };
        Some(SignIn { flow: flow?, login: login?, keys: keys?, lease: lease? })
    }

    /// Where to sign in, and as which app.
    fn login(&self, problems: &mut Problems) -> Option<LoginSettings> {
        let login_url = problems.required(
            LOGIN_URL,
            self.salesforce_login_url.as_deref(),
            "write the org's My Domain, such as https://acme.my.salesforce.com",
        );
        let client_id = problems.required(
            CLIENT_ID,
            self.salesforce_client_id.as_deref(),
            "copy the consumer key of the connected app",
        );
        let trusted = self.salesforce_trusted_hosts.as_deref().unwrap_or_default();
        // The address is looked at also where the rest of the settings is not there.
        let login = LoginSettings {
            login_url: login_url?,
            client_id: client_id.clone().unwrap_or_default(),
            trusted_hosts: trusted
                .split(',')
                .map(str::trim)
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect(),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            retry: TokenRetry::STANDARD,
        };
        if let Err(error) = login.check_login_url() {
            problems.note(
                LOGIN_URL,
                format!("cannot be used: {error}"),
                format!(
                    "write https:// and the org's My Domain; a test org under plain http is named in {TRUSTED_HOSTS}"
                ),
            );
            return None;
        }
        client_id.map(|_| login)
    }
}

impl SignIn {
    /// Whether an operator's new grant reaches every writer, so that one whose grant is dead waits for it.
    pub(crate) const fn is_given_to_the_fleet(&self) -> bool {
        self.keys.is_some() && matches!(self.flow, Flow::RefreshToken { .. })
    }

    /// The variable to look at when a sign-in fails because of this.
    pub(crate) const fn variable(&self, setting: SignInSetting) -> &'static str {
        match (setting, &self.flow) {
            (SignInSetting::LoginUrl, _) => LOGIN_URL,
            (SignInSetting::TrustedHosts, _) => TRUSTED_HOSTS,
            (SignInSetting::Grant, Flow::RefreshToken { .. }) => GRANT_FILE,
            (SignInSetting::Credential, Flow::JwtBearer { .. }) => JWT_KEY,
            (SignInSetting::Credential, Flow::ClientCredentials { .. } | Flow::RefreshToken { .. }) => CLIENT_SECRET,
            (SignInSetting::User, Flow::JwtBearer { .. }) => USERNAME,
            (SignInSetting::App | SignInSetting::User | SignInSetting::Grant, _) => CLIENT_ID,
        }
    }

    /// Where the tokens come from: one sign-in for the fleet where there is a key, else one for each process.
    ///
    /// # Errors
    /// The settings make no client.
    pub(crate) fn tokens(
        &self,
        ledger: &RedisLedger,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<dyn TokenSource>, salesforce::Error> {
        let Self { flow, login, keys, lease } = self;
        let fleet = |user: &str, file: Option<&PathBuf>| {
            let keys = Arc::clone(keys.as_ref()?);
            let kind = flow.name();
            let grants = ledger.grants(&[&login.login_url, &login.client_id, kind, user]);
            let file = file.cloned().map(GrantFile::new);
            let tokens = Arc::new(FleetTokens::new(grants, keys, file, *lease, login.answer_timeout));
            tokens.follow(lifecycle);
            Some(tokens)
        };
        Ok(match flow {
            Flow::ClientCredentials { secret } => match fleet("", None) {
                Some(tokens) => Arc::new(ClientCredentials::sharing(login.clone(), secret.clone(), tokens)?),
                None => Arc::new(ClientCredentials::new(login.clone(), secret.clone())?),
            },
            Flow::JwtBearer { key, username } => {
                let (user, audience) = (username.clone(), login.login_url.clone());
                match fleet(username, None) {
                    Some(tokens) => Arc::new(JwtBearer::sharing(login.clone(), user, audience, key, tokens)?),
                    None => Arc::new(JwtBearer::new(login.clone(), user, audience, key)?),
                }
            }
            Flow::RefreshToken { secret, file } => {
                let store: Arc<dyn RefreshTokenStore> = match fleet("", Some(file)) {
                    Some(tokens) => tokens,
                    None => Arc::new(GrantFile::new(file.clone())),
                };
                Arc::new(RefreshToken::new(login.clone(), secret.clone(), store)?)
            }
        })
    }
}

impl Flow {
    /// Its name in the settings.
    const fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials { .. } => "client-credentials",
            Self::JwtBearer { .. } => "jwt-bearer",
            Self::RefreshToken { .. } => "refresh-token",
        }
    }
}
