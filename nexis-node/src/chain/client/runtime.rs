//! What a runtime's metadata says: keys of storage, shapes of values. The metadata comes from the node, since the
//! runtime changes every few weeks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parity_scale_codec::{Decode, Encode};
use scale_value::Value;
use subxt::config::SubstrateConfig;
use subxt::config::substrate::SpecVersionForRange;
use subxt::events::Events;
use subxt::ext::frame_decode::runtime_apis::{RuntimeApiTypeInfo, encode_runtime_api_inputs};
use subxt::ext::frame_decode::storage::{StorageInfo, StorageTypeInfo, encode_storage_key_with_info};
use subxt::ext::scale_decode::DecodeAsType;
use subxt::utils::{AccountId32, H256};
use subxt::{ArcMetadata, Metadata, OfflineClient, OfflineClientAtBlock};
use tokio::sync::Mutex;

use super::link::{Link, Version};
use crate::chain::{ChainError, Result};

/// Versions of metadata that are read, best first.
const METADATA_VERSIONS: [u32; 3] = [16, 15, 14];
/// Runtimes that are kept, the newest.
const KEPT_RUNTIMES: usize = 4;
/// Bytes of an account's id.
const ACCOUNT_BYTES: usize = 32;

/// One version of the chain's runtime, known by its metadata.
#[derive(Clone)]
pub struct Runtime {
    version: Version,
    client: OfflineClientAtBlock<SubstrateConfig>,
}

impl Runtime {
    /// A runtime of SCALE-encoded metadata (versions 14 to 16), its versions and the hash of its chain's first block.
    ///
    /// # Errors
    /// [`ChainError::Unsupported`] where the bytes are no metadata that we read.
    pub fn new(metadata: &[u8], spec: u32, transaction: u32, genesis: [u8; 32]) -> Result<Self> {
        let metadata = Metadata::decode_from(metadata)
            .map_err(|error| unsupported("metadata", format!("it cannot be read: {error}")))?;
        let config = SubstrateConfig::builder()
            .set_genesis_hash(H256(genesis))
            .set_metadata_for_spec_versions([(spec, metadata.arc())])
            .set_spec_version_for_block_ranges([SpecVersionForRange {
                block_range: 0..u64::MAX,
                spec_version: spec,
                transaction_version: transaction,
            }])
            .build();
        let client = OfflineClient::new_with_config(config)
            .at_block(0u64)
            .map_err(|error| unsupported("metadata", error.to_string()))?;
        Ok(Self { version: Version { spec, transaction }, client })
    }

    /// The specification's version.
    pub fn spec_version(&self) -> u32 {
        self.version.spec
    }

    /// Seconds from block to block, where the runtime makes them by slots of time.
    pub(super) fn block_seconds(&self) -> Option<f64> {
        let slot = self.metadata().pallet_by_name("Aura")?.constant_by_name("SlotDuration")?;
        let milliseconds = u64::decode(&mut slot.value()).ok().filter(|slot| *slot > 0)?;
        Some(Duration::from_millis(milliseconds).as_secs_f64())
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn client(&self) -> &OfflineClientAtBlock<SubstrateConfig> {
        &self.client
    }

    pub(super) fn metadata(&self) -> &Metadata {
        self.client.metadata_ref()
    }

    pub(super) fn shared_metadata(&self) -> ArcMetadata {
        self.client.metadata()
    }

    /// A block's events from the bytes in its storage.
    pub(super) fn events(&self, bytes: Vec<u8>) -> Events<SubstrateConfig> {
        self.client.events().from_bytes(bytes)
    }

    /// An entry of storage; `None` where this runtime has no such entry.
    pub(super) fn entry<'a>(&'a self, pallet: &'static str, name: &'static str) -> Option<Entry<'a>> {
        let info = self.metadata().storage_info(pallet, name).ok()?;
        Some(Entry { runtime: self, pallet, name, info })
    }

    /// An entry of storage that must be there.
    pub(super) fn need(&self, pallet: &'static str, name: &'static str) -> Result<Entry<'_>> {
        self.entry(pallet, name).ok_or_else(|| {
            unsupported(
                format!("storage {pallet}.{name}"),
                format!("runtime {} has no such entry", self.version.spec),
            )
        })
    }

    /// Whether a runtime API has a method.
    pub(super) fn has_api(&self, api: &str, method: &str) -> bool {
        self.metadata().runtime_api_info(api, method).is_ok()
    }

    /// The arguments of a runtime API's method.
    pub(super) fn api_arguments(&self, api: &str, method: &str, arguments: Vec<Value>) -> Result<Vec<u8>> {
        let metadata = self.metadata();
        encode_runtime_api_inputs(api, method, arguments, metadata, metadata.types())
            .map_err(|error| unsupported(format!("{api}.{method}"), error.to_string()))
    }

    /// The answer of a runtime API's method.
    pub(super) fn api_answer<T: DecodeAsType>(&self, api: &str, method: &str, bytes: &[u8]) -> Result<T> {
        let what = || format!("{api}.{method}");
        let info = self.metadata().runtime_api_info(api, method);
        let info = info.map_err(|error| unsupported(what(), error.to_string()))?;
        self.value(info.output_id, bytes).map_err(|why| unsupported(what(), why))
    }

    fn value<T: DecodeAsType>(&self, kind: u32, bytes: &[u8]) -> Result<T, String> {
        let mut rest = bytes;
        let value =
            T::decode_as_type(&mut rest, kind, self.metadata().types()).map_err(|error| error.to_string())?;
        if rest.is_empty() { Ok(value) } else { Err(format!("{} bytes are left over", rest.len())) }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runtime(spec {}, transaction {})", self.version.spec, self.version.transaction)
    }
}

