//! Every setting there is: its key in the file, the variables that set it, its default, and what it means.

/// How a setting's value is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value, shown as it is.
    Plain,
    /// Several texts; in a variable or flag, separated by commas.
    List,
    /// One value that is never shown.
    Secret,
    /// Any key below this one has a value: `model.digests.FILE`.
    Table,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Key in the file, with dots.
    pub(super) key: &'static str,
    /// Environment variables, the first one that is set counts.
    pub(super) env: &'static [&'static str],
    /// How its value is treated.
    pub(super) kind: Kind,
    /// The default, in the spelling of a variable; `None` where there is none.
    pub(super) default: Option<&'static str>,
    /// What it is, for people.
    pub(super) what: &'static str,
}

const fn plain(
    key: &'static str,
    env: &'static [&'static str],
    default: Option<&'static str>,
    what: &'static str,
) -> Setting {
    Setting { key, env, kind: Kind::Plain, default, what }
}

const fn secret(key: &'static str, env: &'static [&'static str], what: &'static str) -> Setting {
    Setting { key, env, kind: Kind::Secret, default: None, what }
}

/// All settings, in the order in which they are explained.
pub(super) const SETTINGS: &[Setting] = &[
    plain(
        "network",
        &["NEXIS_NETWORK"],
        Some("finney"),
        "finney, test or devnet; a demonstration model judges on devnet only",
    ),
    plain("netuid", &["NEXIS_NETUID"], Some("70"), "the subnet"),
    plain(
        "data_dir",
        &["NEXIS_DATA_DIR"],
        Some("nexis-data"),
        "folder of the node's state, cache, evidence and bundles",
    ),
    Setting {
        key: "chain.endpoints",
        env: &["NEXIS_CHAIN_ENDPOINTS", "BT_CHAIN_ENDPOINT"],
        kind: Kind::List,
        default: Some("wss://entrypoint-finney.opentensor.ai:443"),
        what: "nodes to ask, in order of preference",
    },
    plain(
        "chain.attempts",
        &["NEXIS_CHAIN_ATTEMPTS"],
        Some("5"),
        "attempts to connect to each node, within two minutes, until a command that ends exits with 2; validator run goes on for ten",
    ),
    plain("chain.call_seconds", &["NEXIS_CHAIN_CALL_SECONDS"], Some("30"), "deadline of one call"),
    plain(
        "chain.head_seconds",
        &["NEXIS_CHAIN_HEAD_SECONDS"],
        Some("120"),
        "longest wait for a new finalised block before reconnecting",
    ),
    plain("wallet.path", &["BT_WALLET_PATH"], Some("~/.bittensor/wallets"), "folder of wallets"),
    plain("wallet.name", &["BT_WALLET_NAME"], Some("default"), "the wallet; its coldkey is never opened"),
    plain("wallet.hotkey", &["BT_WALLET_HOTKEY"], Some("default"), "name of the hotkey in the wallet"),
    plain(
        "storage.endpoint",
        &["R2_ENDPOINT"],
        Some("https://{account_id}.r2.cloudflarestorage.com"),
        "S3 endpoint; {account_id} becomes the bucket's account",
    ),
    plain("storage.folder", &["NEXIS_STORAGE_FOLDER"], None, "folder of buckets to use instead of S3"),
    plain("storage.account_id", &["R2_ACCOUNT_ID"], None, "account of this node's own bucket"),
    plain(
        "storage.bucket",
        &["R2_BUCKET_NAME", "R2_BUCKET"],
        None,
        "this node's own bucket; a miner's is named after its hotkey",
    ),
    secret("storage.read_access_key", &["R2_READ_ACCESS_KEY_ID"], "read access to this node's own bucket"),
    secret("storage.read_secret_key", &["R2_READ_SECRET_ACCESS_KEY"], "its secret"),
    secret("storage.write_access_key", &["R2_WRITE_ACCESS_KEY_ID"], "write access to this node's own bucket"),
    secret("storage.write_secret_key", &["R2_WRITE_SECRET_ACCESS_KEY"], "its secret"),
    plain("index.file", &["NEXIS_RECORD_INFO"], None, "the global index as a local file"),
    plain(
        "index.bucket",
        &["NEXIS_RECORD_INFO_BUCKET"],
        None,
        "the bucket of the global index; no index where neither file nor bucket is given",
    ),
    plain(
        "index.key",
        &["NEXIS_RECORD_INFO_KEY"],
        Some("record_info.json"),
        "the index's key in that bucket",
    ),
    plain("index.account_id", &["NEXIS_RECORD_INFO_ACCOUNT_ID"], None, "account of that bucket"),
    secret("index.access_key", &["NEXIS_RECORD_INFO_ACCESS_KEY_ID"], "read access to that bucket"),
    secret("index.secret_key", &["NEXIS_RECORD_INFO_SECRET_ACCESS_KEY"], "its secret"),
    plain(
        "model.id",
        &["NEXIS_MODEL"],
        Some("demo"),
        "the judging model: an id of the registry, or a folder",
    ),
    plain("model.dir", &["NEXIS_MODELS"], None, "folder of registry.toml and the models"),
    plain(
        "model.device",
        &["NEXIS_DEVICE"],
        Some("auto"),
        "auto, cpu or cuda:N; several as cuda:0,cuda:1 or cuda:all",
    ),
    plain(
        "model.precision",
        &["NEXIS_PRECISION"],
        Some("exact"),
        "exact (the same bits on every processor), fast (bfloat16) or f32",
    ),
    plain(
        "model.allow_inexact",
        &["NEXIS_ALLOW_INEXACT"],
        Some("false"),
        "judge with another precision than exact, whose scores other validators do not get",
    ),
    plain("model.batch", &["NEXIS_BATCH"], Some("16"), "pictures in one call of the model"),
    plain("model.threads", &["NEXIS_THREADS"], Some("0"), "threads that judge; 0 is one per core"),
    plain("model.clip_seconds", &["NEXIS_CLIP_SECONDS"], Some("20"), "longest wall time for one clip"),
    plain(
        "model.card",
        &["NEXIS_MODEL_CARD"],
        None,
        "SHA-256 of the model card that must be in use, as evidence names it",
    ),
    Setting {
        key: "model.digests",
        env: &[],
        kind: Kind::Table,
        default: None,
        what: "SHA-256 of each of the model's files, by name",
    },
    plain(
        "model.ensemble",
        &["NEXIS_ENSEMBLE"],
        None,
        "a second model, trained on other data, that decides together with the first: an id of the registry, or a folder",
    ),
    plain(
        "model.ensemble_card",
        &["NEXIS_ENSEMBLE_CARD"],
        None,
        "SHA-256 of the second model's card that must be in use, as evidence names it",
    ),
    Setting {
        key: "model.ensemble_digests",
        env: &[],
        kind: Kind::Table,
        default: None,
        what: "SHA-256 of each of the second model's files, by name",
    },
    plain(
        "model.judge",
        &["NEXIS_JUDGE"],
        None,
        "the judge that decides what the model leaves in doubt: an id of the registry, or a folder; needs model.allow_inexact",
    ),
    plain(
        "model.judge_budget",
        &["NEXIS_JUDGE_BUDGET"],
        Some("35"),
        "questions that the judge is asked per interval at most; the same for all validators that are to agree",
    ),
    plain(
        "model.judge_prompt",
        &["NEXIS_JUDGE_PROMPT"],
        None,
        "SHA-256 of the judge's prompt that must be in use, as evidence names it",
    ),
    Setting {
        key: "model.judge_digests",
        env: &[],
        kind: Kind::Table,
        default: None,
        what: "SHA-256 of each of the judge's files, by name",
    },
    plain(
        "validator.policy",
        &["NEXIS_POLICY"],
        Some("network"),
        "network (exactly the network's checks) or strict",
    ),
    Setting {
        key: "validator.exclude",
        env: &["NEXIS_EXCLUDE"],
        kind: Kind::List,
        default: None,
        what: "hotkeys that are never looked at",
    },
    plain(
        "validator.look_back",
        &["NEXIS_LOOK_BACK"],
        Some("9"),
        "closed intervals that are caught up after downtime; older ones are skipped",
    ),
    plain(
        "validator.fetch_seconds",
        &["NEXIS_FETCH_SECONDS"],
        Some("60"),
        "deadline for one miner's manifest and dataset",
    ),
    plain(
        "validator.asset_seconds",
        &["NEXIS_ASSET_SECONDS"],
        Some("180"),
        "deadline for one miner's sampled clips",
    ),
    plain("validator.per_miner", &["NEXIS_PER_MINER"], Some("4"), "downloads from one miner at once"),
    plain("validator.dataset_mib", &["NEXIS_DATASET_MIB"], Some("16"), "largest dataset.parquet, in MiB"),
    plain("validator.max_rows", &["NEXIS_MAX_ROWS"], Some("10000"), "most rows of a dataset"),
    plain("validator.clip_mib", &["NEXIS_CLIP_MIB"], Some("64"), "largest clip, in MiB"),
    plain(
        "validator.cache_mib",
        &["NEXIS_CACHE_MIB"],
        Some("4096"),
        "what was fetched is kept up to this size, in MiB",
    ),
    plain(
        "validator.weights_blocks",
        &["NEXIS_WEIGHTS_BLOCKS"],
        Some("300"),
        "blocks between two submissions of weights",
    ),
    plain(
        "validator.keep_intervals",
        &["NEXIS_KEEP_INTERVALS"],
        Some("2016"),
        "intervals whose decisions, evidence and bundles are kept",
    ),
    plain(
        "validator.bundles",
        &["NEXIS_BUNDLES"],
        Some("false"),
        "keep manifest and kept rows of accepted submissions, for the owner to publish",
    ),
    plain("log.format", &["NEXIS_LOG_FORMAT"], Some("text"), "text or json"),
    plain(
        "log.filter",
        &["NEXIS_LOG", "RUST_LOG"],
        Some("info"),
        "which messages, as in info or nexis_node=debug",
    ),
    plain(
        "metrics.listen",
        &["NEXIS_METRICS_LISTEN"],
        None,
        "address for /metrics, /healthz and /readyz; none without",
    ),
];

/// The setting of a key, and for a table the setting that it is below.
pub(super) fn setting_of(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| match s.kind {
        Kind::Table => key.strip_prefix(s.key).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.')),
        _ => s.key == key,
    })
}

/// The known key that was probably meant.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let last = |k: &str| k.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |s: &&Setting| {
        let whole = strsim::jaro_winkler(key, s.key);
        // A right name in the wrong section is the other common slip.
        if last(key) == last(s.key) { whole.max(0.95) } else { whole }
    };
    SETTINGS
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|s| likeness(s) > 0.75)
        .map(|s| s.key)
}
