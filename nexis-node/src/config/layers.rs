//! Where values come from: the file, then the environment on top, then flags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::secret::Secret;
use super::settings::{Kind, SETTINGS, nearest, setting_of};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// An option of the command.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Plain(String),
    List(Vec<String>),
    Secret(Secret),
}

/// A value that counts, where it came from, and what it hides.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
    pub(super) hides: Vec<Origin>,
}

/// Everything from which a configuration is made. Tests hand in their own.
pub struct Sources<'a> {
    /// The file, where one was named.
    pub file: Option<&'a Path>,
    /// The environment: the value of a variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Flags: key, value, and the flag as it was written.
    pub flags: Vec<(String, String, String)>,
}

/// The values that count, by key, and everything that was wrong on the way.
pub(super) struct Layers {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) problems: Vec<String>,
}

/// Largest configuration file, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

impl Layers {
    /// Puts the layers on top of each other.
    pub(super) fn new(sources: &Sources<'_>) -> Self {
        let mut layers = Self { entries: BTreeMap::new(), problems: Vec::new() };
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                layers.put(setting.key, value(setting.kind, default), Origin::Default);
            }
        }
        if let Some(path) = sources.file {
            layers.file(path);
        }
        for setting in SETTINGS {
            let set = setting.env.iter().find_map(|name| Some((*name, (sources.environment)(name)?)));
            // An empty variable is how shells and units spell "not set".
            if let Some((name, text)) = set.filter(|(_, text)| !text.is_empty()) {
                layers.put(setting.key, value(setting.kind, &text), Origin::Environment(name.to_owned()));
            }
        }
        for (key, text, flag) in &sources.flags {
            match setting_of(key) {
                Some(setting) => layers.put(key, value(setting.kind, text), Origin::Flag(flag.clone())),
                None => layers.unknown(flag, key),
            }
        }
        layers
    }

    fn put(&mut self, key: &str, value: Value, origin: Origin) {
        let hides = self.entries.remove(key).map(|old| {
            let mut hides = old.hides;
            if old.origin != Origin::Default {
                hides.push(old.origin);
            }
            hides
        });
        self.entries.insert(key.to_owned(), Entry { value, origin, hides: hides.unwrap_or_default() });
    }

    fn unknown(&mut self, place: &str, key: &str) {
        let meant = nearest(key).map(|known| format!("; did you mean {known}?")).unwrap_or_default();
        self.problems.push(format!("{place}: there is no setting {key}{meant}"));
    }

    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match std::fs::metadata(path) {
            Ok(file) if file.len() > LARGEST_FILE => {
                self.problems.push(format!("{name}: larger than {LARGEST_FILE} bytes"));
                return;
            }
            Ok(_) => {}
            Err(e) => {
                self.problems.push(format!("{name}: {e}"));
                return;
            }
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                self.problems.push(format!("{name}: {e}"));
                return;
            }
        };
        match text.parse::<toml::Table>() {
            Ok(table) => self.table(path, "", table),
            // The parser's own words would quote the line, and with it a secret.
            Err(e) => {
                let line =
                    e.span().map(|span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
                let place = line.map(|line| format!(", line {line}")).unwrap_or_default();
                self.problems.push(format!("{name}{place}: {}", e.message()));
            }
        }
    }

    fn table(&mut self, path: &Path, prefix: &str, table: toml::Table) {
        for (name, item) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            let origin = Origin::File(path.to_path_buf());
            match (setting_of(&key), item) {
                (Some(setting), toml::Value::Array(items)) if setting.kind == Kind::List => {
                    let texts: Option<Vec<String>> =
                        items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                    match texts {
                        Some(texts) => self.put(&key, Value::List(texts), origin),
                        None => self
                            .problems
                            .push(format!("{}: {key}: a list of texts is expected", path.display())),
                    }
                }
                (Some(setting), item) => match scalar(&item) {
                    Some(text) => self.put(&key, value(setting.kind, &text), origin),
                    None => self.problems.push(format!(
                        "{}: {key}: one value is expected, not a {}",
                        path.display(),
                        item.type_str()
                    )),
                },
                (None, toml::Value::Table(below)) if is_section(&key) => self.table(path, &key, below),
                (None, _) => self.unknown(&path.display().to_string(), &key),
            }
        }
    }
}

/// Whether settings lie below a key.
fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|s| {
        s.key
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with('.') || (rest.is_empty() && s.kind == Kind::Table))
    })
}

fn scalar(item: &toml::Value) -> Option<String> {
    match item {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

fn value(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Plain | Kind::Table => Value::Plain(text.trim().to_owned()),
        Kind::Secret => Value::Secret(Secret::new(text.trim())),
        Kind::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::List(parts.map(str::to_owned).collect())
        }
    }
}
