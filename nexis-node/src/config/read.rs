//! From values as they were written to a [`Config`], or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use nexis_core::hash::Digest;
use nexis_core::model::Precision;
use nexis_core::protocol::Hotkey;

use super::layers::{Layers, Value};
use super::secret::{Secret, masked_endpoint};
use super::{
    AccessKeys, ChainConfig, Config, ConfigError, EnsembleConfig, IndexConfig, JudgeConfig, JudgePin,
    LogConfig, ModelConfig, ModelPin, Network, StorageConfig, ValidatorConfig, WalletConfig,
};
use crate::chain::check_endpoint;
use crate::observe::check_filter;
use crate::parts::SIMULATED;

/// Everything at once, so that an operator mends a file in one round.
pub(super) fn config(layers: Layers, home: Option<&str>) -> Result<Config, ConfigError> {
    let Layers { entries, problems } = layers;
    let mut r = Reader { entries, problems, home: home.map(str::to_owned) };
    let network = r.network();
    let config = Config {
        network,
        netuid: r.number("netuid", 0..=u16::MAX),
        data_dir: r.path("data_dir").unwrap_or_default(),
        chain: ChainConfig {
            endpoints: r.endpoints(network),
            attempts: r.number("chain.attempts", 1..=1000),
            call: r.seconds("chain.call_seconds", 1..=600),
            head: r.seconds("chain.head_seconds", 12..=3600),
        },
        wallet: WalletConfig {
            path: r.path("wallet.path").unwrap_or_default(),
            name: r.file_name("wallet.name"),
            hotkey: r.file_name("wallet.hotkey"),
        },
        storage: StorageConfig {
            endpoint: r.url("storage.endpoint"),
            folder: r.path("storage.folder"),
            account_id: r.text("storage.account_id"),
            bucket: r.text("storage.bucket"),
            read: r.keys("storage.read_access_key", "storage.read_secret_key"),
            write: r.keys("storage.write_access_key", "storage.write_secret_key"),
        },
        index: IndexConfig {
            file: r.path("index.file"),
            bucket: r.text("index.bucket"),
            key: r.text("index.key").unwrap_or_default(),
            account_id: r.text("index.account_id"),
            access: r.keys("index.access_key", "index.secret_key"),
        },
        model: ModelConfig {
            id: r.text("model.id").unwrap_or_default(),
            dir: r.path("model.dir"),
            device: r.text("model.device").unwrap_or_default(),
            precision: r.precision(),
            batch: r.number("model.batch", 1..=4096),
            threads: r.number("model.threads", 0..=1024),
            max_wall: r.seconds("model.clip_seconds", 1..=3600),
            pin: ModelPin {
                files: r.digests("model.digests."),
                card: r.parsed("model.card", "64 hexadecimal digits"),
            },
            ensemble: r.ensemble(),
            judge: r.judge(),
        },
        validator: ValidatorConfig {
            policy: r.parsed("validator.policy", "network or strict").unwrap_or_default(),
            exclude: r.list("validator.exclude").into_iter().map(Hotkey::new).collect(),
            look_back: r.number("validator.look_back", 1..=10_000),
            fetch: r.seconds("validator.fetch_seconds", 1..=3600),
            assets: r.seconds("validator.asset_seconds", 1..=3600),
            per_miner: r.number("validator.per_miner", 1..=64),
            max_dataset_bytes: r.number::<u64>("validator.dataset_mib", 1..=1024) << 20,
            max_rows: r.number("validator.max_rows", 1..=100_000),
            max_clip_bytes: r.number::<u64>("validator.clip_mib", 1..=1024) << 20,
            cache_bytes: r.number::<u64>("validator.cache_mib", 0..=1 << 20) << 20,
            weights_blocks: r.number("validator.weights_blocks", 1..=100_000),
            keep_intervals: r.number("validator.keep_intervals", 1..=10_000_000),
            bundles: r.parsed("validator.bundles", "true or false").unwrap_or_default(),
        },
        log: LogConfig {
            json: r.one_of("log.format", &["text", "json"]) == Some(1),
            filter: r.log_filter(),
            metrics: r.parsed("metrics.listen", "an address and a port, as in 127.0.0.1:9101"),
        },
    };
    r.check_together(&config);
    if r.problems.is_empty() { Ok(config) } else { Err(ConfigError(r.problems)) }
}

