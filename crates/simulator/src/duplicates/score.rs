//! How alike two values are, out of 100, by the matching methods an administrator chooses from.
//!
//! Source: Help, "Matching Methods Used in Matching Rules" and "Matching Algorithms Used with Matching Methods":
//! algorithms, thresholds and section weights are theirs. Jaro-Winkler and edit distance are the textbook ones,
//! keyboard distance is taken as edit distance, and the nickname list is short.

use serde::{Deserialize, Serialize};

use super::text::{Street, company_words, digits, host, plain, root_name, sound, words};

/// A matching method, by its name in the Metadata API but in snake case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchMethod {
    /// The same text, case aside unless `exact_case` is set.
    #[default]
    Exact,
    /// Fuzzy: First Name.
    #[serde(alias = "fuzzy_first_name")]
    FirstName,
    /// Fuzzy: Last Name.
    #[serde(alias = "fuzzy_last_name")]
    LastName,
    /// Fuzzy: Company Name.
    #[serde(alias = "fuzzy_company_name")]
    CompanyName,
    /// Fuzzy: Phone.
    Phone,
    /// Fuzzy: City.
    City,
    /// Fuzzy: Street.
    Street,
    /// Fuzzy: ZIP; only numbers have one.
    Zip,
    /// Fuzzy: Title.
    Title,
    /// The same address, case aside.
    Email,
    /// The same host of a web address.
    Website,
}

impl MatchMethod {
    /// From this score on, values match.
    pub(crate) fn threshold(self) -> f64 {
        match self {
            Self::Exact | Self::Email | Self::Website => 100.0,
            Self::FirstName | Self::City => 85.0,
            Self::LastName => 90.0,
            Self::CompanyName => 70.0,
            Self::Phone | Self::Street | Self::Zip => 80.0,
            Self::Title => 50.0,
        }
    }

    /// How alike `a` and `b` are; neither is blank.
    pub(crate) fn score(self, a: &str, b: &str, exact_case: bool) -> f64 {
        match self {
            Self::Exact if exact_case => sure(a == b),
            Self::Exact | Self::Email => sure(same(a.trim(), b.trim())),
            Self::Website => sure(host(a) == host(b)),
            Self::FirstName => first_name(a, b),
            Self::LastName => last_name(a, b),
            Self::CompanyName => company(a, b),
            Self::Phone => phone(a, b),
            Self::City => closeness(a, b),
            Self::Street => street(a, b),
            Self::Zip => zip(a, b),
            Self::Title => sure(same(a, b) || acronym(a, b) || acronym(b, a)),
        }
    }
}

