//! The node's methods, by their names and aliases.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jsonrpsee::core::server::PendingSubscriptionSink;
use jsonrpsee::types::{ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, RpcModule};
use parity_scale_codec::{Compact, Decode, Encode};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use subxt::utils::AccountId32;

use super::chain::{Block, Refused, hex0x};
use super::metadata::{TRANSACTION, V15};
use super::{Fault, NodeState};

type Answer = Result<Value, ErrorObjectOwned>;

/// Methods that answer once: the name, and under which other names nodes know it.
const METHODS: [(&str, &[&str]); 13] = [
    ("chain_getBlockHash", &["chain_getHead"]),
    ("chain_getFinalizedHead", &["chain_getFinalisedHead"]),
    ("chain_getHeader", &[]),
    ("chain_getBlock", &[]),
    ("state_getRuntimeVersion", &["chain_getRuntimeVersion"]),
    ("state_call", &["state_callAt"]),
    ("state_getStorage", &["state_getStorageAt"]),
    ("state_queryStorageAt", &[]),
    ("state_getKeysPaged", &["state_getKeysPagedAt"]),
    ("state_getMetadata", &[]),
    ("author_submitExtrinsic", &[]),
    ("system_accountNextIndex", &["account_nextIndex"]),
    ("system_chain", &[]),
];

pub(crate) fn module(state: Arc<NodeState>) -> RpcModule<NodeState> {
    let mut module = RpcModule::from_arc(state);
    for (name, aliases) in METHODS {
        for known in std::iter::once(&name).chain(aliases) {
            let known: &'static str = known;
            module
                .register_method(known, move |params: Params, node: &NodeState, _: &Extensions| {
                    serve(node, name, &params)
                })
                .unwrap();
        }
    }
    for (subscribe, notify, unsubscribe) in [
        ("chain_subscribeFinalizedHeads", "chain_finalizedHead", "chain_unsubscribeFinalizedHeads"),
        ("chain_subscribeNewHeads", "chain_newHead", "chain_unsubscribeNewHeads"),
    ] {
        module.register_subscription(subscribe, notify, unsubscribe, heads).unwrap();
    }
    module
        .register_subscription(
            "author_submitAndWatchExtrinsic",
            "author_extrinsicUpdate",
            "author_unwatchExtrinsic",
            watch,
        )
        .unwrap();
    module
}

fn error(code: i32, message: &str, data: Option<&str>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message.to_owned(), data.map(str::to_owned))
}

fn from_pool((code, message, data): Refused) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message.to_owned(), data)
}

/// Counts a call, and lets it fail if it shall.
fn meet(node: &NodeState, name: &'static str) -> Result<(), ErrorObjectOwned> {
    node.count(name);
    if node.take(|fault| matches!(fault, Fault::CutBefore(at) if *at == name)).is_some() {
        node.cut();
        return Err(error(-32000, "cut", None));
    }
    match node.take(|fault| matches!(fault, Fault::Refuse(at, ..) if *at == name)) {
        Some(Fault::Refuse(_, code, message, data)) => Err(error(code, message, data)),
        _ => Ok(()),
    }
}

fn leave(node: &NodeState, name: &'static str) {
    if node.take(|fault| matches!(fault, Fault::UpgradeAfter(at) if *at == name)).is_some() {
        let spec = node.chain.inner.lock().unwrap().spec;
        node.chain.upgrade(spec + 1);
    }
    if node.take(|fault| matches!(fault, Fault::CutAfter(at) if *at == name)).is_some() {
        node.cut();
    }
}

fn serve(node: &NodeState, name: &'static str, params: &Params<'_>) -> Answer {
    meet(node, name)?;
    let given: Vec<Value> = if params.as_str().is_some() { params.parse()? } else { Vec::new() };
    let answer = answer(node, name, &given);
    leave(node, name);
    answer
}

fn bytes_of(value: Option<&Value>) -> Vec<u8> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    hex::decode(text.trim_start_matches("0x")).unwrap_or_default()
}

