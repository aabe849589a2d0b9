//! The node's configuration: one TOML file, environment variables of the network's names on top of it, flags on top
//! of both.
//!
//! A key that is not known is an error that names the one that was probably meant, everything that is wrong is
//! reported at once, and every value knows where it came from (`nexis config check`). Secrets are [`Secret`], which
//! nothing prints.

mod layers;
mod read;
mod secret;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use layers::{Layers, Value};
pub use layers::{Origin, Sources};
use nexis_core::check::Policy;
use nexis_core::hash::Digest;
use nexis_core::model::Precision;
use nexis_core::protocol::Hotkey;
pub use secret::Secret;
use secret::{masked_address, masked_endpoint};

/// Everything wrong with a configuration, one line each.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// Which network the node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The main network.
    Finney,
    /// The test network.
    Test,
    /// A simulated one, the only place where a demonstration model may judge.
    Devnet,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Finney => "finney",
            Self::Test => "test",
            Self::Devnet => "devnet",
        })
    }
}

/// How the chain is reached.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Nodes, in order of preference.
    pub endpoints: Vec<String>,
    /// Attempts at each of them until a command that ends gives up.
    pub attempts: u32,
    /// Deadline of one call.
    pub call: Duration,
    /// Longest wait for a new finalised block.
    pub head: Duration,
}

/// Where the hotkey is.
#[derive(Clone, Debug)]
pub struct WalletConfig {
    /// Folder of wallets.
    pub path: PathBuf,
    /// The wallet.
    pub name: String,
    /// The hotkey's name.
    pub hotkey: String,
}

/// An access key and its secret.
#[derive(Clone, Debug)]
pub struct AccessKeys {
    /// The access key.
    pub access_key: Secret,
    /// Its secret.
    pub secret_key: Secret,
}

/// Where buckets are.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// S3 endpoint, in which `{account_id}` stands for the bucket's account.
    pub endpoint: String,
    /// Folder of buckets to use instead of S3.
    pub folder: Option<PathBuf>,
    /// Account of this node's own bucket.
    pub account_id: Option<String>,
    /// This node's own bucket.
    pub bucket: Option<String>,
    /// Read access to it.
    pub read: Option<AccessKeys>,
    /// Write access to it.
    pub write: Option<AccessKeys>,
}

impl StorageConfig {
    /// The endpoint of an account.
    pub fn endpoint_of(&self, account_id: &str) -> String {
        self.endpoint.replace("{account_id}", account_id)
    }
}

/// Where the global index is.
#[derive(Clone, Debug)]
pub struct IndexConfig {
    /// A local file.
    pub file: Option<PathBuf>,
    /// A bucket.
    pub bucket: Option<String>,
    /// The key in it.
    pub key: String,
    /// The bucket's account.
    pub account_id: Option<String>,
    /// Read access to it.
    pub access: Option<AccessKeys>,
}

/// Which model judges, and how.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// An id of the registry, or a folder.
    pub id: String,
    /// Folder of the registry.
    pub dir: Option<PathBuf>,
    /// `auto`, `cpu`, `cuda:N`, several as `cuda:0,cuda:1`, or `cuda:all`.
    pub device: String,
    /// Precision of the forward pass; only the exact one unless the operator allows others.
    pub precision: Precision,
    /// Pictures in one call.
    pub batch: usize,
    /// Threads that judge; 0 is one per core.
    pub threads: usize,
    /// Longest wall time for one clip.
    pub max_wall: Duration,
    /// What must be in use.
    pub pin: ModelPin,
    /// The model that decides together with it, if any.
    pub ensemble: Option<EnsembleConfig>,
    /// The judge behind it, if any.
    pub judge: Option<JudgeConfig>,
}

/// Which second model decides together with the first, on the same device and in the same precision.
#[derive(Clone, Debug)]
pub struct EnsembleConfig {
    /// An id of the registry, or a folder.
    pub id: String,
    /// What must be in use.
    pub pin: ModelPin,
}

/// Which judge decides what the model leaves in doubt.
#[derive(Clone, Debug)]
pub struct JudgeConfig {
    /// An id of the registry, or a folder.
    pub id: String,
    /// Questions of one interval at most.
    pub budget: u32,
    /// What must be in use.
    pub pin: JudgePin,
}

/// The judge that was agreed upon, by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JudgePin {
    /// SHA-256 of each of its files, by name.
    pub files: BTreeMap<String, Digest>,
    /// SHA-256 of its prompt, as evidence names it.
    pub prompt: Option<Digest>,
}

