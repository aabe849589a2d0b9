//! A node's parts from its configuration: chain, buckets, hotkey.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nexis_core::commitment::Credentials;
use nexis_core::protocol::Hotkey;

use crate::chain::sim::{SimulatedChain, SubnetConfig};
use crate::chain::{Chain, ChainError, ClientOptions, HotkeyPair, SubtensorChain};
use crate::config::{AccessKeys, Config, Network, StorageConfig};
use crate::store::local::LocalStore;
use crate::store::s3::{self, S3Connector, S3Settings};
use crate::store::{ObjectStore, Result as StoreResult, StoreError, StoreErrorKind};
use crate::validator::{IndexFile, IndexObject, IndexSource, MinerBuckets, NoIndex};

/// What stands in front of the file of a simulated chain.
pub(crate) const SIMULATED: &str = "sim:";

/// How long a chain is tried for that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until the chain counts as standing still: of a node that follows it.
    Following,
    /// As often as `chain.attempts` says: of a command that ends.
    Bounded,
}

/// The chain. On the devnet, `sim:FILE` is the simulated chain of that file, which nobody advances here.
///
/// # Errors
/// Where an endpoint is no address. Nothing is asked of it yet. Must be called within a tokio runtime.
pub fn chain(config: &Config, patience: Patience) -> Result<Arc<dyn Chain>, ChainError> {
    if let Some(file) = config.chain.endpoints.first().and_then(|endpoint| endpoint.strip_prefix(SIMULATED)) {
        if config.network != Network::Devnet {
            return Err(ChainError::Unsupported {
                what: "endpoint".into(),
                why: format!("{SIMULATED} is a simulated chain, which only the devnet has"),
            });
        }
        let subnet = SubnetConfig { netuid: config.netuid, ..SubnetConfig::default() };
        return Ok(Arc::new(SimulatedChain::open(Path::new(file), subnet)?));
    }
    let defaults = ClientOptions::default();
    let options = ClientOptions {
        attempts: (patience == Patience::Bounded).then_some(config.chain.attempts),
        call_deadline: config.chain.call,
        silence: config.chain.head,
        give_up: defaults.give_up.max(config.chain.head * 3),
        ..defaults
    };
    Ok(Arc::new(SubtensorChain::connect(&config.chain.endpoints, options)?))
}

/// Where the validator's state is.
pub fn state_path(config: &Config) -> PathBuf {
    config.data_dir.join("state.redb")
}

/// Miners' buckets and the global index.
pub struct Stores {
    /// Miners' buckets.
    pub buckets: Arc<dyn MinerBuckets>,
    /// The global index.
    pub index: Arc<dyn IndexSource>,
}

/// The stores. Must be called within a tokio runtime.
///
/// # Errors
/// Where the index's bucket is not well formed.
pub fn stores(config: &Config) -> StoreResult<Stores> {
    let storage = &config.storage;
    let connector = S3Connector::new(S3Settings::default());
    let index: Arc<dyn IndexSource> = match (&config.index.file, &config.index.bucket) {
        (Some(file), _) => Arc::new(IndexFile(file.clone())),
        (None, Some(bucket)) => {
            let account = config.index.account_id.as_deref().unwrap_or_default();
            let store = open_bucket(&connector, storage, account, bucket, config.index.access.as_ref())?;
            Arc::new(IndexObject { store, key: config.index.key.clone() })
        }
        (None, None) => Arc::new(NoIndex),
    };
    let buckets: Arc<dyn MinerBuckets> = match &storage.folder {
        Some(folder) => Arc::new(FolderBuckets(folder.clone())),
        None => Arc::new(S3Buckets { connector, storage: storage.clone() }),
    };
    Ok(Stores { buckets, index })
}

/// A bucket of the operator's own account: in the folder of buckets, or with S3.
///
/// # Errors
/// [`StoreErrorKind::Invalid`] where keys are missing, or endpoint or name are not well formed.
pub fn open_bucket(
    connector: &S3Connector,
    storage: &StorageConfig,
    account_id: &str,
    bucket: &str,
    keys: Option<&AccessKeys>,
) -> StoreResult<Arc<dyn ObjectStore>> {
    if let Some(folder) = &storage.folder {
        return Ok(Arc::new(LocalStore::new(folder.join(bucket))));
    }
    let keys = keys.ok_or_else(|| StoreError {
        kind: StoreErrorKind::Invalid,
        store: bucket.to_owned(),
        what: "no access keys are configured for it".into(),
    })?;
    let keys = s3::AccessKeys::new(keys.access_key.expose(), keys.secret_key.expose());
    Ok(Arc::new(connector.bucket(&storage.endpoint_of(account_id), bucket, &keys)?))
}

/// Miners' buckets as folders, named after the hotkey in lower case.
#[derive(Clone, Debug)]
pub struct FolderBuckets(pub PathBuf);

impl MinerBuckets for FolderBuckets {
    fn open(&self, miner: &Hotkey, _credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
        Ok(Arc::new(LocalStore::new(self.0.join(miner.bucket_name()))))
    }
}

/// Miners' buckets in an S3 store, opened with what they have committed.
pub struct S3Buckets {
    /// Opens them.
    pub connector: S3Connector,
    /// Where they are.
    pub storage: StorageConfig,
}

impl MinerBuckets for S3Buckets {
    fn open(&self, miner: &Hotkey, credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
        let endpoint = self.storage.endpoint_of(credentials.account_id());
        Ok(Arc::new(self.connector.miner(miner, credentials, Some(&endpoint))?))
    }
}

/// The hotkey that the configuration names, and what is to be said about its file though it can be used. The coldkey is
/// not touched.
///
/// # Errors
/// Where the wallet cannot be used, in words without a secret.
pub fn signer(config: &Config) -> Result<(HotkeyPair, Vec<String>), ChainError> {
    let wallet = &config.wallet;
    HotkeyPair::from_wallet(&wallet.path, &wallet.name, &wallet.hotkey)
}
