//! Sending a transaction once, and finding out what became of it.

use std::sync::{Arc, PoisonError};

use subxt::rpcs::Error as RpcError;
use subxt::rpcs::client::RpcSubscription;
use subxt::rpcs::methods::legacy::TransactionStatus;
use subxt::rpcs::rpc_params;
use subxt::utils::{AccountId32, H256};
use tokio::time::Instant;

use super::extrinsic::{MORTALITY, Unsigned};
use super::link::{Link, METHOD_NOT_FOUND};
use super::refusal::Refusal;
use super::{SubtensorChain, events, owner};
use crate::chain::{BlockRef, Call, ChainError, HotkeyPair, Receipt, Result};

/// Signs, sends, waits. Sends at most once, but for a refusal over a bad signature: then the metadata is fetched anew
/// and the call is signed anew.
pub(super) async fn submit(chain: &SubtensorChain, signer: &HotkeyPair, call: &Call) -> Result<Receipt> {
    let turn = {
        let mut turns = chain.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(signer.hotkey().clone()).or_default().clone()
    };
    let _turn = turn.lock().await;
    let deadline = Instant::now() + chain.options.finality_deadline;
    let mut refreshed = false;
    loop {
        // Nothing is sent in here, so it may be asked again elsewhere.
        let (link, unsigned) = chain
            .read("preparing a transaction", move |link| async move {
                let unsigned = prepare(&link, signer, call).await?;
                Ok((link, unsigned))
            })
            .await
            .map_err(not_sent)?;
        match send(chain, &link, &unsigned, signer, deadline).await? {
            Sent::Done(receipt) => return Ok(receipt),
            Sent::Refused(refusal) if refusal.bad_signature && !refreshed => {
                tracing::warn!(endpoint = %link.endpoint(), hotkey = %signer.hotkey(), call = unsigned.name(),
                    "the signature was refused: fetching the metadata anew");
                chain.runtimes.forget(unsigned.runtime().version());
                refreshed = true;
            }
            Sent::Refused(refusal) => return Err(refusal.into()),
        }
    }
}

/// A deadline that passed before anything was sent leaves no doubt about the outcome.
fn not_sent(error: ChainError) -> ChainError {
    match error {
        ChainError::TimedOut { endpoint, what, seconds } => {
            let why = format!("{what} did not end within {seconds} s, and nothing was sent");
            ChainError::Unreachable { endpoint, why }
        }
        other => other,
    }
}

/// What came of sending.
enum Sent {
    Done(Receipt),
    Refused(Refusal),
}

/// Everything that goes into the signature, fresh: the runtime's version, the nonce with the pool's transactions
/// counted, the newest finalised block.
async fn prepare(link: &Link, signer: &HotkeyPair, call: &Call) -> Result<Unsigned> {
    let runtime = link.runtime_at(None).await?;
    let nonce = nonce(link, &AccountId32(signer.public_key())).await?;
    let hash = link.call("the finalised head", link.methods().chain_get_finalized_head()).await?;
    let header = link.call("its header", link.methods().chain_get_header(Some(hash))).await?;
    let header = header.ok_or_else(|| link.unreachable("it does not know its own finalised head"))?;
    runtime.prepare(call, nonce, BlockRef { number: header.number, hash: hash.0 })
}

async fn nonce(link: &Link, account: &AccountId32) -> Result<u64> {
    let asked = async {
        match link.methods().system_account_next_index(account).await {
            // Its other name, which some gateways let through alone.
            Err(RpcError::User(said)) if said.code == METHOD_NOT_FOUND => {
                link.rpc().request("account_nextIndex", rpc_params![account]).await
            }
            answer => answer,
        }
    };
    link.call("the account's next nonce", asked).await
}

