//! The cache of Hugging Face's clients: where it is, and where a repository's files are in it.
//!
//! ```text
//! <cache>/models--<owner>--<name>/
//!   blobs/<etag>                  each file's content, once
//!   refs/<branch or tag>          the commit that it was last known to be
//!   snapshots/<commit>/<file>     links to ../../blobs/<etag>
//! ```
//!
//! Nothing here connects to anything, and nothing reads the environment: the front doors hand in how to look it up.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Gives the value of an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The cache that Hugging Face's clients use with this environment; `None` where not even a home folder is known.
///
/// `HF_HUB_CACHE` comes first, then `HUGGINGFACE_HUB_CACHE` (its old name), then `hub` in [`hub_home`].
pub fn hub_cache(lookup: Lookup<'_>) -> Option<PathBuf> {
    let named = |name| set(lookup, name).map(|text| expanded(&text, lookup));
    named("HF_HUB_CACHE")
        .or_else(|| named("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(hub_home(lookup)?.join("hub")))
}

/// The folder of Hugging Face's clients: `HF_HOME`, else `huggingface` in the user's cache folder.
pub fn hub_home(lookup: Lookup<'_>) -> Option<PathBuf> {
    if let Some(text) = set(lookup, "HF_HOME") {
        return Some(expanded(&text, lookup));
    }
    let caches = match set(lookup, "XDG_CACHE_HOME") {
        Some(text) => PathBuf::from(text),
        None => PathBuf::from(set(lookup, "HOME")?).join(".cache"),
    };
    Some(caches.join("huggingface"))
}

/// The folder of this program's own models: `NEXIS_HOME`, else `nexis` in the user's data folder.
pub fn nexis_home(lookup: Lookup<'_>) -> Option<PathBuf> {
    if let Some(text) = set(lookup, "NEXIS_HOME") {
        return Some(expanded(&text, lookup));
    }
    let data = match set(lookup, "XDG_DATA_HOME") {
        Some(text) => PathBuf::from(text),
        None => PathBuf::from(set(lookup, "HOME")?).join(".local/share"),
    };
    Some(data.join("nexis"))
}

/// A variable that is set and not empty.
fn set(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).filter(|text| !text.is_empty())
}

/// A path as the clients read it from a variable: `~` is the home folder, `$NAME` and `${NAME}` are variables.
pub fn expanded(text: &str, lookup: Lookup<'_>) -> PathBuf {
    let mut out = match (text.strip_prefix('~'), lookup("HOME")) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => text.to_owned(),
    };
    let mut from = 0;
    while let Some(at) = out.get(from..).and_then(|rest| rest.find('$')).map(|at| from + at) {
        let rest = out.get(at + 1..).unwrap_or_default();
        let (name, length) = match rest.strip_prefix('{') {
            Some(inner) => match inner.split_once('}') {
                Some((name, _)) => (name.to_owned(), name.len() + 2),
                None => (String::new(), 0),
            },
            None => {
                let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                let name = rest.split(word).next().unwrap_or_default();
                (name.to_owned(), name.len())
            }
        };
        match lookup(&name).filter(|_| !name.is_empty()) {
            Some(value) => {
                out.replace_range(at..=at + length, &value);
                from = at + value.len();
            }
            None => from = at + 1,
        }
    }
    PathBuf::from(out)
}

/// Whether a revision is a commit, and so never moves.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// One model repository in a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRepository {
    folder: PathBuf,
}

impl HubRepository {
    /// A repository (`owner/name`) in a cache; it need not be there.
    pub fn new(cache: &Path, repository: &str) -> Self {
        Self { folder: cache.join(Self::folder_name(repository)) }
    }

    /// The name of a repository's folder.
    pub fn folder_name(repository: &str) -> String {
        format!("models--{}", repository.replace('/', "--"))
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where contents are.
    pub fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    /// Where the commits are.
    pub fn snapshots(&self) -> PathBuf {
        self.folder.join("snapshots")
    }

    /// The files of one commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.snapshots().join(commit)
    }

    /// The file that says which commit a branch or tag is.
    pub fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// The commit of a revision, as far as the cache knows it.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let mut text = String::new();
        File::open(self.reference(revision)).ok()?.take(100).read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)], of: impl Fn(Lookup<'_>) -> Option<PathBuf>) -> String {
        let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        of(&lookup).map(|path| path.display().to_string()).unwrap_or_default()
    }

    #[test]
    fn the_cache_is_where_the_official_client_has_it() {
        let home = ("HOME", "/h");
        for (variables, expected) in [
            (vec![home], "/h/.cache/huggingface/hub"),
            (vec![home, ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (vec![home, ("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/x")], "/hf/hub"),
            (vec![home, ("HF_HOME", "~/hf")], "/h/hf/hub"),
            (vec![home, ("HF_HOME", "")], "/h/.cache/huggingface/hub"),
            (vec![home, ("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (vec![home, ("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/c"),
            (
                vec![home, ("HF_HUB_CACHE", "$DISK/${NAME}_$NONE/$"), ("DISK", "/d"), ("NAME", "n")],
                "/d/n_$NONE/$",
            ),
            (vec![], ""),
        ] {
            assert_eq!(with(&variables, hub_cache), expected, "{variables:?}");
        }
    }

    #[test]
    fn our_own_folder() {
        assert_eq!(with(&[("HOME", "/h")], nexis_home), "/h/.local/share/nexis");
        assert_eq!(with(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")], nexis_home), "/d/nexis");
        assert_eq!(with(&[("HOME", "/h"), ("NEXIS_HOME", "~/n")], nexis_home), "/h/n");
    }

    #[test]
    fn commits_and_what_refs_say() {
        let cache = tempfile::tempdir().unwrap();
        let repository = HubRepository::new(cache.path(), "owner/name");
        assert!(repository.folder().ends_with("models--owner--name"));
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(repository.commit(commit).as_deref(), Some(commit));
        assert_eq!(repository.commit("refs/pr/1"), None);
        let reference = repository.reference("refs/pr/1");
        std::fs::create_dir_all(reference.parent().unwrap()).unwrap();
        for (text, expected) in [
            (commit.to_owned(), Some(commit)),
            (format!("{commit}\n"), Some(commit)),
            ("../../x".to_owned(), None),
        ] {
            std::fs::write(&reference, text).unwrap();
            assert_eq!(repository.commit("refs/pr/1").as_deref(), expected);
        }
    }
}
