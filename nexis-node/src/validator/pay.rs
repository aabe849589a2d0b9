//! Weights: when they are due, what they are, and how they get onto the chain exactly once.
//!
//! A submission belongs to a slot, the last multiple of 300 blocks that the head has passed, and pays for the intervals
//! after the last one paid for and up to the last one that was eligible at the slot. So what is submitted follows from
//! the decisions and not from the moment at which this process came to it.

use async_trait::async_trait;
use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::weights::{DenseWeights, dense_weights, normalized_weights};
use tokio_util::sync::CancellationToken;

use super::{Result, Step, Validator, ValidatorError};
use crate::chain::{self, BlockRef, ChainError};
use crate::observe::{Condition, Phase};
use crate::state::{Start, WeightRecord, WeightState};

/// Tries in a row (protocol page, 5).
const TRIES: u32 = 3;
/// Blocks after a try in which its transaction may still be on its way, so that no other is sent.
const QUIET_BLOCKS: u64 = 10;

/// Puts weights on the chain: preflight, encryption where the subnet asks for it, one signed transaction.
#[async_trait]
pub trait WeightSubmitter: Send + Sync {
    /// Who submits.
    fn hotkey(&self) -> &Hotkey;

    /// Submits once and waits until it is final.
    ///
    /// # Errors
    /// Where it was not taken, or where that is not known; the caller looks at the chain before it tries again.
    async fn submit(&self, weights: &DenseWeights) -> chain::Result<Submitted>;
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The finalised block that has it.
    pub block: u64,
    /// Whether it is a commit that is still to be revealed.
    pub commit: bool,
}

impl Validator {
    /// Confirms what was sent, finishes what was begun, and submits what is due.
    pub(super) async fn pay(&self, head: &BlockRef, stop: &CancellationToken) -> Result<()> {
        if self.parts.submitter.is_none() {
            return Ok(());
        }
        let records = self.parts.state.weights()?;
        for record in records.iter().filter(|r| matches!(r.outcome, WeightState::Sent { .. })) {
            self.confirm(record.clone(), head).await?;
        }
        let begun = records.iter().rev().find(|r| r.outcome == WeightState::Prepared).cloned();
        let due = self.due(head, &records)?;
        match (begun, due) {
            (Some(mut begun), Some(due)) => {
                // The next is due: what was begun is on the chain by now, or is part of the next.
                if self.is_on_chain(&mut begun).await?.is_none() {
                    begun.outcome = WeightState::Failed { why: "not taken until the next was due".into() };
                    self.parts.state.put_weights(&begun)?;
                }
                let due = WeightRecord { after: self.paid_until()?, ..due };
                self.prepare_and_send(due, stop).await
            }
            (Some(begun), None) => self.send(begun, head, stop).await,
            (None, Some(due)) => self.prepare_and_send(due, stop).await,
            (None, None) => Ok(()),
        }
    }

    /// The last interval whose scores are paid.
    fn paid_until(&self) -> Result<Option<IntervalId>> {
        let records = self.parts.state.weights()?;
        Ok(records.iter().rev().find(|r| r.counts()).map(|r| r.upto))
    }

    /// The submission that is due at a head, without its weights.
    fn due(&self, head: &BlockRef, records: &[WeightRecord]) -> Result<Option<WeightRecord>> {
        let state = &self.parts.state;
        let (Some(Start { interval: first, block: start }), Some(next)) = (state.start()?, state.next()?)
        else {
            return Ok(None);
        };
        let every = self.settings.validator.weights_blocks.max(1);
        let slot = head.number / every * every;
        let last = records.last();
        if slot <= last.map_or(start / every * every, |last| last.slot) {
            return Ok(None);
        }
        let Some(last_settled) = next.get().checked_sub(IntervalId::BLOCKS).map(IntervalId::new) else {
            return Ok(None);
        };
        let Some(wanted) = IntervalId::latest_eligible(slot).filter(|upto| *upto >= first) else {
            return Ok(None);
        };
        let upto = if wanted <= last_settled {
            wanted
        } else {
            // Behind: normally weights wait until what they pay for is judged, but not for ever.
            let since = last.map_or(start, |last| last.prepared_at);
            let after = records.iter().rev().find(|r| r.counts()).map(|r| r.upto);
            let news = last_settled >= first && after.is_none_or(|after| last_settled > after);
            if !news || head.number < since.saturating_add(every.saturating_mul(2)) {
                return Ok(None);
            }
            last_settled
        };
        Ok(Some(WeightRecord {
            slot,
            prepared_at: head.number,
            after: records.iter().rev().find(|r| r.counts()).map(|r| r.upto),
            upto,
            weights: Vec::new(),
            tries: 0,
            tried_at: None,
            outcome: WeightState::Prepared,
        }))
    }

    async fn prepare_and_send(&self, mut record: WeightRecord, stop: &CancellationToken) -> Result<()> {
        let state = &self.parts.state;
        let scores = state.scores(record.after, record.upto)?;
        record.weights = normalized_weights(&scores, &state.accepted_in(record.upto)?);
        state.put_weights(&record)?;
        tracing::info!(
            slot = record.slot,
            upto = record.upto.get(),
            miners = record.weights.len(),
            "weights prepared"
        );
        self.reached(Step::WeightsPrepared);
        let head = BlockRef { number: record.prepared_at, hash: [0; 32] };
        self.send(record, &head, stop).await
    }

