//! The org file: several orgs in one TOML file. `orgs.example.toml` in the crate documents every key.
//!
//! Everything that is wrong is reported at once, each with file, key and remedy.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Config, SeedRecord, seed_records, users};
use crate::schema::source::SchemaSource;

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it: a key such as `orgs[1].settings.api_limit`, or line and column. Empty for the file itself.
    pub place: String,
    /// What is wrong, and the remedy.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if !self.place.is_empty() {
            write!(f, ": {}", self.place)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// The orgs of a file. What an org leaves out it has from `base`.
///
/// # Errors
/// All that is wrong with the file.
pub fn read_orgs(path: &Path, base: &Config) -> Result<Vec<Config>, Vec<Problem>> {
    let problem = |place: String, text: String| Problem { file: path.to_owned(), place, text };
    let text = fs::read_to_string(path)
        .map_err(|error| vec![problem(String::new(), format!("cannot be read: {error}; give a readable file"))])?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let place = error.span().map_or(String::new(), |span| line_and_column(&text, span.start));
        vec![problem(place, format!("not TOML: {}", error.message().trim()))]
    })?;
    let mut reader = Reader { path, problems: Vec::new() };
    let mut top = Section { keys: to_json(toml::Value::Table(table)), place: String::new(), known: Vec::new() };
    let tables: Vec<Value> = reader.take(&mut top, "orgs").unwrap_or_default();
    reader.end(&top);
    if tables.is_empty() && reader.problems.is_empty() {
        reader.say("orgs", "no org; write at least one [[orgs]] with a name");
    }
    let mut orgs: Vec<Config> = Vec::new();
    for (place, table) in tables.into_iter().enumerate() {
        let place = format!("orgs[{place}].");
        let org = reader.org(Section { keys: table, place: place.clone(), known: Vec::new() }, base);
        if orgs.iter().any(|other| other.name == org.name) {
            reader.say(&format!("{place}name"), &format!("another org is called {}; choose another name", org.name));
        }
        orgs.push(org);
    }
    if reader.problems.is_empty() { Ok(orgs) } else { Err(reader.problems) }
}

/// One org from JSON, as `POST /_sim/orgs` takes it: the keys of an `[[orgs]]` table that name no file.
pub(crate) fn org_from_json(value: Value) -> Result<Config, String> {
    let mut reader = Reader { path: Path::new("the body"), problems: Vec::new() };
    if let Some(key) = ["record_files", "schema"].into_iter().find(|key| value.get(key).is_some()) {
        return Err(format!("{key}: files are for --config; a body holds the rows themselves under records"));
    }
    let org = reader.org(Section { keys: value, place: String::new(), known: Vec::new() }, &Config::default());
    let problems: Vec<String> = reader.problems.iter().map(|p| format!("{}: {}", p.place, p.text)).collect();
    if problems.is_empty() { Ok(org) } else { Err(problems.join("; ")) }
}

/// A table whose keys are taken one by one; what is left at the end is unknown.
struct Section {
    keys: Value,
    place: String,
    known: Vec<&'static str>,
}