fn hash_of(value: Option<&Value>) -> Option<[u8; 32]> {
    bytes_of(value).try_into().ok()
}

fn unknown_block() -> ErrorObjectOwned {
    error(4003, "Client error: UnknownBlock: Header was not found in the database", None)
}

fn answer(node: &NodeState, name: &str, given: &[Value]) -> Answer {
    let chain = node.chain.inner.lock().unwrap();
    let at = |place: usize| chain.block(hash_of(given.get(place))).ok_or_else(unknown_block);
    Ok(match name {
        "chain_getBlockHash" => match given.first().filter(|number| !number.is_null()) {
            None => json!(hex0x(&chain.best().hash)),
            Some(number) => {
                let number = number.as_u64().unwrap_or(u64::MAX) as usize;
                chain.blocks.get(number).map_or(Value::Null, |block| json!(hex0x(&block.hash)))
            }
        },
        "chain_getFinalizedHead" => json!(hex0x(&chain.blocks[chain.finalised as usize].hash)),
        "chain_getHeader" => chain.block(hash_of(given.first())).map_or(Value::Null, Block::header),
        "chain_getBlock" => chain.block(hash_of(given.first())).map_or(Value::Null, |block| {
            let extrinsics: Vec<String> = block.extrinsics.iter().map(|bytes| hex0x(bytes)).collect();
            json!({ "block": { "header": block.header(), "extrinsics": extrinsics }, "justifications": null })
        }),
        "state_getRuntimeVersion" => json!({
            "specName": "node-subtensor", "implName": "node-subtensor", "authoringVersion": 1,
            "specVersion": at(0)?.spec, "implVersion": 1, "apis": [], "transactionVersion": TRANSACTION,
            "stateVersion": 1,
        }),
        "state_call" => {
            let method = given.first().and_then(Value::as_str).unwrap_or_default().to_owned();
            let arguments = bytes_of(given.get(1));
            let block = at(2)?;
            node.count(&method);
            let offered = node.metadata.lock().unwrap().clone();
            let newest = node.newest.lock().unwrap().clone();
            json!(hex0x(&runtime(&method, &arguments, block, chain.subnet.netuid, &offered, &newest)?))
        }
        "state_getStorage" => {
            let key = bytes_of(given.first());
            at(1)?.state.get(&key).map_or(Value::Null, |value| json!(hex0x(value)))
        }
        "state_queryStorageAt" => {
            let block = at(1)?;
            let keys = given.first().and_then(Value::as_array).cloned().unwrap_or_default();
            let changes: Vec<_> = keys
                .iter()
                .map(|key| (key.clone(), block.state.get(&bytes_of(Some(key))).map(|value| hex0x(value))))
                .collect();
            json!([{ "block": hex0x(&block.hash), "changes": changes }])
        }
        "state_getKeysPaged" => {
            let prefix = bytes_of(given.first());
            let count = given.get(1).and_then(Value::as_u64).unwrap_or(0) as usize;
            let start = given.get(2).filter(|start| !start.is_null()).map(|start| bytes_of(Some(start)));
            let block = at(3)?;
            let keys = block.state.keys().filter(|key| key.starts_with(&prefix));
            let keys = keys.filter(|key| start.as_ref().is_none_or(|start| *key > start));
            json!(keys.take(count).map(|key| hex0x(key)).collect::<Vec<_>>())
        }
        "state_getMetadata" => json!(hex0x(&V15)),
        "author_submitExtrinsic" => {
            drop(chain);
            json!(hex0x(&take(node, given)?))
        }
        "system_accountNextIndex" => {
            let address = given.first().and_then(Value::as_str).unwrap_or_default();
            let account: AccountId32 = address.parse().map_err(|_| error(-32602, "no address", None))?;
            let stale = node.take(|fault| matches!(fault, Fault::StaleNonce)).is_some();
            json!(chain.next_nonce(&account.0).saturating_sub(u64::from(stale)))
        }
        "system_chain" => json!("Fixture"),
        _ => return Err(error(-32601, "Method not found", None)),
    })
}

