//! Reading a subnet: neurons, commitments, settings, commits under way.

use std::collections::BTreeMap;
use std::str::FromStr;

use nexis_core::protocol::Hotkey;
use scale_value::Value;
use subxt::ext::scale_decode::DecodeAsType;
use subxt::utils::{AccountId32, H256};

use super::link::Link;
use super::runtime::{Runtime, unsupported};
use super::shapes::{Owner, Registration, SelectiveMetagraph, WholeMetagraph, bytes, number};
use crate::chain::{BlockRef, ChainError, Commitment, Metagraph, Neuron, Result, SubnetState};

/// The pallet of subnets.
pub(super) const SUBTENSOR: &str = "SubtensorModule";
/// The pallet of commitments.
pub(super) const COMMITMENTS: &str = "Commitments";
const SUBNET_API: &str = "SubnetInfoRuntimeApi";

/// Keys and values that are asked for at once.
const PAGE: u32 = 256;
/// Most entries of a map that are read; a subnet has at most a few hundred hotkeys, and as many that have left.
const MOST_ENTRIES: usize = 16_384;

/// A map's keys with their values.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The columns of a metagraph.
type Columns = (Vec<AccountId32>, Vec<bool>, Vec<u64>, Vec<u64>);

/// The subnet's neurons: by the runtime's own view of them, or from storage where it has none.
pub(super) async fn metagraph(link: &Link, netuid: u16, at: &BlockRef) -> Result<Metagraph> {
    let runtime = link.runtime_at(Some(H256(at.hash))).await?;
    let columns = match selective(link, &runtime, netuid, at).await {
        Err(ChainError::Unsupported { what, why }) => {
            tracing::debug!(endpoint = %link.endpoint(), what, why, "no selective metagraph; asking for all of it");
            match whole(link, &runtime, netuid, at).await {
                Err(ChainError::Unsupported { what, why }) => {
                    tracing::debug!(endpoint = %link.endpoint(), what, why, "no metagraph; reading storage");
                    from_storage(link, netuid, at).await
                }
                other => other,
            }
        }
        other => other,
    }?;
    let (hotkeys, permits, updates, stakes) = columns;
    if hotkeys.len() != permits.len() || hotkeys.len() != updates.len() || hotkeys.len() != stakes.len() {
        let counts = format!(
            "{} hotkeys, {} permits, {} last updates, {} stakes",
            hotkeys.len(),
            permits.len(),
            updates.len(),
            stakes.len()
        );
        return Err(unsupported(format!("metagraph of subnet {netuid}"), counts));
    }
    let rows = hotkeys.into_iter().zip(permits).zip(updates).zip(stakes);
    let neurons = (0..=u16::MAX).zip(rows).map(
        |(uid, (((hotkey, validator_permit), last_update), total_stake_rao))| Neuron {
            uid,
            hotkey: address(&hotkey),
            validator_permit,
            last_update,
            total_stake_rao,
        },
    );
    Ok(Metagraph { netuid, block: *at, neurons: neurons.collect() })
}

async fn selective(link: &Link, runtime: &Runtime, netuid: u16, at: &BlockRef) -> Result<Columns> {
    const METHOD: &str = "get_selective_metagraph";
    let wanted = Value::unnamed_composite(SelectiveMetagraph::FIELDS.map(Value::u128));
    let graph: Option<SelectiveMetagraph> =
        api(link, runtime, METHOD, vec![number(netuid), wanted], at).await?;
    let graph = graph.ok_or_else(|| no_subnet(netuid, at))?;
    let lacks = |field: &str| unsupported(format!("{SUBNET_API}.{METHOD}"), format!("it gave no {field}"));
    Ok((
        graph.hotkeys.ok_or_else(|| lacks("hotkeys"))?,
        graph.validator_permit.ok_or_else(|| lacks("validator permits"))?,
        graph.last_update.ok_or_else(|| lacks("last updates"))?,
        graph.total_stake.ok_or_else(|| lacks("total stakes"))?,
    ))
}