struct Reader<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn say(&mut self, place: &str, text: &str) {
        self.problems.push(Problem { file: self.path.to_owned(), place: place.to_owned(), text: text.to_owned() });
    }

    fn take<T: DeserializeOwned>(&mut self, section: &mut Section, key: &'static str) -> Option<T> {
        section.known.push(key);
        let value = section.keys.as_object_mut()?.shift_remove(key)?;
        self.parse(&format!("{}{key}", section.place), value)
    }

    fn parse<T: DeserializeOwned>(&mut self, place: &str, value: Value) -> Option<T> {
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.say(place, &explained(&error.to_string()));
                None
            }
        }
    }

    /// A list whose entries are judged one by one.
    fn list<T: DeserializeOwned>(&mut self, section: &mut Section, key: &'static str) -> Option<Vec<T>> {
        let entries: Vec<Value> = self.take(section, key)?;
        let place = format!("{}{key}", section.place);
        let parsed = entries.into_iter().enumerate();
        Some(parsed.filter_map(|(n, value)| self.parse(&format!("{place}[{n}]"), value)).collect())
    }

    fn end(&mut self, section: &Section) {
        let Some(keys) = section.keys.as_object() else {
            self.say(section.place.trim_end_matches('.'), "expected a table of keys and values");
            return;
        };
        for key in keys.keys() {
            self.say(&format!("{}{key}", section.place), &unknown(key, &section.known));
        }
    }

    fn org(&mut self, mut section: Section, base: &Config) -> Config {
        let mut org = base.clone();
        let place = section.place.clone();
        match self.take::<String>(&mut section, "name") {
            Some(name) => {
                if let Err(problem) = crate::orgs::check_name(&name) {
                    self.say(&format!("{place}name"), &problem);
                }
                org.name = name;
            }
            None => self.say(&format!("{place}name"), "an org needs a name, such as name = \"acme\""),
        }
        org.sandbox = self.take(&mut section, "sandbox").unwrap_or(org.sandbox);
        org.seed = self.take(&mut section, "seed").unwrap_or(org.seed);
        if let Some(changes) = self.take::<Map<String, Value>>(&mut section, "settings") {
            // One by one, so that each wrong one is reported.
            for (key, value) in changes {
                match org.settings.merged(&Value::Object(Map::from_iter([(key.clone(), value)]))) {
                    Ok(merged) => org.settings = merged,
                    Err(problem) => self.say(&format!("{place}settings.{key}"), &explained(&problem)),
                }
            }
        }
        if let Some(rules) = self.list(&mut section, "duplicate_rules") {
            org.duplicate_rules = rules;
        }
        if let Some(apps) = self.list(&mut section, "apps") {
            org.apps = apps;
        }
        let known = self.problems.len();
        if let Some(users) = self.list(&mut section, "users") {
            // Entries that could not be read are missing in the list and told already.
            for problem in if self.problems.len() > known { Vec::new() } else { users::problems(&users) } {
                self.say(&format!("{place}users"), &problem);
            }
            org.users = users;
        }
        if let Some(providers) = self.list(&mut section, "auth_providers") {
            org.auth_providers = providers;
        }
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        for source in self.list::<String>(&mut section, "schema").unwrap_or_default() {
            match source.parse::<SchemaSource>() {
                Ok(source) => org.schema.push(SchemaSource { path: folder.join(&source.path), ..source }),
                Err(problem) => self.say(&format!("{place}schema"), &problem),
            }
        }
        for file in self.list::<PathBuf>(&mut section, "record_files").unwrap_or_default() {
            match seed_records::read(&folder.join(file)) {
                Ok(records) => org.records.extend(records),
                Err(problem) => self.problems.push(problem),
            }
        }
        for (object, rows) in self.take::<Map<String, Value>>(&mut section, "records").unwrap_or_default() {
            let at = format!("{place}records.{object}");
            for fields in self.parse::<Vec<Map<String, Value>>>(&at, rows).unwrap_or_default() {
                match SeedRecord::from_fields(Some(&object), fields) {
                    Ok(record) => org.records.push(record),
                    Err(problem) => self.say(&at, &problem),
                }
            }
        }
        self.end(&section);
        org
    }
}

fn unknown<S: AsRef<str>>(key: &str, known: &[S]) -> String {
    let near = known.iter().map(|name| (strsim::jaro_winkler(key, name.as_ref()), name.as_ref()));
    if let Some((_, name)) = near.filter(|(score, _)| *score >= 0.75).max_by(|a, b| a.0.total_cmp(&b.0)) {
        return format!("unknown key; did you mean {name}?");
    }
    let names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    format!("unknown key; known are: {}", names.join(", "))
}

/// The words of a JSON error, with a suggestion where a name is unknown.
fn explained(error: &str) -> String {
    let Some(rest) = error.strip_prefix("unknown field ").or_else(|| error.strip_prefix("unknown variant ")) else {
        return error.to_owned();
    };
    let mut names = rest.split('`').skip(1).step_by(2);
    let key = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    format!("{key}: {}", unknown(key, &known))
}

fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(list) => list.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, to_json(value))).collect(),
    }
}

fn line_and_column(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests {
    use super::{explained, line_and_column, unknown};

    #[test]
    fn a_misspelt_key_gets_the_nearest_known_one() {
        assert_eq!(unknown("api_limt", &["seed", "api_limit"]), "unknown key; did you mean api_limit?");
        assert_eq!(unknown("zzz", &["seed", "name"]), "unknown key; known are: seed, name");
        let said = explained("unknown field `client_ide`, expected one of `client_id`, `client_secret`");
        assert_eq!(said, "client_ide: unknown key; did you mean client_id?");
    }

    #[test]
    fn places_count_from_one() {
        assert_eq!(line_and_column("a\nbc", 3), "line 2, column 2");
    }
}