fn take(node: &NodeState, given: &[Value]) -> Result<[u8; 32], ErrorObjectOwned> {
    let forget = node.take(|fault| matches!(fault, Fault::Forget)).is_some();
    node.chain.take(&bytes_of(given.first()), forget).map_err(from_pool)
}

/// The runtime's own functions.
fn runtime(
    method: &str,
    arguments: &[u8],
    block: &Block,
    netuid: u16,
    metadata: &[u32],
    newest: &[u8],
) -> Result<Vec<u8>, ErrorObjectOwned> {
    let absent = || {
        let why = format!("Client error: Execution failed: Exported method {method} is not found");
        error(4003, &why, None)
    };
    Ok(match method {
        "SubnetInfoRuntimeApi_get_next_epoch_start_block" => Some(400u64).encode(),
        "Metadata_metadata_versions" if !metadata.is_empty() => metadata.to_vec().encode(),
        "Metadata_metadata_at_version" => {
            let version = u32::decode(&mut &*arguments).unwrap_or_default();
            let known = metadata.contains(&version);
            match version {
                15 if known => Some(V15.clone()).encode(),
                16 if known => Some(newest.to_vec()).encode(),
                _ if metadata.is_empty() => return Err(absent()),
                _ => Option::<Vec<u8>>::None.encode(),
            }
        }
        "Core_version" => (
            "node-subtensor",
            "node-subtensor",
            1u32,
            block.spec,
            1u32,
            Vec::<([u8; 8], u32)>::new(),
            TRANSACTION,
            1u8,
        )
            .encode(),
        "SubnetInfoRuntimeApi_get_metagraph" => match u16::decode(&mut &*arguments) {
            Ok(asked) if asked == netuid => metagraph(block, netuid),
            _ => vec![0],
        },
        "SubnetInfoRuntimeApi_get_selective_metagraph" => match <(u16, Vec<u16>)>::decode(&mut &*arguments) {
            Ok((asked, fields)) if asked == netuid => selective(block, netuid, &fields),
            _ => vec![0],
        },
        _ => return Err(absent()),
    })
}

fn compact(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    values.into_iter().map(Compact).collect::<Vec<_>>().encode()
}

/// `SelectiveMetagraph`: 74 fields, of which those that were asked for are given.
fn selective(block: &Block, netuid: u16, asked: &[u16]) -> Vec<u8> {
    let neurons = &block.neurons;
    let mut out = vec![1];
    Compact(netuid).encode_to(&mut out);
    for field in 1..74u16 {
        let value = asked.contains(&field).then(|| match field {
            52 => neurons.iter().map(|n| n.hotkey).collect::<Vec<_>>().encode(),
            57 => neurons.iter().map(|n| n.permit).collect::<Vec<_>>().encode(),
            59 => compact(neurons.iter().map(|n| n.last_update)),
            69 => compact(neurons.iter().map(|n| n.stake)),
            other => panic!("field {other} of the metagraph is not served"),
        });
        match value {
            Some(value) => {
                out.push(1);
                out.extend(value);
            }
            None => out.push(0),
        }
    }
    out
}