/// An entry of storage: a value, or a map of them.
pub(super) struct Entry<'a> {
    runtime: &'a Runtime,
    pallet: &'static str,
    name: &'static str,
    info: StorageInfo<'a, u32>,
}

impl Entry<'_> {
    /// The key of a value, or of all values that begin with these parts.
    pub(super) fn key(&self, parts: Vec<Value>) -> Result<Vec<u8>> {
        let types = self.runtime.metadata().types();
        encode_storage_key_with_info(self.pallet, self.name, parts, &self.info, types)
            .map_err(|error| self.unlike(error))
    }

    /// A value from its bytes; without bytes the default that the metadata gives, or `None` if there is none.
    pub(super) fn decode<T: DecodeAsType>(&self, bytes: Option<&[u8]>) -> Result<Option<T>> {
        let Some(bytes) = bytes.map(Cow::Borrowed).or_else(|| self.info.default_value.clone()) else {
            return Ok(None);
        };
        self.runtime.value(self.info.value_id, &bytes).map(Some).map_err(|why| self.unlike(why))
    }

    /// A value from its bytes or its default; there must be one.
    pub(super) fn decode_some<T: DecodeAsType>(&self, bytes: Option<&[u8]>) -> Result<T> {
        self.decode(bytes)?.ok_or_else(|| self.unlike("it is empty"))
    }

    /// The account at the end of a key of which all parts but the last are given in `prefix`.
    pub(super) fn account(&self, prefix: &[u8], key: &[u8]) -> Result<AccountId32> {
        let last = self.info.keys.last().filter(|last| last.hasher.ends_with_key());
        let hash =
            last.ok_or_else(|| self.unlike("its last key cannot be read back"))?.hasher.len_excluding_key();
        let account = key.strip_prefix(prefix).and_then(|rest| rest.get(hash..));
        let account = account.and_then(|account| <[u8; ACCOUNT_BYTES]>::try_from(account).ok());
        account.map(AccountId32).ok_or_else(|| self.unlike("a key does not end with an account"))
    }

    /// The error of an entry that is not as we know it.
    pub(super) fn unlike(&self, why: impl fmt::Display) -> ChainError {
        unsupported(format!("storage {}.{}", self.pallet, self.name), why.to_string())
    }
}

/// The runtimes that were met, by their versions.
#[derive(Default)]
pub(super) struct Runtimes {
    known: std::sync::Mutex<BTreeMap<u32, Arc<Runtime>>>,
    // Held while metadata is fetched, so that it is fetched once.
    fetching: Mutex<()>,
}

impl Runtimes {
    /// A runtime whose metadata is at hand.
    pub(super) fn known(&self, version: Version) -> Option<Arc<Runtime>> {
        self.lock().get(&version.spec).filter(|runtime| runtime.version == version).cloned()
    }

    /// Forgets a runtime, so that its metadata is fetched anew.
    pub(super) fn forget(&self, version: Version) {
        self.lock().remove(&version.spec);
    }

    /// A runtime, with its metadata from the node if it is not at hand.
    pub(super) async fn get(&self, link: &Link, version: Version, at: Option<H256>) -> Result<Arc<Runtime>> {
        if let Some(known) = self.known(version) {
            return Ok(known);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(known) = self.known(version) {
            return Ok(known);
        }
        let metadata = fetch(link, at).await?;
        tracing::info!(endpoint = %link.endpoint(), spec = version.spec, bytes = metadata.len(), "fetched metadata");
        let runtime = Arc::new(Runtime::new(&metadata, version.spec, version.transaction, link.genesis().0)?);
        let mut known = self.lock();
        known.insert(version.spec, runtime.clone());
        while known.len() > KEPT_RUNTIMES {
            known.pop_first();
        }
        Ok(runtime)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Runtime>>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Fetches the best metadata that the node has and that we read.
async fn fetch(link: &Link, at: Option<H256>) -> Result<Vec<u8>> {
    let methods = link.methods();
    let versions =
        link.call("metadata versions", methods.state_call("Metadata_metadata_versions", None, at)).await;
    let versions = match versions {
        Ok(bytes) => Vec::<u32>::decode(&mut &*bytes).unwrap_or_default(),
        // Runtimes before metadata 15 have no such call.
        Err(ChainError::Unsupported { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    if let Some(version) = METADATA_VERSIONS.into_iter().find(|version| versions.contains(version)) {
        let wanted = version.encode();
        let asked = methods.state_call("Metadata_metadata_at_version", Some(&wanted), at);
        let bytes = link.call("metadata", asked).await?;
        let metadata = Option::<Vec<u8>>::decode(&mut &*bytes);
        let metadata = metadata.map_err(|error| unsupported("metadata", error.to_string()))?;
        return metadata
            .ok_or_else(|| unsupported("metadata", format!("version {version} was promised, not given")));
    }
    let answer = link.call("metadata", methods.state_get_metadata(at)).await?;
    Ok(answer.into_raw())
}

/// The error of what is not as we know it.
pub(super) fn unsupported(what: impl Into<String>, why: impl Into<String>) -> ChainError {
    ChainError::Unsupported { what: what.into(), why: why.into() }
}