async fn whole(link: &Link, runtime: &Runtime, netuid: u16, at: &BlockRef) -> Result<Columns> {
    let graph: Option<WholeMetagraph> = api(link, runtime, "get_metagraph", vec![number(netuid)], at).await?;
    let graph = graph.ok_or_else(|| no_subnet(netuid, at))?;
    Ok((graph.hotkeys, graph.validator_permit, graph.last_update, graph.total_stake))
}

/// The same from storage. Stake is then what is staked to the hotkey in the subnet itself, which is less than the
/// runtime's total.
async fn from_storage(link: &Link, netuid: u16, at: &BlockRef) -> Result<Columns> {
    let runtime = link.runtime_of_state(at).await?;
    let exists = get::<bool>(link, &runtime, "NetworksAdded", vec![number(netuid)], at).await?;
    if !exists {
        return Err(no_subnet(netuid, at));
    }
    let count = get::<u16>(link, &runtime, "SubnetworkN", vec![number(netuid)], at).await?;
    let keys = runtime.need(SUBTENSOR, "Keys")?;
    let wanted: Result<Vec<_>> = (0..count).map(|uid| keys.key(vec![number(netuid), number(uid)])).collect();
    let found = values(link, &wanted?, at).await?;
    let hotkeys: Result<Vec<AccountId32>> =
        found.iter().map(|value| keys.decode_some(value.as_deref())).collect();
    let hotkeys = hotkeys?;
    let permits = get(link, &runtime, "ValidatorPermit", vec![number(netuid)], at).await?;
    let updates = get(link, &runtime, "LastUpdate", vec![number(netuid)], at).await?;
    let stake = runtime.need(SUBTENSOR, "TotalHotkeyAlpha")?;
    let wanted: Result<Vec<_>> =
        hotkeys.iter().map(|key| stake.key(vec![bytes(key), number(netuid)])).collect();
    let found = values(link, &wanted?, at).await?;
    let stakes: Result<Vec<u64>> = found.iter().map(|value| stake.decode_some(value.as_deref())).collect();
    Ok((hotkeys, permits, updates, stakes?))
}

/// All commitments of a subnet. One that cannot be read is left out, since it must not hide the others.
pub(super) async fn commitments(
    link: &Link,
    netuid: u16,
    at: &BlockRef,
) -> Result<BTreeMap<Hotkey, Commitment>> {
    let runtime = link.runtime_of_state(at).await?;
    let entry = runtime.need(COMMITMENTS, "CommitmentOf")?;
    let prefix = entry.key(vec![number(netuid)])?;
    let mut commitments = BTreeMap::new();
    for (key, value) in entries(link, &prefix, at).await? {
        let hotkey = address(&entry.account(&prefix, &key)?);
        match entry.decode_some::<Registration>(Some(&value)) {
            Ok(found) => {
                let _ =
                    commitments.insert(hotkey, Commitment { block: found.block, fields: found.info.fields });
            }
            Err(error) => tracing::warn!(%hotkey, netuid, %error, "a commitment cannot be read"),
        }
    }
    Ok(commitments)
}