/// `Metagraph`, field by field in the order of the metadata.
fn metagraph(block: &Block, netuid: u16) -> Vec<u8> {
    let neurons = &block.neurons;
    let count = neurons.len();
    let mut out = vec![1];
    let small = |out: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| Compact(*v).encode_to(out));
    small(&mut out, &[netuid.into()]);
    // Name and symbol are lists of compact bytes.
    out.extend(compact("fixture".bytes().map(u64::from)));
    out.extend(compact("N".bytes().map(u64::from)));
    // Identity, block of registration, the owner's hotkey and coldkey.
    out.push(0);
    small(&mut out, &[1]);
    out.extend([[9u8; 32], [8u8; 32]].concat());
    // Block, tempo, last step, blocks since; eleven amounts.
    small(&mut out, &[block.number, 360, 1, 12]);
    small(&mut out, &[0; 9]);
    Compact(0u128).encode_to(&mut out);
    // Moving price.
    out.extend(0u128.encode());
    // rho ... difficulty.
    small(&mut out, &[10, 32767, 1, 65535, 7, 100, 5000, 64, count as u64, 256, 0, 0]);
    out.extend([1, 0]);
    // immunity ... serving rate limit.
    small(&mut out, &[0; 10]);
    // commit-reveal, its period, liquid alpha, alpha high and low, bonds.
    out.push(0);
    small(&mut out, &[1]);
    out.push(0);
    small(&mut out, &[0, 0, 0]);
    out.extend(neurons.iter().map(|n| n.hotkey).collect::<Vec<_>>().encode());
    out.extend(vec![[8u8; 32]; count].encode());
    // No identities; axons without an address.
    out.extend(vec![0u8; count].encode());
    let axon = (0u64, 0u32, 0u128, 0u16, 0u8, 0u8, 0u8, 0u8).encode();
    Compact(count as u32).encode_to(&mut out);
    (0..count).for_each(|_| out.extend(&axon));
    out.extend(vec![true; count].encode());
    out.extend(neurons.iter().map(|n| n.permit).collect::<Vec<_>>().encode());
    let zeros = compact(vec![0; count]);
    out.extend(&zeros);
    out.extend(compact(neurons.iter().map(|n| n.last_update)));
    // emission, dividends, incentives, consensus, trust, rank, block of registration, alpha and tao stake.
    (0..9).for_each(|_| out.extend(&zeros));
    out.extend(compact(neurons.iter().map(|n| n.stake)));
    out.extend([0, 0]);
    out
}

async fn heads(_: Params<'static>, pending: PendingSubscriptionSink, node: Arc<NodeState>, _: Extensions) {
    node.count("chain_subscribeFinalizedHeads");
    let Ok(sink) = pending.accept().await else { return };
    let mut finalised = node.chain.finalised.subscribe();
    finalised.mark_changed();
    loop {
        tokio::select! {
            () = sink.closed() => return,
            changed = finalised.changed() => if changed.is_err() { return },
        }
        if node.silent.load(Ordering::SeqCst) {
            continue;
        }
        let number = *finalised.borrow_and_update() as usize;
        let header = node.chain.inner.lock().unwrap().blocks[number].header();
        if sink.send(to_raw_value(&header).unwrap()).await.is_err() {
            return;
        }
    }
}

async fn watch(
    params: Params<'static>,
    pending: PendingSubscriptionSink,
    node: Arc<NodeState>,
    _: Extensions,
) {
    const NAME: &str = "author_submitAndWatchExtrinsic";
    let given: Vec<Value> = params.parse().unwrap_or_default();
    let taken = meet(&node, NAME).and_then(|()| take(&node, &given));
    let hash = match taken {
        Ok(hash) => hash,
        Err(refused) => {
            pending.reject(refused).await;
            return;
        }
    };
    leave(&node, NAME);
    let Ok(sink) = pending.accept().await else { return };
    let mut finalised = node.chain.finalised.subscribe();
    let send = |status: Value| sink.send(to_raw_value(&status).unwrap());
    if send(json!("ready")).await.is_err() {
        return;
    }
    if node.take(|fault| matches!(fault, Fault::Disown)).is_some() {
        let _ = send(json!("invalid")).await;
        return;
    }
    let mut in_block = false;
    loop {
        let found = {
            let chain = node.chain.inner.lock().unwrap();
            chain
                .included
                .get(&hash)
                .map(|number| (chain.blocks[*number as usize].hash, *number <= chain.finalised))
        };
        if let Some((block, is_final)) = found {
            if !in_block && send(json!({ "inBlock": hex0x(&block) })).await.is_err() {
                return;
            }
            in_block = true;
            if is_final && !node.silent.load(Ordering::SeqCst) {
                let _ = send(json!({ "finalized": hex0x(&block) })).await;
                return;
            }
        }
        tokio::select! {
            () = sink.closed() => return,
            changed = finalised.changed() => if changed.is_err() { return },
        }
    }
}