struct Reader {
    entries: BTreeMap<String, super::layers::Entry>,
    problems: Vec<String>,
    home: Option<String>,
}

impl Reader {
    /// A value's text; an empty one is as good as none.
    fn text(&self, key: &str) -> Option<String> {
        match &self.entries.get(key)?.value {
            Value::Plain(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.entries.get(key).map(|entry| &entry.value) {
            Some(Value::List(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn secret(&self, key: &str) -> Option<Secret> {
        match &self.entries.get(key)?.value {
            Value::Secret(secret) if !secret.expose().is_empty() => Some(secret.clone()),
            _ => None,
        }
    }

    fn wrong(&mut self, key: &str, why: impl Display) {
        let origin = self.entries.get(key).map(|entry| format!("{}: ", entry.origin)).unwrap_or_default();
        self.problems.push(format!("{origin}{key}: {why}"));
    }

    fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let text = self.text(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(key, format!("{text:?} is not {expected}"));
        }
        parsed
    }

    /// A whole number within bounds; the lower bound stands in for one that is not, which is reported.
    fn number<T>(&mut self, key: &str, bounds: RangeInclusive<T>) -> T
    where
        T: FromStr + Display + PartialOrd + Copy,
    {
        let (low, high) = (*bounds.start(), *bounds.end());
        let expected = format!("a whole number from {low} to {high}");
        match self.text(key).map(|text| (text.parse::<T>().ok(), text)) {
            Some((Some(number), _)) if bounds.contains(&number) => number,
            Some((_, text)) => {
                self.wrong(key, format!("{text:?} is not {expected}"));
                low
            }
            None => {
                self.wrong(key, format!("{expected} is needed"));
                low
            }
        }
    }

    fn seconds(&mut self, key: &str, bounds: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(key, bounds))
    }

    /// A path, in which a leading `~` is the home folder.
    fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match &self.home {
                Some(home) => Some(PathBuf::from(format!("{home}{rest}"))),
                None => {
                    self.wrong(key, "~ stands for the home folder, and HOME is not set; give the whole path");
                    None
                }
            },
            _ => Some(PathBuf::from(text)),
        }
    }

    /// A name that becomes one part of a path.
    fn file_name(&mut self, key: &str) -> String {
        let text = self.text(key).unwrap_or_default();
        if text.is_empty() || text.contains(['/', '\\', '\0']) || text == "." || text == ".." {
            self.wrong(key, format!("{text:?} is not a name (one part of a path)"));
        }
        text
    }

    fn one_of(&mut self, key: &str, choices: &[&str]) -> Option<usize> {
        let text = self.text(key).unwrap_or_default();
        let found = choices.iter().position(|choice| *choice == text);
        if found.is_none() {
            self.wrong(key, format!("{text:?} is none of {}", choices.join(", ")));
        }
        found
    }

    fn log_filter(&mut self) -> String {
        let filter = self.text("log.filter").unwrap_or_default();
        if let Err(error) = check_filter(&filter) {
            self.wrong("log.filter", error);
        }
        filter
    }

    fn network(&mut self) -> Network {
        match self.one_of("network", &["finney", "test", "devnet"]) {
            Some(1) => Network::Test,
            Some(2) => Network::Devnet,
            _ => Network::Finney,
        }
    }

    fn url(&mut self, key: &str) -> String {
        let text = self.text(key).unwrap_or_default();
        let parsed = url::Url::parse(&text.replace("{account_id}", "account"));
        match parsed {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => {
                self.wrong(key, "an http or https address is expected");
            }
            // The address is not repeated: this is where a password would stand.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.wrong(key, "keys do not belong into the address");
            }
            Ok(_) => {}
            Err(e) => self.wrong(key, e),
        }
        text
    }

    fn endpoints(&mut self, network: Network) -> Vec<String> {
        let key = "chain.endpoints";
        let endpoints = self.list(key);
        match endpoints.first() {
            None => self.wrong(key, "at least one node is needed"),
            Some(first) if first.starts_with(SIMULATED) => {
                if network != Network::Devnet {
                    self.wrong(key, format!("{SIMULATED} is a simulated chain, which only the devnet has"));
                }
            }
            Some(_) => {
                for endpoint in &endpoints {
                    if let Err(why) = check_endpoint(endpoint) {
                        self.wrong(key, format!("{}: {why}", masked_endpoint(endpoint)));
                    }
                }
            }
        }
        endpoints
    }

    /// An access key and its secret: both or none.
    fn keys(&mut self, access: &str, secret: &str) -> Option<AccessKeys> {
        match (self.secret(access), self.secret(secret)) {
            (Some(access_key), Some(secret_key)) => Some(AccessKeys { access_key, secret_key }),
            (None, None) => None,
            (Some(_), None) => {
                self.wrong(secret, format!("is needed beside {access}"));
                None
            }
            (None, Some(_)) => {
                self.wrong(access, format!("is needed beside {secret}"));
                None
            }
        }
    }

    /// Digests by file name, from the keys that begin so.
    fn digests(&mut self, prefix: &str) -> BTreeMap<String, Digest> {
        let keys: Vec<String> = self.entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        let mut digests = BTreeMap::new();
        for key in keys {
            if let (Some(digest), Some(file)) =
                (self.parsed(&key, "64 hexadecimal digits"), key.strip_prefix(prefix))
            {
                digests.insert(file.to_owned(), digest);
            }
        }
        digests
    }

    /// A second model. Its precision is the first's, and so is what may be said against it.
    fn ensemble(&mut self) -> Option<EnsembleConfig> {
        let files = self.digests("model.ensemble_digests.");
        let card = self.parsed("model.ensemble_card", "64 hexadecimal digits");
        let pin = ModelPin { files, card };
        let id = self.text("model.ensemble");
        if id.is_none() && pin != ModelPin::default() {
            self.wrong("model.ensemble", "a second model is pinned, and none is named");
        }
        Some(EnsembleConfig { id: id?, pin })
    }

    /// A judge, only where the operator allows what it computes: its answers have no written order of operations.
    fn judge(&mut self) -> Option<JudgeConfig> {
        let budget = self.number("model.judge_budget", 0..=1_000_000);
        let files = self.digests("model.judge_digests.");
        let prompt = self.parsed("model.judge_prompt", "64 hexadecimal digits");
        let Some(id) = self.text("model.judge") else {
            if !files.is_empty() || prompt.is_some() {
                self.wrong("model.judge", "a judge is pinned, and none is named");
            }
            return None;
        };
        if !self.parsed("model.allow_inexact", "true or false").unwrap_or(false) {
            let why = "a judge runs in f32, whose last places differ between processors, so that other validators may \
                       decide otherwise where it is near to a half; leave it out, or set model.allow_inexact = true";
            self.wrong("model.judge", why);
        }
        Some(JudgeConfig { id, budget, pin: JudgePin { files, prompt } })
    }

    /// Another precision than the exact one only where the operator says so.
    fn precision(&mut self) -> Precision {
        let precision =
            self.parsed("model.precision", "exact, fast or f32, or bf16 or f16 on a GPU").unwrap_or_default();
        let allowed = self.parsed("model.allow_inexact", "true or false").unwrap_or(false);
        if precision != Precision::Exact && !allowed {
            let why = format!(
                "{precision} gives scores that other validators do not get; use exact, or set model.allow_inexact = true"
            );
            self.wrong("model.precision", why);
        }
        precision
    }

    /// What only makes sense together.
    fn check_together(&mut self, config: &Config) {
        if config.index.file.is_some() && config.index.bucket.is_some() {
            self.wrong("index.file", "give a file or a bucket, not both");
        }
        let keyed = config.index.access.is_some() && config.index.account_id.is_some();
        if config.index.bucket.is_some() && config.storage.folder.is_none() && !keyed {
            self.wrong(
                "index.bucket",
                "index.account_id, index.access_key and index.secret_key are needed to read it",
            );
        }
    }
}
