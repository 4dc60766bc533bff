//! Who orders: people with a Limio identity, an address and, some of them, a twin in the org.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// A customer of the shop.
#[expect(clippy::struct_field_names, reason = "Limio calls it the customer id")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Customer {
    /// The identity id, `id-` and 32 hex digits: the sequence key.
    pub(crate) owner: String,
    /// The customer id, `cus-` and 32 hex digits.
    pub(crate) customer_id: String,
    /// Given name.
    pub(crate) first_name: &'static str,
    /// Family name.
    pub(crate) last_name: &'static str,
    /// Nobody else has it.
    pub(crate) email: String,
    /// Nobody else has it.
    pub(crate) phone: String,
    /// Where they live.
    pub(crate) place: Place,
    /// Whom the org's duplicate rules take them for.
    pub(crate) twin: Twin,
}

/// A place with its own spelling of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Street.
    pub(crate) street: &'static str,
    /// City.
    pub(crate) city: &'static str,
    /// State or county; empty where there is none.
    pub(crate) state: &'static str,
    /// Postal code.
    pub(crate) postal_code: &'static str,
    /// ISO code of the country.
    pub(crate) country: &'static str,
    /// ISO code of the currency.
    pub(crate) currency: &'static str,
}

/// Whether the org knows somebody like this customer already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twin {
    /// Nobody.
    None,
    /// An Account with the same e-mail address: the rule allows with an alert, the orders go to that Account.
    Allowed,
    /// An Account with the same phone number: the rule blocks.
    Blocked,
}

const FIRST_NAMES: [&str; 24] = [
    "Nora", "Ida", "Amir", "Zoë", "Luca", "Mei", "Oskar", "Priya", "Tomás", "Ada", "Kwame", "Yuki", "Elif", "Jonas",
    "Sara", "Ravi", "Noor", "Emil", "Chiara", "Femi", "Anouk", "Diego", "Maja", "Sean",
];
const LAST_NAMES: [&str; 24] = [
    "Quist",
    "Müller",
    "O'Brien",
    "García",
    "Okafor",
    "Lindqvist",
    "Nakamura",
    "Rossi",
    "van Dijk",
    "Kowalska",
    "Haddad",
    "Singh",
    "Dubois",
    "Novák",
    "Ferreira",
    "Yılmaz",
    "Chen",
    "Abebe",
    "Larsen",
    "Moreau",
    "Ivanova",
    "Castro",
    "Byrne",
    "Weiß",
];
const PLACES: [Place; 6] = [
    Place {
        street: "7 Harbor Way",
        city: "Portland",
        state: "OR",
        postal_code: "97201",
        country: "US",
        currency: "USD",
    },
    Place { street: "12 Mill Lane", city: "Leeds", state: "", postal_code: "LS1 4AP", country: "GB", currency: "GBP" },
    Place { street: "Gartenweg 3", city: "Köln", state: "", postal_code: "50667", country: "DE", currency: "EUR" },
    Place { street: "8 rue des Lilas", city: "Lyon", state: "", postal_code: "69003", country: "FR", currency: "EUR" },
    Place {
        street: "41 Collins St",
        city: "Melbourne",
        state: "VIC",
        postal_code: "3000",
        country: "AU",
        currency: "AUD",
    },
    Place { street: "3 Dame Street", city: "Dublin", state: "", postal_code: "D02", country: "IE", currency: "EUR" },
];

/// One in so many customers has a twin that the rule allows: 2 %.
const ALLOWED_EVERY: usize = 50;
/// One in so many has a twin that the rule blocks: 1 %.
const BLOCKED_EVERY: usize = 100;

/// `count` customers. At least one of each kind of twin is among them.
pub(crate) fn customers(count: usize, rng: &mut StdRng) -> Vec<Customer> {
    (0..count)
        .map(|index| {
            let first_name = FIRST_NAMES[rng.random_range(0..FIRST_NAMES.len())];
            let last_name = LAST_NAMES[rng.random_range(0..LAST_NAMES.len())];
            Customer {
                owner: format!("id-{}", hex(rng, 32)),
                customer_id: format!("cus-{}", hex(rng, 32)),
                first_name,
                last_name,
                email: format!(
                    "{}.{index}@example.org",
                    first_name.to_lowercase().replace(|c: char| !c.is_ascii(), "")
                ),
                phone: format!("+4477{index:08}"),
                place: PLACES[rng.random_range(0..PLACES.len())],
                twin: match index {
                    index if index % BLOCKED_EVERY == 7 => Twin::Blocked,
                    index if index % ALLOWED_EVERY == 3 => Twin::Allowed,
                    _ => Twin::None,
                },
            }
        })
        .collect()
}

impl Customer {
    /// `customerDetails`, in the shop's spelling.
    pub(crate) fn details(&self) -> Value {
        json!({
            "firstName": self.first_name, "lastName": self.last_name,
            "fullName": format!("{} {}", self.first_name, self.last_name),
            "email": self.email, "phone": self.phone, "marketingPrefs": { "newsletter": self.place.country != "DE" },
        })
    }

    /// `userDetails`: the claims of a token that was issued at `at`, in seconds since 1970.
    pub(crate) fn claims(&self, at: i64) -> Value {
        let issuer = "https://login.shop.example";
        let mut claims = Map::new();
        claims.insert("issuer".into(), json!(issuer));
        claims.insert("sub".into(), json!(self.owner));
        claims.insert("email".into(), json!(self.email));
        claims.insert("email_verified".into(), json!(true));
        claims.insert("iat".into(), json!(at));
        claims.insert("exp".into(), json!(at + 3_600));
        claims.insert(format!("{issuer}/aut"), json!({ "iss": "https://idp.shop.example", "sub": self.customer_id }));
        Value::Object(claims)
    }

    /// An address with all its keys; every other one spells the postal code as `zipCode`.
    pub(crate) fn address(&self, zip: bool) -> Value {
        let Place { street, city, state, postal_code, country, currency: _ } = self.place;
        let postal = if zip { "zipCode" } else { "postalCode" };
        json!({
            "firstName": self.first_name, "lastName": self.last_name, "email": self.email, "address1": street,
            "address2": "", "city": city, "state": state, postal: postal_code, "country": country,
        })
    }

    /// The Account that the org has of somebody like this customer before the first order.
    pub(crate) fn twin_account(&self) -> Option<Value> {
        match self.twin {
            Twin::None => None,
            Twin::Allowed => Some(json!({
                "FirstName": self.first_name, "LastName": self.last_name, "PersonEmail": self.email,
            })),
            Twin::Blocked => Some(json!({ "LastName": "Known debtor", "Phone": self.phone })),
        }
    }
}

/// So many random hex digits.
pub(crate) fn hex(rng: &mut StdRng, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)])).collect()
}

/// A human reference: so many characters out of digits and capitals.
pub(crate) fn reference(rng: &mut StdRng, length: usize) -> String {
    const CHARACTERS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    (0..length).map(|_| char::from(CHARACTERS[rng.random_range(0..CHARACTERS.len())])).collect()
}
