//! Metadata from outside: a TOML file in the format of `schema/*.toml`, or Salesforce source-format metadata.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::build::Seed;
use super::{metadata_xml, toml_file};

/// Where an org takes objects, fields and rules from, beyond those every org has.
///
/// A file that ends in `.toml` is read in the format of the crate's `schema` folder. Everything else is Salesforce
/// source-format metadata: an `objects` folder or any folder above it, the folder of one object, or one
/// `.object-meta.xml` or `.field-meta.xml` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaSource {
    /// File or folder.
    pub path: PathBuf,
    /// Namespace of a managed package: names without one get it.
    pub namespace: Option<String>,
}

impl<T: Into<PathBuf>> From<T> for SchemaSource {
    fn from(path: T) -> Self {
        Self { path: path.into(), namespace: None }
    }
}

impl std::str::FromStr for SchemaSource {
    type Err = String;

    /// `PATH`, or `NAMESPACE=PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected a file or folder".to_owned());
        }
        match text.split_once('=').filter(|(namespace, path)| is_namespace(namespace) && !path.is_empty()) {
            Some((namespace, path)) if !Path::new(text).exists() => {
                Ok(Self { path: path.into(), namespace: Some(namespace.to_owned()) })
            }
            _ => Ok(text.into()),
        }
    }
}

/// 1 to 15 letters and digits, single underscores between them, a letter first.
pub(crate) fn is_namespace(text: &str) -> bool {
    text.len() <= 15
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !text.contains("__")
        && !text.ends_with('_')
}

/// Metadata that cannot be used: where, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SchemaError {
    /// The file.
    pub file: PathBuf,
    /// Line and column, or the element.
    pub place: String,
    /// What is wrong, and the remedy.
    pub problem: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if !self.place.is_empty() {
            write!(f, ":{}", self.place)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl SchemaError {
    pub(crate) fn new(file: &Path, place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: place.into(), problem: problem.into() }
    }
}

/// Reads one source, in the order of its names.
pub(crate) fn read(source: &SchemaSource) -> Result<Vec<Seed>, SchemaError> {
    let path = &source.path;
    if let Some(namespace) = source.namespace.as_deref().filter(|namespace| !is_namespace(namespace)) {
        let problem = format!("`{namespace}` is no namespace; use up to 15 letters and digits, a letter first");
        return Err(SchemaError::new(path, "", problem));
    }
    let meta = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    let mut seeds = if meta.is_dir() {
        let mut seeds = Vec::new();
        let mut found = false;
        walk(path, 0, &mut |file| {
            found = true;
            seeds.append(&mut read_file(file)?);
            Ok(())
        })?;
        if !found {
            let problem = "no .toml, .object-meta.xml or .field-meta.xml file in this folder; name the folder that holds \
                           the objects";
            return Err(SchemaError::new(path, "", problem));
        }
        seeds
    } else {
        read_file(path)?
    };
    if let Some(namespace) = &source.namespace {
        for seed in &mut seeds {
            seed.namespaced(namespace);
        }
    }
    Ok(seeds)
}

fn read_file(path: &Path) -> Result<Vec<Seed>, SchemaError> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    if is_toml(path) { toml_file::read(path, &text) } else { metadata_xml::read(path, &text) }
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn unreadable(path: &Path, error: &std::io::Error) -> SchemaError {
    SchemaError::new(path, "", format!("cannot be read ({error}); name a file or folder that exists"))
}

/// Deeper than any project nests its objects; links that go round end here.
const DEEPEST: usize = 12;

/// Calls `each` with the metadata files below `folder`, objects before their fields.
fn walk(
    folder: &Path,
    depth: usize,
    each: &mut dyn FnMut(&Path) -> Result<(), SchemaError>,
) -> Result<(), SchemaError> {
    if depth > DEEPEST {
        return Ok(());
    }
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|error| unreadable(folder, &error))?.path());
    }
    paths.sort();
    let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_toml(&file) || metadata_xml::is_metadata(name) {
            each(&file)?;
        }
    }
    folders.iter().try_for_each(|folder| walk(folder, depth + 1, each))
}

/// ` (did you mean `x`?)` for the nearest of `known`, or nothing.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word.to_ascii_lowercase(), &name.to_ascii_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::{SchemaSource, did_you_mean, is_namespace};

    #[test]
    fn a_source_may_name_its_namespace() {
        let source: SchemaSource = "i42as=objects".parse().expect("a source");
        assert_eq!((source.namespace.as_deref(), source.path.to_str()), (Some("i42as"), Some("objects")));
        let source: SchemaSource = "some/folder=x".parse().expect("a source");
        assert_eq!(source.namespace, None);
    }

    #[test]
    fn namespaces_are_short_words() {
        assert!(is_namespace("i42as") && is_namespace("a_b"));
        assert!(!is_namespace("4a") && !is_namespace("a__b") && !is_namespace("aaaaaaaaaaaaaaaa") && !is_namespace(""));
    }

    #[test]
    fn the_nearest_word_is_suggested() {
        assert_eq!(did_you_mean("lenght", ["length", "label"]), "; did you mean `length`?");
        assert_eq!(did_you_mean("zzz", ["length", "label"]), "");
    }
}