    /// Tries up to three times. What is not taken then is tried again some blocks later.
    async fn send(&self, mut record: WeightRecord, head: &BlockRef, stop: &CancellationToken) -> Result<()> {
        let Some(submitter) = &self.parts.submitter else { return Ok(()) };
        let started = std::time::Instant::now();
        for again in 0..TRIES {
            // Whatever was sent before, by this process or one before it: the chain knows.
            let known = self.is_on_chain(&mut record).await?;
            let Some(metagraph) = (match known {
                Some(()) => None,
                None => Some(self.metagraph().await?),
            }) else {
                return Ok(());
            };
            let quiet = |tried: u64| head.number < tried.saturating_add(QUIET_BLOCKS);
            if again == 0 && record.tried_at.is_some_and(quiet) {
                return Ok(());
            }
            let dense = dense_weights(&record.weights, &metagraph);
            if !dense.unknown_hotkeys.is_empty() {
                tracing::warn!(hotkeys = ?dense.unknown_hotkeys, "no longer registered, not paid");
            }
            record.tries += 1;
            record.tried_at = Some(head.number);
            self.parts.state.put_weights(&record)?;
            match submitter.submit(&dense).await {
                Ok(Submitted { block, commit }) => {
                    self.reached(Step::WeightsSent);
                    self.parts.metrics.phase(Phase::Weights, started.elapsed());
                    return self.sent(&mut record, block, commit);
                }
                Err(e) => {
                    self.parts.metrics.weight_submission(false);
                    self.parts.health.fails(Condition::Weights, e.to_string());
                    tracing::error!(slot = record.slot, tries = record.tries, error = %e, "weights were not taken");
                    if matches!(e, ChainError::Preflight(_) | ChainError::Unsupported { .. }) {
                        return Ok(());
                    }
                }
            }
            if again + 1 < TRIES {
                tokio::select! {
                    () = tokio::time::sleep(self.settings.weights_pause) => {}
                    () = stop.cancelled() => return Err(ValidatorError::Stopped),
                }
            }
        }
        Ok(())
    }

    fn sent(&self, record: &mut WeightRecord, block: u64, commit: bool) -> Result<()> {
        record.outcome =
            if commit { WeightState::Sent { block, commit } } else { WeightState::Confirmed { block } };
        self.parts.state.put_weights(record)?;
        self.parts.metrics.weight_submission(true);
        self.parts.metrics.weights_on_chain(block);
        self.parts.health.holds(Condition::Weights);
        tracing::info!(slot = record.slot, block, commit, "weights are on the chain");
        self.reached(Step::WeightsRecorded);
        Ok(())
    }

    /// The registered hotkeys with their places, now.
    async fn metagraph(&self) -> Result<Vec<(Hotkey, u16)>> {
        let at = self.parts.chain.finalized_head().await?;
        let metagraph = self.parts.chain.metagraph(self.settings.netuid, &at).await?;
        Ok(metagraph.neurons.into_iter().map(|neuron| (neuron.hotkey, neuron.uid)).collect())
    }

    /// Notes a submission whose end nobody saw: the chain has weights of ours that are younger than its preparation.
    async fn is_on_chain(&self, record: &mut WeightRecord) -> Result<Option<()>> {
        if record.tries == 0 {
            return Ok(None);
        }
        let Some(submitter) = &self.parts.submitter else { return Ok(None) };
        let (chain, netuid) = (&self.parts.chain, self.settings.netuid);
        let at = chain.finalized_head().await?;
        let metagraph = chain.metagraph(netuid, &at).await?;
        let ours = metagraph.neurons.iter().find(|neuron| neuron.hotkey == *submitter.hotkey());
        match ours.map(|neuron| neuron.last_update).filter(|block| *block > record.prepared_at) {
            Some(block) => {
                let commit = chain.subnet_state(netuid, &at).await?.commit_reveal;
                self.sent(record, block, commit)?;
                Ok(Some(()))
            }
            None => Ok(None),
        }
    }

    /// Looks for the reveal of a commit. One that has not come by the end of the epoch after its own has failed without
    /// a word, and its scores count in the next submission.
    async fn confirm(&self, mut record: WeightRecord, head: &BlockRef) -> Result<()> {
        let WeightState::Sent { block, .. } = record.outcome else { return Ok(()) };
        let Some(submitter) = &self.parts.submitter else { return Ok(()) };
        if head.number <= block {
            return Ok(());
        }
        let (chain, netuid) = (&self.parts.chain, self.settings.netuid);
        let reveals = chain.reveals(netuid, block, head.number).await?;
        if let Some(reveal) = reveals.iter().find(|reveal| reveal.hotkey == *submitter.hotkey()) {
            record.outcome = WeightState::Confirmed { block: reveal.block };
            tracing::info!(slot = record.slot, block = reveal.block, "weights were revealed");
            return Ok(self.parts.state.put_weights(&record)?);
        }
        let subnet = chain.subnet_state(netuid, head).await?;
        let epoch = u64::from(subnet.tempo) + 1;
        let deadline =
            block.saturating_add(epoch.saturating_mul(subnet.reveal_period_epochs.saturating_add(2)));
        if head.number > deadline {
            let why = format!("committed in block {block} and not revealed by block {deadline}");
            tracing::error!(slot = record.slot, %why, "weights are lost");
            self.parts.metrics.commit_unrevealed();
            self.parts.health.fails(Condition::Weights, why.clone());
            record.outcome = WeightState::Failed { why };
            self.parts.state.put_weights(&record)?;
        }
        Ok(())
    }
}
