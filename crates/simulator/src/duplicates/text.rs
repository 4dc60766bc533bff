//! How field values are made comparable: folding, sounds, and the parts of names, phones and addresses.
//!
//! Source: Help, "Matching Algorithms Used with Matching Methods" and the match keys of the standard matching rules.
//! The sound key is a plain metaphone in the form those examples show (`doe` is `t`, `benioff` is `pnf`).

use serde::{Deserialize, Serialize};

/// How the value of a field goes into a match key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyForm {
    /// As it is.
    Exact,
    /// Without case.
    Folded,
    /// Letters and digits before the at-sign, the last two labels after it.
    Email,
    /// The first letter of the name a nickname stands for.
    Initial,
    /// The sound of the name.
    Sound,
    /// The first six letters and digits.
    City,
    /// The first three digits.
    Zip,
    /// House number and first word.
    Street,
    /// Digits without a leading 1 and without the last four.
    Phone,
    /// The first six letters of the first two words, legal forms left out.
    Company,
    /// The host without `www`.
    Website,
}

impl KeyForm {
    /// Appends the value in this form; a value that comes to nothing appends nothing.
    pub(crate) fn push(self, key: &mut String, text: &str) {
        match self {
            Self::Exact => key.push_str(text),
            Self::Folded => key.extend(text.chars().flat_map(char::to_lowercase)),
            Self::Email => {
                let (local, domain) = text.rsplit_once('@').unwrap_or((text, ""));
                key.extend(plain(local));
                key.push('@');
                let labels: Vec<&str> = domain.rsplitn(3, '.').collect();
                for label in labels.iter().take(2).rev() {
                    key.extend(label.chars().flat_map(char::to_lowercase));
                    key.push('.');
                }
            }
            Self::Initial => {
                let name = root_name(text);
                key.extend(name.chars().next());
            }
            Self::Sound => key.push_str(&sound(text)),
            Self::City => key.extend(plain(text).take(6)),
            Self::Zip => key.extend(text.chars().filter(char::is_ascii_digit).take(3)),
            Self::Street => {
                let street = Street::read(text);
                key.push_str(&street.number);
                key.push_str(street.name.split(' ').next().unwrap_or_default());
            }
            Self::Phone => {
                let digits = digits(text);
                key.push_str(digits.get(..digits.len().saturating_sub(4)).unwrap_or_default());
            }
            Self::Company => {
                for word in company_words(text).iter().take(2) {
                    key.extend(word.chars().take(6));
                }
            }
            Self::Website => key.push_str(&host(text)),
        }
    }
}

/// Lower-case letters and digits, accents taken off.
pub(crate) fn plain(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().flat_map(char::to_lowercase).flat_map(unaccented)
}

/// Words of lower-case letters and digits.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| plain(word).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect()
}

/// A lower-case letter or digit without its accent; anything else is nothing.
fn unaccented(c: char) -> impl Iterator<Item = char> {
    let spelt = match c {
        c if c.is_ascii() => "",
        'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' | 'ð' => "d",
        'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' | 'ě' => "e",
        'ğ' => "g",
        'ì' | 'í' | 'î' | 'ï' | 'ī' | 'ı' => "i",
        'ł' | 'ľ' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' | 'ō' | 'ő' => "o",
        'œ' => "oe",
        'ř' => "r",
        'ś' | 'š' | 'ş' => "s",
        'ß' => "ss",
        'ť' => "t",
        'þ' => "th",
        'ù' | 'ú' | 'û' | 'ü' | 'ū' | 'ů' | 'ű' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        _ => "",
    };
    let as_it_is = (spelt.is_empty() && c.is_alphanumeric()).then_some(c);
    spelt.chars().chain(as_it_is)
}

/// First names and the short forms people use for them; the first of a line is what the others stand for.
const NICKNAMES: [&[&str]; 24] = [
    &["alexander", "alex", "sandy", "xander"],
    &["andrew", "andy", "drew"],
    &["anthony", "tony"],
    &["benjamin", "ben"],
    &["catherine", "katherine", "kathryn", "kate", "katie", "kathy", "cathy"],
    &["charles", "charlie", "chuck"],
    &["christopher", "chris"],
    &["daniel", "dan", "danny"],
    &["david", "dave"],
    &["edward", "ed", "eddie", "ted"],
    &["elizabeth", "liz", "beth", "betty", "lisa", "eliza"],
    &["james", "jim", "jimmy", "jamie"],
    &["jennifer", "jen", "jenny"],
    &["john", "johnny", "jack"],
    &["jonathan", "jon"],
    &["joseph", "joe", "joey"],
    &["margaret", "maggie", "meg", "peggy"],
    &["matthew", "matt"],
    &["michael", "mike", "mick"],
    &["nicholas", "nick"],
    &["richard", "rick", "dick", "rich"],
    &["robert", "bob", "bobby", "rob", "robbie"],
    &["thomas", "tom", "tommy"],
    &["william", "bill", "billy", "will", "liam"],
];