/// The subnet's settings and counters.
pub(super) async fn subnet_state(link: &Link, netuid: u16, at: &BlockRef) -> Result<SubnetState> {
    let runtime = link.runtime_of_state(at).await?;
    let subnet = || vec![number(netuid)];
    if !get::<bool>(link, &runtime, "NetworksAdded", subnet(), at).await? {
        return Err(no_subnet(netuid, at));
    }
    // One request for all of it: the same place is found again by its key.
    let per_subnet = [
        "Tempo",
        "CommitRevealWeightsEnabled",
        "RevealPeriodEpochs",
        "WeightsSetRateLimit",
        "WeightsVersionKey",
        "MinAllowedWeights",
        "MaxWeightsLimit",
        "BlocksSinceLastStep",
        "LastEpochBlock",
        "PendingEpochAt",
    ];
    let plain = [(SUBTENSOR, "CommitRevealWeightsVersion"), ("Drand", "LastStoredRound")];
    let mut keys = BTreeMap::new();
    for name in per_subnet {
        if let Some(entry) = runtime.entry(SUBTENSOR, name) {
            keys.insert(name, entry.key(subnet())?);
        }
    }
    for (pallet, name) in plain {
        if let Some(entry) = runtime.entry(pallet, name) {
            keys.insert(name, entry.key(Vec::new())?);
        }
    }
    let wanted: Vec<_> = keys.values().cloned().collect();
    let found: BTreeMap<_, _> = keys.keys().copied().zip(values(link, &wanted, at).await?).collect();
    let state = Found { runtime: &runtime, values: found };
    let next_epoch_start = next_epoch_start(link, netuid, at).await?;
    Ok(SubnetState {
        tempo: state.must(SUBTENSOR, "Tempo")?,
        commit_reveal: state.must(SUBTENSOR, "CommitRevealWeightsEnabled")?,
        commit_reveal_version: state.must(SUBTENSOR, "CommitRevealWeightsVersion")?,
        reveal_period_epochs: state.must(SUBTENSOR, "RevealPeriodEpochs")?,
        weights_rate_limit: state.must(SUBTENSOR, "WeightsSetRateLimit")?,
        weights_version_key: state.must(SUBTENSOR, "WeightsVersionKey")?,
        min_allowed_weights: state.must(SUBTENSOR, "MinAllowedWeights")?,
        max_weights_limit: state.must(SUBTENSOR, "MaxWeightsLimit")?,
        blocks_since_last_step: state.must(SUBTENSOR, "BlocksSinceLastStep")?,
        last_epoch_block: state.may(SUBTENSOR, "LastEpochBlock")?,
        pending_epoch_at: state.may(SUBTENSOR, "PendingEpochAt")?,
        next_epoch_start,
        last_stored_round: state.may("Drand", "LastStoredRound")?,
    })
}

/// Values by their entries' names, decoded when asked for.
struct Found<'a> {
    runtime: &'a Runtime,
    values: BTreeMap<&'static str, Option<Vec<u8>>>,
}

impl Found<'_> {
    fn must<T: DecodeAsType>(&self, pallet: &'static str, name: &'static str) -> Result<T> {
        self.runtime.need(pallet, name)?.decode_some(self.bytes(name))
    }

    /// A value that only newer runtimes have, or that may be empty.
    fn may<T: DecodeAsType>(&self, pallet: &'static str, name: &'static str) -> Result<Option<T>> {
        self.runtime.entry(pallet, name).map_or(Ok(None), |entry| entry.decode(self.bytes(name)))
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).and_then(Option::as_deref)
    }
}

/// The next epoch's first block by the runtime's own word, where it has one.
async fn next_epoch_start(link: &Link, netuid: u16, at: &BlockRef) -> Result<Option<u64>> {
    const METHOD: &str = "get_next_epoch_start_block";
    let runtime = link.runtime_at(Some(H256(at.hash))).await?;
    if !runtime.has_api(SUBNET_API, METHOD) {
        return Ok(None);
    }
    let asked = vec![number(netuid)];
    let answer: Value = api(link, &runtime, METHOD, asked, at).await?;
    Ok(first_number(&answer))
}

/// The number in a value that is one, or that wraps one (`Some(n)`).
fn first_number(value: &Value) -> Option<u64> {
    use scale_value::{Composite, ValueDef};
    match &value.value {
        ValueDef::Primitive(number) => number.as_u128().and_then(|number| u64::try_from(number).ok()),
        ValueDef::Variant(variant) if variant.name == "None" => None,
        ValueDef::Variant(variant) => variant.values.values().next().and_then(first_number),
        ValueDef::Composite(Composite::Unnamed(inside)) => inside.first().and_then(first_number),
        ValueDef::Composite(Composite::Named(inside)) => {
            inside.first().and_then(|(_, value)| first_number(value))
        }
        ValueDef::BitSequence(_) => None,
    }
}

