//! What a block's events tell: whether a transaction did what it should, and which commits were revealed.

use futures_util::{StreamExt, TryStreamExt, stream};
use subxt::config::Hasher;
use subxt::error::DispatchError;
use subxt::events::Phase;
use subxt::utils::{AccountId32, H256};

use super::link::Link;
use super::reads::{SUBTENSOR, address};
use super::runtime::{Runtime, unsupported};
use crate::chain::{BlockRef, ChainError, Receipt, Result, Reveal};

/// Blocks whose events are fetched at a time.
const BLOCKS_AT_ONCE: usize = 8;
/// Most blocks of one question.
const MOST_BLOCKS: u64 = 10_000;

/// Reveals of a subnet's first mechanism in some finalised blocks, in the order of the blocks.
pub(super) async fn reveals(link: &Link, netuid: u16, from: u64, to: u64) -> Result<Vec<Reveal>> {
    if to.saturating_sub(from) >= MOST_BLOCKS {
        return Err(unsupported("reveals", format!("{from} to {to} are more than {MOST_BLOCKS} blocks")));
    }
    let blocks = stream::iter(from..=to).map(|number| reveals_of(link, netuid, number));
    let found: Vec<Vec<Reveal>> = blocks.buffered(BLOCKS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn reveals_of(link: &Link, netuid: u16, number: u64) -> Result<Vec<Reveal>> {
    let block = link.block(number).await?;
    let (runtime, bytes) = events(link, &block).await?;
    let mut reveals = Vec::new();
    for event in runtime.events(bytes).iter() {
        let event = event.map_err(|error| unlike(number, &error))?;
        if event.pallet_name() != SUBTENSOR || event.event_name() != "TimelockedWeightsRevealed" {
            continue;
        }
        // The number is the mechanism's place in storage, which for the first one is the subnet's.
        let (index, account): (u16, AccountId32) =
            event.decode_fields_unchecked_as().map_err(|error| unlike(number, &error))?;
        if index == netuid {
            reveals.push(Reveal { block: number, netuid, hotkey: address(&account) });
        }
    }
    Ok(reveals)
}

/// Looks for a transaction in a block; `None` if it is not there. Its dispatch decides what comes back.
pub(super) async fn outcome(link: &Link, block: &BlockRef, transaction: H256) -> Result<Option<Receipt>> {
    let hash = H256(block.hash);
    let body = link.call("a block", link.methods().chain_get_block(Some(hash))).await?;
    let body = body.ok_or_else(|| link.no_block(block.number))?.block.extrinsics;
    let runtime = link.runtime_of_state(block).await?;
    let hasher = runtime.client().hasher();
    let Some(place) = body.iter().position(|bytes| hasher.hash(bytes) == transaction) else {
        return Ok(None);
    };
    let (runtime, bytes) = events(link, block).await?;
    for event in runtime.events(bytes).iter() {
        let event = event.map_err(|error| unlike(block.number, &error))?;
        let ours = matches!(event.phase(), Phase::ApplyExtrinsic(at) if usize::try_from(at) == Ok(place));
        if !ours || event.pallet_name() != "System" {
            continue;
        }
        match event.event_name() {
            "ExtrinsicSuccess" => return Ok(Some(Receipt { block: *block, extrinsic_hash: transaction.0 })),
            "ExtrinsicFailed" => return Err(failed(&runtime, block.number, event.field_bytes())),
            _ => {}
        }
    }
    Err(unsupported(
        format!("events of block {}", block.number),
        "neither success nor failure of our transaction",
    ))
}

/// A block's events, and the runtime that wrote them.
async fn events(link: &Link, block: &BlockRef) -> Result<(std::sync::Arc<Runtime>, Vec<u8>)> {
    let runtime = link.runtime_of_state(block).await?;
    let key = runtime.need("System", "Events")?.key(Vec::new())?;
    let asked = link.methods().state_get_storage(&key, Some(H256(block.hash)));
    let bytes = link.call("a block's events", asked).await?.unwrap_or_default();
    Ok((runtime, bytes))
}

/// The error of a dispatch, by its name in the metadata.
fn failed(runtime: &Runtime, block: u64, fields: &[u8]) -> ChainError {
    let (pallet, error) = match DispatchError::decode_from(fields, runtime.shared_metadata()) {
        Ok(DispatchError::Module(error)) => match error.details() {
            Ok(details) => (details.pallet.name().to_owned(), details.variant.name.clone()),
            Err(_) => (format!("pallet {}", error.pallet_index()), format!("error {}", error.error_index())),
        },
        Ok(other) => ("System".to_owned(), format!("{other:?}")),
        Err(error) => ("System".to_owned(), format!("an error that cannot be read ({error})")),
    };
    ChainError::Dispatch { block, pallet, error }
}

fn unlike(block: u64, error: &impl std::fmt::Display) -> ChainError {
    unsupported(format!("events of block {block}"), error.to_string())
}