fn sure(matches: bool) -> f64 {
    if matches { 100.0 } else { 0.0 }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

/// Edit distance as a share of the longer text.
fn closeness(a: &str, b: &str) -> f64 {
    let (a, b): (String, String) = (plain(a).collect(), plain(b).collect());
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    strsim::normalized_damerau_levenshtein(&a, &b) * 100.0
}

fn first_name(a: &str, b: &str) -> f64 {
    let (plain_a, plain_b): (String, String) = (plain(a).collect(), plain(b).collect());
    if plain_a.is_empty() || plain_b.is_empty() {
        return 0.0;
    }
    let initial = (plain_a.chars().count() == 1 || plain_b.chars().count() == 1)
        && plain_a.chars().next() == plain_b.chars().next();
    if plain_a == plain_b || initial || root_name(a) == root_name(b) || alike(a, b) {
        return 100.0;
    }
    strsim::jaro_winkler(&plain_a, &plain_b) * 100.0
}

fn last_name(a: &str, b: &str) -> f64 {
    if alike(a, b) { 100.0 } else { closeness(a, b) }
}

/// The names have one sound that says something, or are the same letters.
fn alike(a: &str, b: &str) -> bool {
    // One consonant is too little to go by: Ida and Otto would be one name.
    let sound_a = sound(a);
    let numbered = a.chars().chain(b.chars()).any(char::is_numeric);
    let sounds = !numbered && sound_a.chars().count() > 2 && plain(a).next() == plain(b).next();
    (sounds && sound_a == sound(b)) || plain(a).eq(plain(b))
}

fn company(a: &str, b: &str) -> f64 {
    let (words_a, words_b) = (company_words(a).join(" "), company_words(b).join(" "));
    if words_a.is_empty() || words_b.is_empty() {
        return 0.0;
    }
    if words_a == words_b || acronym(a, b) || acronym(b, a) {
        return 100.0;
    }
    strsim::normalized_damerau_levenshtein(&words_a, &words_b) * 100.0
}

/// `short` is made of the first letters of `long`.
fn acronym(short: &str, long: &str) -> bool {
    let letters: String = words(long).iter().filter_map(|word| word.chars().next()).collect();
    letters.chars().count() > 1 && plain(short).eq(letters.chars())
}

/// International code 10, area code 50, next three digits 30, last four 10; other countries' numbers are compared whole.
fn phone(a: &str, b: &str) -> f64 {
    let (a, b) = (digits(a), digits(b));
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    if a == b {
        return 100.0;
    }
    let (Some(sections_a), Some(sections_b)) = (sections(&a), sections(&b)) else { return 0.0 };
    let weights = [50.0, 30.0, 10.0];
    let equal = sections_a.iter().zip(sections_b).zip(weights).filter(|((a, b), _)| **a == *b);
    10.0 + equal.map(|(_, weight)| weight).sum::<f64>()
}

fn sections(digits: &str) -> Option<[&str; 3]> {
    (digits.len() == 10).then_some(())?;
    Some([digits.get(..3)?, digits.get(3..6)?, digits.get(6..)?])
}

/// Street name 55, number 20, suffix 15, suite 10; a part that both lack counts for neither.
fn street(a: &str, b: &str) -> f64 {
    let (a, b) = (Street::read(a), Street::read(b));
    let (mut sum, mut weights) = (0.0, 0.0);
    let mut part = |weight: f64, a: &str, b: &str, score: f64| {
        if !a.is_empty() || !b.is_empty() {
            weights += weight;
            sum += weight * score;
        }
    };
    let names = closeness(&a.name, &b.name);
    part(55.0, &a.name, &b.name, if names >= 80.0 { names } else { 0.0 });
    part(20.0, &a.number, &b.number, sure(a.number == b.number));
    part(15.0, &a.suffix, &b.suffix, sure(a.suffix == b.suffix));
    part(10.0, &a.suite, &b.suite, sure(a.suite == b.suite));
    if weights == 0.0 { 0.0 } else { sum / weights }
}

/// First five digits 90, the rest 10; a code with letters matches nothing.
fn zip(a: &str, b: &str) -> f64 {
    let read = |text: &str| -> Option<(String, String)> {
        let kept: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        let split = kept.len().min(5);
        (!kept.is_empty() && kept.bytes().all(|b| b.is_ascii_digit())).then(|| {
            (kept.get(..split).unwrap_or_default().to_owned(), kept.get(split..).unwrap_or_default().to_owned())
        })
    };
    let (Some((head_a, tail_a)), Some((head_b, tail_b))) = (read(a), read(b)) else { return 0.0 };
    let tails = tail_a == tail_b || tail_a.is_empty() || tail_b.is_empty();
    sure(head_a == head_b) * 0.9 + sure(tails) * 0.1
}

#[cfg(test)]
mod tests {
    use super::MatchMethod;

    fn matches(method: MatchMethod, a: &str, b: &str) -> bool {
        method.score(a, b, false) >= method.threshold()
    }

    #[test]
    fn people_write_one_name_in_many_ways() {
        for (a, b) in
            [("Bob", "Robert"), ("J.", "Jonathan"), ("JANE", "jane"), ("Jonathan", "Jonathon"), ("Zoë", "Zoe")]
        {
            assert!(matches(MatchMethod::FirstName, a, b), "{a} {b}");
        }
        for (a, b) in [("Bob", "Bill"), ("Jane", "Mark"), ("Nora", "Iris")] {
            assert!(!matches(MatchMethod::FirstName, a, b), "{a} {b}");
        }
        assert!(matches(MatchMethod::LastName, "Smith", "Smyth"));
        assert!(!matches(MatchMethod::LastName, "Smith1", "Smyrna"));
        assert!(!matches(MatchMethod::LastName, "Lee", "Lou"));
    }

    #[test]
    fn companies_are_compared_without_their_legal_form() {
        assert!(matches(MatchMethod::CompanyName, "Acme Inc.", "ACME Corporation"));
        assert!(matches(MatchMethod::CompanyName, "AMD", "Advanced Micro Devices"));
        assert!(!matches(MatchMethod::CompanyName, "Acme", "Globex"));
    }

    #[test]
    fn the_last_four_digits_of_a_phone_decide_little() {
        assert!(matches(MatchMethod::Phone, "+1 415-555-1234", "(415) 555-9999"));
        assert!(!matches(MatchMethod::Phone, "415-555-1234", "415-556-1234"));
        assert!(matches(MatchMethod::Phone, "+41 44 123 45 67", "0041441234567"));
        assert!(!matches(MatchMethod::Phone, "+41 44 123 45 67", "+41 44 123 45 68"));
    }

    #[test]
    fn only_numeric_postal_codes_match() {
        assert!(matches(MatchMethod::Zip, "94105", "94105-1804"));
        assert!(!matches(MatchMethod::Zip, "94105", "94107"));
        assert!(!matches(MatchMethod::Zip, "WT15 7TB", "WT15 7TB"));
    }

    #[test]
    fn streets_may_abbreviate_their_suffix() {
        assert!(matches(MatchMethod::Street, "123 Maple Avenue", "123 Maple Ave."));
        assert!(!matches(MatchMethod::Street, "123 Maple Avenue", "123 Oak Avenue"));
        assert!(!matches(MatchMethod::Street, "…", "…"));
    }

    #[test]
    fn a_title_matches_its_acronym() {
        assert!(matches(MatchMethod::Title, "Vice President", "VP"));
        assert!(!matches(MatchMethod::Title, "Vice President", "President"));
    }
}