async fn send(
    chain: &SubtensorChain,
    link: &Arc<Link>,
    unsigned: &Unsigned,
    signer: &HotkeyPair,
    deadline: Instant,
) -> Result<Sent> {
    let transaction = unsigned.signed(signer)?;
    let hash = transaction.hash();
    tracing::info!(endpoint = %link.endpoint(), hotkey = %signer.hotkey(), call = unsigned.name(), ?hash, "sending");
    let sending = link.methods().author_submit_and_watch_extrinsic(transaction.encoded());
    let following = async {
        let doubt = match tokio::time::timeout(link.deadline(), sending).await {
            Ok(Err(RpcError::User(said))) => {
                let refusal = Refusal::read(link.endpoint(), &said);
                if !refusal.already_there {
                    return Ok(Sent::Refused(refusal));
                }
                ChainError::from(refusal).to_string()
            }
            Ok(Err(error)) => link.failure("sending a transaction", error).to_string(),
            Err(_) => link.timed_out("sending a transaction", link.deadline()).to_string(),
            Ok(Ok(watch)) => match follow(chain, link, watch, hash).await {
                Ok(receipt) => return Ok(Sent::Done(receipt)),
                Err(Lost::Decided(error)) => return Err(error),
                Err(Lost::Unknown(doubt)) => doubt,
            },
        };
        tracing::warn!(endpoint = %link.endpoint(), hotkey = %signer.hotkey(), ?hash, doubt,
            "lost sight of a transaction; looking for it in the blocks");
        match search(chain, unsigned, hash, &doubt).await {
            Ok(receipt) => Ok(Sent::Done(receipt)),
            // Dispatched and failed, or known not to be included.
            Err(error @ (ChainError::Dispatch { .. } | ChainError::Refused { .. })) => Err(error),
            Err(error) => Err(ChainError::OutcomeUnknown {
                endpoint: link.endpoint().to_string(),
                why: format!("{doubt}; then, {error}"),
            }),
        }
    };
    match tokio::time::timeout_at(deadline, following).await {
        Ok(sent) => sent,
        Err(_) => Err(link.timed_out("a transaction's finalisation", chain.options.finality_deadline)),
    }
}

/// Why following a transaction ended without a receipt.
enum Lost {
    /// Its fate is known.
    Decided(ChainError),
    /// It may or may not be included.
    Unknown(String),
}

/// Follows the pool's word of a transaction until it is finalised.
async fn follow(
    chain: &SubtensorChain,
    link: &Arc<Link>,
    mut watch: RpcSubscription<TransactionStatus<H256>>,
    hash: H256,
) -> Result<Receipt, Lost> {
    loop {
        let status = tokio::select! {
            status = watch.next() => status,
            why = link.lost() => return Err(Lost::Unknown(why)),
        };
        let gone = |what: &str| Err(Lost::Unknown(format!("{} says that it is {what}", link.endpoint())));
        match status {
            Some(Ok(TransactionStatus::Finalized(block))) => return finalised(chain, block, hash).await,
            Some(Ok(TransactionStatus::Usurped(_))) => {
                return gone("replaced by another with the same nonce");
            }
            Some(Ok(TransactionStatus::Dropped)) => return gone("dropped from its pool"),
            Some(Ok(TransactionStatus::Invalid)) => return gone("no longer valid"),
            Some(Ok(TransactionStatus::FinalityTimeout(_))) => {
                return Err(Lost::Unknown("the node no longer waits for finality".into()));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Lost::Unknown(link.endpoint().clean(&error.to_string()))),
            None => return Err(Lost::Unknown("the node ended the stream of statuses".into())),
        }
    }
}

/// The outcome in the block that the node named.
async fn finalised(chain: &SubtensorChain, block: H256, hash: H256) -> Result<Receipt, Lost> {
    let found = chain
        .read("a transaction's outcome", move |link| async move {
            let header = link.call("a block's header", link.methods().chain_get_header(Some(block))).await?;
            let header = header.ok_or_else(|| link.unreachable("it does not know the block yet"))?;
            events::outcome(&link, &BlockRef { number: header.number, hash: block.0 }, hash).await
        })
        .await;
    match found {
        Ok(Some(receipt)) => Ok(receipt),
        Ok(None) => Err(Lost::Unknown("the block that the node named does not hold it".into())),
        Err(error @ ChainError::Dispatch { .. }) => Err(Lost::Decided(error)),
        Err(error) => Err(Lost::Unknown(error.to_string())),
    }
}

/// Looks for a transaction in every finalised block of its life. When that is over without it, it can never be
/// included: then, and only then, it is known not to be.
async fn search(chain: &SubtensorChain, unsigned: &Unsigned, hash: H256, doubt: &str) -> Result<Receipt> {
    let birth = unsigned.checkpoint().number;
    let mut next = birth + 1;
    while next <= birth + MORTALITY {
        let head = owner::head_after(&chain.status, next - 1).await?;
        while next <= head.number.min(birth + MORTALITY) {
            let found = chain
                .read("a transaction's block", move |link| async move {
                    let block = link.block(next).await?;
                    events::outcome(&link, &block, hash).await
                })
                .await?;
            if let Some(receipt) = found {
                return Ok(receipt);
            }
            next += 1;
        }
    }
    let why = format!(
        "it got into none of the {MORTALITY} blocks of its life, and no longer can; the node was lost sight of: {doubt}"
    );
    Err(ChainError::Refused { code: None, why })
}
