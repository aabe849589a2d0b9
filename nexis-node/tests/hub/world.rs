//! A hub with one small model, a cache, and the user's own folder.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use nexis_core::model::registry::{HubRepository, LOCK, ModelEntry, ModelLock, ModelPlaces, parse};
use nexis_node::hub::{self, FetchObserver, Fetched, HubError, HubSettings};

use crate::server::{FakeHub, Repo};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_TheTokenThatNobodyMaySee";
pub(crate) const REPOSITORY: &str = "maker/small";
/// Size of the large file.
pub(crate) const LARGE: usize = 300_000;

pub(crate) const REGISTRY: &str = r#"
[[model]]
id = "maker/small"
kind = "clip"
licence = "MIT"
note = "A small model for tests."
[model.hub]
repository = "maker/small"
revision = "main"
files = [
    { name = "config.json" },
    { name = "model.safetensors", at_most = 300000 },
    { name = "sub/tokenizer.json" },
]
"#;

/// Bytes that look like nothing in particular, the same on every run.
pub(crate) fn noise(seed: u8, length: usize) -> Bytes {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(&mut next).take(length).collect::<Vec<u8>>().into()
}

pub(crate) fn repo(commit: &str, seed: u8) -> Repo {
    let files = [
        ("config.json", (Bytes::from(format!("{{\"seed\": {seed}}}\n")), false)),
        ("model.safetensors", (noise(seed, LARGE), true)),
        ("sub/tokenizer.json", (noise(seed.wrapping_add(1), 5000), false)),
    ];
    let files = files.map(|(name, file)| (name.to_owned(), file)).into();
    Repo { commit: commit.to_owned(), files, token: None }
}

pub(crate) struct World {
    pub(crate) hub: FakeHub,
    pub(crate) settings: HubSettings,
    pub(crate) places: ModelPlaces,
    pub(crate) entry: ModelEntry,
    pub(crate) notes: Notes,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(REGISTRY).await
    }

    pub(crate) async fn with(registry: &str) -> Self {
        let hub = FakeHub::start().await;
        hub.put(REPOSITORY, "main", repo(COMMIT, 1));
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        std::fs::create_dir(of("root")).unwrap();
        std::fs::write(of("root/registry.toml"), registry).unwrap();
        let places = ModelPlaces { roots: vec![of("root")], home: Some(of("home")), hub: Some(of("hf/hub")) };
        let entry = parse(Path::new("registry.toml"), registry).unwrap().remove(0);
        let settings = settings(&hub.endpoint(), Some(TOKEN));
        Self { hub, settings, places, entry, notes: Notes::default(), folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn fetch(&self) -> Result<Fetched, HubError> {
        hub::fetch(&self.entry, &self.places, &self.settings, &self.notes).await
    }

    pub(crate) fn repository(&self) -> HubRepository {
        HubRepository::new(self.places.hub.as_ref().unwrap(), REPOSITORY)
    }

    pub(crate) fn lock(&self) -> ModelLock {
        ModelLock::read(&self.places.home.as_ref().unwrap().join(LOCK)).unwrap()
    }

    /// The content that keeps what has come of the large file.
    pub(crate) fn incomplete(&self) -> PathBuf {
        let digest = crate::server::sha256(&noise(1, LARGE));
        self.repository().blobs().join(format!("{digest}.incomplete"))
    }

    /// Everything that is below the folder, as paths.
    pub(crate) fn files(&self) -> Vec<String> {
        tree(self.path())
    }
}

/// Every file and link below a folder, relative to it, sorted.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                walk(root, &entry.path(), found);
            } else {
                found.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

pub(crate) fn settings(endpoint: &str, token: Option<&str>) -> HubSettings {
    let mut settings = HubSettings::from_environment(&|name| match name {
        "HF_ENDPOINT" => Some(endpoint.to_owned()),
        "HF_TOKEN" => token.map(str::to_owned),
        _ => None,
    })
    .unwrap();
    settings.backoff = Duration::from_millis(1);
    settings
}

/// What a fetch says.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) planned: Mutex<u64>,
    pub(crate) arrived: Mutex<u64>,
}

impl FetchObserver for Notes {
    fn planned(&self, bytes: u64) {
        *self.planned.lock().unwrap() = bytes;
    }

    fn arrived(&self, bytes: u64) {
        *self.arrived.lock().unwrap() = bytes;
    }

    fn note(&self, text: &str) {
        self.lines.lock().unwrap().push(text.to_owned());
    }
}