/// The name a nickname stands for, or the name itself; plain letters.
pub(crate) fn root_name(name: &str) -> String {
    let mut plain_name = String::with_capacity(name.len());
    plain_name.extend(plain(name));
    let name = plain_name;
    let line = NICKNAMES.iter().find(|line| line.contains(&name.as_str()));
    line.and_then(|line| line.first()).map_or(name, |root| (*root).to_owned())
}

/// Digits of a phone number without trunk signs: `+1 (415) 555-1234` is `4155551234`.
pub(crate) fn digits(text: &str) -> String {
    let all: String = text.chars().filter(char::is_ascii_digit).collect();
    let national = if all.len() == 11 { all.strip_prefix('1') } else { all.strip_prefix("00") };
    national.map_or_else(|| all.clone(), str::to_owned)
}

/// Words of a company name without its legal form.
pub(crate) fn company_words(text: &str) -> Vec<String> {
    const FORMS: [&str; 22] = [
        "inc",
        "incorporated",
        "corp",
        "corporation",
        "co",
        "company",
        "ltd",
        "limited",
        "llc",
        "llp",
        "plc",
        "gmbh",
        "ag",
        "kg",
        "sa",
        "sarl",
        "srl",
        "bv",
        "nv",
        "ab",
        "oy",
        "the",
    ];
    let mut words = words(text);
    let says_something = |word: &String| !FORMS.contains(&word.as_str());
    if words.iter().any(says_something) {
        words.retain(says_something);
    }
    words
}

/// The host of a web address, lower case, without `www`.
pub(crate) fn host(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    host.strip_prefix("www.").unwrap_or(host).to_owned()
}

/// The parts of a street line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Street {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) suffix: String,
    pub(crate) suite: String,
}

impl Street {
    /// `123 Maple Avenue, Suite 4` in its parts; the number may also come last.
    pub(crate) fn read(text: &str) -> Self {
        const SUFFIXES: [(&str, &str); 16] = [
            ("avenue", "ave"),
            ("ave", "ave"),
            ("street", "st"),
            ("st", "st"),
            ("road", "rd"),
            ("rd", "rd"),
            ("boulevard", "blvd"),
            ("blvd", "blvd"),
            ("lane", "ln"),
            ("ln", "ln"),
            ("drive", "dr"),
            ("dr", "dr"),
            ("court", "ct"),
            ("ct", "ct"),
            ("square", "sq"),
            ("sq", "sq"),
        ];
        let mut street = Self::default();
        let mut words = words(text).into_iter().peekable();
        let mut name: Vec<String> = Vec::new();
        while let Some(word) = words.next() {
            let numeric = word.starts_with(|c: char| c.is_ascii_digit());
            if matches!(word.as_str(), "suite" | "ste" | "apt" | "apartment" | "unit" | "floor") {
                street.suite = words.by_ref().collect::<Vec<_>>().join(" ");
            } else if numeric && street.number.is_empty() {
                street.number = word;
            } else if let Some((_, short)) =
                SUFFIXES.iter().find(|(long, _)| *long == word).filter(|_| !name.is_empty() && street.suffix.is_empty())
            {
                (*short).clone_into(&mut street.suffix);
            } else {
                name.push(word);
            }
        }
        street.name = name.join(" ");
        street
    }
}