/// The model that was agreed upon, by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPin {
    /// SHA-256 of each of its files, by name.
    pub files: BTreeMap<String, Digest>,
    /// SHA-256 of its card, in canonical form, as evidence names it.
    pub card: Option<Digest>,
}

/// How the validator works.
#[derive(Clone, Debug)]
pub struct ValidatorConfig {
    /// Which checks reject.
    pub policy: Policy,
    /// Hotkeys that are never looked at.
    pub exclude: BTreeSet<Hotkey>,
    /// Closed intervals that are caught up after downtime.
    pub look_back: u64,
    /// Deadline for one miner's manifest and dataset.
    pub fetch: Duration,
    /// Deadline for one miner's sampled clips.
    pub assets: Duration,
    /// Downloads from one miner at once.
    pub per_miner: usize,
    /// Largest `dataset.parquet`, in bytes.
    pub max_dataset_bytes: u64,
    /// Most rows of a dataset.
    pub max_rows: usize,
    /// Largest clip, in bytes.
    pub max_clip_bytes: u64,
    /// Bytes of fetched files that are kept for the next time.
    pub cache_bytes: u64,
    /// Blocks between two submissions of weights.
    pub weights_blocks: u64,
    /// Intervals whose decisions are kept.
    pub keep_intervals: u64,
    /// Whether manifest and kept rows of accepted submissions are kept for the owner.
    pub bundles: bool,
}

/// What the node says of itself.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Whether lines are JSON.
    pub json: bool,
    /// Which messages.
    pub filter: String,
    /// Address for metrics and health, where they are wanted.
    pub metrics: Option<std::net::SocketAddr>,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The network.
    pub network: Network,
    /// The subnet.
    pub netuid: u16,
    /// Folder of the node's own files.
    pub data_dir: PathBuf,
    /// How the chain is reached.
    pub chain: ChainConfig,
    /// Where the hotkey is.
    pub wallet: WalletConfig,
    /// Where buckets are.
    pub storage: StorageConfig,
    /// Where the global index is.
    pub index: IndexConfig,
    /// Which model judges.
    pub model: ModelConfig,
    /// How the validator works.
    pub validator: ValidatorConfig,
    /// What the node says of itself.
    pub log: LogConfig,
}

impl Config {
    /// Reads a configuration from its sources.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let layers = Layers::new(sources);
        let home = (sources.environment)("HOME");
        read::config(layers, home.as_deref())
    }
}

/// One setting as `nexis config check` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Explained {
    /// Its key in the file.
    pub key: String,
    /// Its value, masked where it is a secret; `None` where it is not set.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Option<String>,
    /// Other places that set it and do not count.
    pub hides: Vec<String>,
    /// The variables that set it.
    pub environment: Vec<String>,
    /// What it is.
    pub what: String,
}

/// Every setting with its value and where that came from, in the order of the documentation, and everything that is
/// wrong with them.
pub fn explain(sources: &Sources<'_>) -> (Vec<Explained>, Vec<String>) {
    let layers = Layers::new(sources);
    let mut explained = Vec::new();
    for setting in settings::SETTINGS {
        let below = format!("{}.", setting.key);
        let of_table = setting.kind == settings::Kind::Table;
        let entries: Vec<_> = layers
            .entries
            .iter()
            .filter(|(key, _)| if of_table { key.starts_with(&below) } else { *key == setting.key })
            .collect();
        let line = |key: &str, entry: Option<&layers::Entry>| Explained {
            key: key.to_owned(),
            value: entry.map(|entry| match &entry.value {
                Value::Plain(text) => masked_address(text),
                Value::List(texts) => {
                    texts.iter().map(|text| masked_endpoint(text)).collect::<Vec<_>>().join(", ")
                }
                Value::Secret(secret) => secret.to_string(),
            }),
            origin: entry.map(|entry| entry.origin.to_string()),
            hides: entry.map(|e| e.hides.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            environment: setting.env.iter().map(ToString::to_string).collect(),
            what: setting.what.to_owned(),
        };
        if entries.is_empty() {
            explained.push(line(setting.key, None));
        }
        explained.extend(entries.into_iter().map(|(key, entry)| line(key, Some(entry))));
    }
    let problems = match Config::load(sources) {
        Ok(_) => Vec::new(),
        Err(ConfigError(problems)) => problems,
    };
    (explained, problems)
}