/// Unrevealed timelocked commits of a hotkey, over all epochs.
pub(super) async fn pending_commits(
    link: &Link,
    netuid: u16,
    hotkey: &Hotkey,
    at: &BlockRef,
) -> Result<usize> {
    let account = account(hotkey)?;
    let runtime = link.runtime_of_state(at).await?;
    let entry = runtime.need(SUBTENSOR, "TimelockedWeightCommits")?;
    let prefix = entry.key(vec![number(netuid)])?;
    let mut pending = 0;
    for (_, value) in entries(link, &prefix, at).await? {
        let commits: Vec<Owner> = entry.decode_some(Some(&value))?;
        pending += commits.iter().filter(|commit| commit.0 == account).count();
    }
    Ok(pending)
}

/// A value under [`SUBTENSOR`], or its default.
async fn get<T: DecodeAsType>(
    link: &Link,
    runtime: &Runtime,
    name: &'static str,
    parts: Vec<Value>,
    at: &BlockRef,
) -> Result<T> {
    let entry = runtime.need(SUBTENSOR, name)?;
    let key = entry.key(parts)?;
    let value = link.call(name, link.methods().state_get_storage(&key, Some(H256(at.hash)))).await?;
    entry.decode_some(value.as_deref())
}

/// Asks a method of the subnets' runtime API.
async fn api<T: DecodeAsType>(
    link: &Link,
    runtime: &Runtime,
    method: &str,
    arguments: Vec<Value>,
    at: &BlockRef,
) -> Result<T> {
    let arguments = runtime.api_arguments(SUBNET_API, method, arguments)?;
    let name = format!("{SUBNET_API}_{method}");
    let asked = link.methods().state_call(&name, Some(&arguments), Some(H256(at.hash)));
    let answer = link.call(method, asked).await?;
    runtime.api_answer(SUBNET_API, method, &answer)
}

/// The values at some keys, in the keys' order.
async fn values(link: &Link, keys: &[Vec<u8>], at: &BlockRef) -> Result<Vec<Option<Vec<u8>>>> {
    let mut found = BTreeMap::new();
    for page in keys.chunks(PAGE as usize) {
        let asked =
            link.methods().state_query_storage_at(page.iter().map(Vec::as_slice), Some(H256(at.hash)));
        for set in link.call("storage", asked).await? {
            found.extend(set.changes.into_iter().map(|(key, value)| (key.0, value.map(|value| value.0))));
        }
    }
    Ok(keys.iter().map(|key| found.remove(key).flatten()).collect())
}

/// All entries of a map under a prefix, page by page.
async fn entries(link: &Link, prefix: &[u8], at: &BlockRef) -> Result<Entries> {
    let hash = Some(H256(at.hash));
    let mut all: Entries = Vec::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let asked = link.methods().state_get_keys_paged(prefix, PAGE, last.as_deref(), hash);
        let keys = link.call("keys of storage", asked).await?;
        let full = keys.len() >= PAGE as usize;
        for key in &keys {
            // A node that repeats itself would have us read for ever.
            let after = last.as_ref().is_none_or(|last| key > last);
            if !key.starts_with(prefix) || !after || all.len() >= MOST_ENTRIES {
                let why = format!("{} lists keys out of order, or too many", link.endpoint());
                return Err(unsupported("keys of storage", why));
            }
            last = Some(key.clone());
        }
        let found = values(link, &keys, at).await?;
        all.extend(keys.into_iter().zip(found).filter_map(|(key, value)| Some((key, value?))));
        if !full {
            return Ok(all);
        }
    }
}

/// An account's address.
pub(super) fn address(account: &AccountId32) -> Hotkey {
    Hotkey::new(account.to_string())
}

/// The account of an address.
pub(super) fn account(hotkey: &Hotkey) -> Result<AccountId32> {
    AccountId32::from_str(hotkey.as_str())
        .map_err(|error| unsupported(format!("hotkey {hotkey}"), format!("it is no address: {error}")))
}

fn no_subnet(netuid: u16, at: &BlockRef) -> ChainError {
    unsupported(format!("subnet {netuid}"), format!("there is none at block {}", at.number))
}