/// The consonants of a word as they sound.
pub(crate) fn sound(text: &str) -> String {
    let mut letters: Vec<char> = Vec::with_capacity(text.len());
    letters.extend(plain(text).filter(char::is_ascii_lowercase));
    let at = |place: usize| letters.get(place).copied().unwrap_or(' ');
    let is_vowel = |c: char| matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y');
    let mut out = String::with_capacity(letters.len());
    let mut place = match (at(0), at(1)) {
        ('k' | 'g' | 'p', 'n') | ('w', 'r') => 1,
        _ => 0,
    };
    while place < letters.len() {
        let (c, next, then) = (at(place), at(place + 1), at(place + 2));
        let before = if place == 0 { ' ' } else { at(place - 1) };
        place += 1;
        if c == before && c != 'c' {
            continue;
        }
        let (code, used) = match c {
            'b' if before == 'm' && next == ' ' => ("", 0),
            'b' => ("p", 0),
            'c' if next == 'h' => ("x", 1),
            'c' if next == 'i' && then == 'a' => ("x", 0),
            'c' if matches!(next, 'i' | 'e' | 'y') => ("s", 0),
            'c' if next == 'k' => ("k", 1),
            'd' if next == 'g' && matches!(then, 'e' | 'i' | 'y') => ("j", 1),
            'd' if next == 't' => ("", 0),
            'd' => ("t", 0),
            'g' if next == 'h' && !is_vowel(then) => ("", 1),
            'g' if next == 'n' => ("", 0),
            'g' if matches!(next, 'e' | 'i' | 'y') => ("j", 0),
            'c' | 'g' | 'k' | 'q' => ("k", 0),
            'h' if is_vowel(next) && !is_vowel(before) => ("h", 0),
            'p' if next == 'h' => ("f", 1),
            's' if next == 'c' && then == 'h' => ("x", 2),
            's' if next == 'h' => ("x", 1),
            's' if next == 'i' && matches!(then, 'o' | 'a') => ("x", 0),
            's' | 'z' => ("s", 0),
            't' if next == 'i' && matches!(then, 'o' | 'a') => ("x", 0),
            't' if next == 'h' => ("0", 1),
            't' if next == 'c' && then == 'h' => ("", 0),
            'v' | 'f' => ("f", 0),
            'x' if place == 1 => ("s", 0),
            'x' => ("ks", 0),
            'w' if is_vowel(next) => ("w", 0),
            'j' | 'l' | 'm' | 'n' | 'p' | 'r' | 't' => {
                out.push(c);
                ("", 0)
            }
            // Vowels count at the start only.
            c if is_vowel(c) && out.is_empty() && place == 1 => ("a", 0),
            _ => ("", 0),
        };
        out.push_str(code);
        place += used;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{KeyForm, Street, root_name, sound};

    fn key(form: KeyForm, text: &str) -> String {
        let mut key = String::new();
        form.push(&mut key, text);
        key
    }

    #[test]
    fn the_published_examples_of_match_keys_come_out() {
        assert_eq!(key(KeyForm::Email, "john_doe@us.ibm.com"), key(KeyForm::Email, "johndoe@ibm.com"));
        assert_eq!((sound("Doe").as_str(), sound("Benioff").as_str()), ("t", "pnf"));
        assert_eq!(key(KeyForm::City, "Philadelphia"), "philad");
        assert_eq!(key(KeyForm::Zip, "10001"), "100");
        assert_eq!(key(KeyForm::Street, "123 Maple Avenue"), "123maple");
        assert_eq!((key(KeyForm::Phone, "415-555-1234"), key(KeyForm::Phone, "1-415-555-1234")), {
            ("415555".to_owned(), "415555".to_owned())
        });
        assert_eq!(key(KeyForm::Phone, "555-1234-5678"), "5551234");
    }

    #[test]
    fn names_that_sound_alike_share_a_sound() {
        for (a, b) in [("Smith", "Smyth"), ("Müller", "Muller"), ("Philips", "Filips"), ("Schmidt", "Shmit")] {
            assert_eq!(sound(a), sound(b), "{a} {b}");
        }
        assert_ne!(sound("Smith"), sound("Jones"));
        assert_eq!((root_name("Bob"), root_name("Jane")), ("robert".to_owned(), "jane".to_owned()));
    }

    #[test]
    fn odd_text_makes_a_key_or_none() {
        for text in ["", " ", "@", "…", "日本", "\u{0}", "'"] {
            for form in
                [KeyForm::Email, KeyForm::Initial, KeyForm::Sound, KeyForm::Street, KeyForm::Phone, KeyForm::Company]
            {
                let _ = key(form, text);
            }
        }
        assert_eq!(key(KeyForm::Zip, "WT"), "");
    }

    #[test]
    fn a_street_has_parts() {
        let street = Street::read("123 Maple Avenue, Suite 4");
        let expected = ("123", "maple", "ave", "4");
        assert_eq!((&*street.number, &*street.name, &*street.suffix, &*street.suite), expected);
        assert_eq!(Street::read("Bahnhofstrasse 7").number, "7");
    }
}
