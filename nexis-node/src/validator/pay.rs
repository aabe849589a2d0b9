//! Weights: when they are due, what they are, and how they get onto the chain exactly once.
//!
//! A submission belongs to a slot, the last multiple of 300 blocks that the head has passed, and pays for the intervals
//! after the last one paid for and up to the last one that was eligible at the slot. So what is submitted follows from
//! the decisions and not from the moment at which this process came to it.

use std::time::Instant;

use nexis_core::protocol::{Hotkey, IntervalId};
use nexis_core::weights::{dense_weights, normalized_weights};
use tokio_util::sync::CancellationToken;

use super::{Result, Step, Validator, ValidatorError};
use crate::chain::weights::{
    PendingReveal, RevealStatus, Settled, SubmitOptions, WeightsOutcome, confirm_reveal, settle,
    submit_weights,
};
use crate::chain::{BlockRef, Metagraph};
use crate::observe::{Condition, Phase};
use crate::state::{Start, WeightRecord, WeightState};

/// Tries in a row (protocol page, 5).
const TRIES: u32 = 3;
/// Blocks after a round of tries until the next. A process that was killed in the midst of one may have left a
/// transaction on its way, and by then it is seen. Were it not, the subnet's rate limit would refuse the second.
const QUIET_BLOCKS: u64 = 10;

impl Validator {
    /// Confirms what was committed, finishes what was begun, and submits what is due.
    pub(super) async fn pay(&self, head: &BlockRef, stop: &CancellationToken) -> Result<()> {
        let Some(signer) = &self.parts.signer else { return Ok(()) };
        let since = *self.paying_since.get_or_init(|| head.number);
        for record in self.parts.state.weights()? {
            if let WeightState::Committed(pending) = record.outcome.clone() {
                self.confirm(record, pending, signer.hotkey()).await?;
            }
        }
        let records = self.parts.state.weights()?;
        let open = |record: &&WeightRecord| {
            matches!(record.outcome, WeightState::Prepared | WeightState::InFlight(_))
        };
        let begun = records.iter().rev().find(open).cloned();
        match (begun, self.due(head, since, &records)?) {
            (Some(mut begun), Some(due)) => {
                // The next is due: what was begun is on the chain by now, or is part of the next.
                if !self.took(&mut begun).await? {
                    if matches!(begun.outcome, WeightState::InFlight(_)) {
                        return Ok(());
                    }
                    begun.outcome = WeightState::Failed { why: "not taken until the next was due".into() };
                    self.parts.state.put_weights(&begun)?;
                }
                let after = self.paid_until(&self.parts.state.weights()?);
                self.prepare_and_send(WeightRecord { after, ..due }, head, stop).await
            }
            (Some(begun), None) => self.send(begun, head, stop).await,
            (None, Some(due)) => self.prepare_and_send(due, head, stop).await,
            (None, None) => Ok(()),
        }
    }

    /// The last interval whose scores are paid.
    fn paid_until(&self, records: &[WeightRecord]) -> Option<IntervalId> {
        records.iter().rev().find(|record| record.counts()).map(|record| record.upto)
    }

    /// The submission that is due at a head, without its weights. `since` is the head at which this process began to
    /// ask.
    fn due(&self, head: &BlockRef, since: u64, records: &[WeightRecord]) -> Result<Option<WeightRecord>> {
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
        let after = self.paid_until(records);
        let upto = if wanted <= last_settled {
            wanted
        } else {
            // Behind: normally weights wait until what they pay for is judged, but not for ever. After downtime the
            // wait begins with the process, or what is being caught up would be paid in the next submission only.
            let since = last.map_or(start, |last| last.prepared_at).max(since);
            let news = last_settled >= first && after.is_none_or(|after| last_settled > after);
            if !news || head.number < since.saturating_add(every.saturating_mul(2)) {
                return Ok(None);
            }
            last_settled
        };
        Ok(Some(WeightRecord {
            slot,
            prepared_at: head.number,
            after,
            upto,
            weights: Vec::new(),
            tries: 0,
            tried_at: None,
            outcome: WeightState::Prepared,
        }))
    }

    async fn prepare_and_send(
        &self,
        mut record: WeightRecord,
        head: &BlockRef,
        stop: &CancellationToken,
    ) -> Result<()> {
        let state = &self.parts.state;
        let scores = state.scores(record.after, record.upto)?;
        record.weights = normalized_weights(&scores, &state.accepted_in(record.upto)?);
        state.put_weights(&record)?;
        let (upto, miners) = (record.upto.get(), record.weights.len());
        tracing::info!(slot = record.slot, upto, miners, "weights prepared");
        self.reached(Step::WeightsPrepared);
        self.send(record, head, stop).await
    }

    /// Tries up to three times. What is not taken then is tried again some blocks later.
    async fn send(&self, mut record: WeightRecord, head: &BlockRef, stop: &CancellationToken) -> Result<()> {
        let Some(signer) = &self.parts.signer else { return Ok(()) };
        // Whatever was sent before, by this process or one before it: the chain knows.
        if record.tries > 0 && self.took(&mut record).await? {
            return Ok(());
        }
        let quiet = record.tried_at.is_some_and(|tried| head.number < tried.saturating_add(QUIET_BLOCKS));
        if quiet || matches!(record.outcome, WeightState::InFlight(_)) {
            return Ok(());
        }
        let neurons = self.metagraph().await?.neurons;
        let places: Vec<(Hotkey, u16)> =
            neurons.into_iter().map(|neuron| (neuron.hotkey, neuron.uid)).collect();
        let dense = dense_weights(&record.weights, &places);
        if !dense.unknown_hotkeys.is_empty() {
            tracing::warn!(hotkeys = ?dense.unknown_hotkeys, "no longer registered, not paid");
        }
        record.tries += 1;
        record.tried_at = Some(head.number);
        self.parts.state.put_weights(&record)?;

        let started = Instant::now();
        let earlier = self.committed(&record)?;
        let options = SubmitOptions { tries: TRIES, pause: self.settings.weights_pause };
        let (chain, netuid) = (self.parts.chain.as_ref(), self.settings.netuid);
        let submission = submit_weights(chain, signer, netuid, &dense, &earlier, &options);
        let outcome = tokio::select! {
            outcome = submission => outcome,
            () = stop.cancelled() => return Err(ValidatorError::Stopped),
        };
        self.parts.metrics.phase(Phase::Weights, started.elapsed());
        match outcome {
            Ok(outcome) => {
                self.reached(Step::WeightsSent);
                self.note(&mut record, outcome)
            }
            Err(error) => {
                self.parts.metrics.weight_submission(false);
                self.parts.health.fails(Condition::Weights, error.to_string());
                tracing::error!(slot = record.slot, rounds = record.tries, %error, "weights were not taken");
                Ok(())
            }
        }
    }

    /// Writes down what became of a submission.
    fn note(&self, record: &mut WeightRecord, outcome: WeightsOutcome) -> Result<()> {
        record.outcome = match outcome {
            WeightsOutcome::Set { block } => WeightState::Confirmed { block },
            WeightsOutcome::Committed(pending) => WeightState::Committed(pending),
            WeightsOutcome::Unknown(sent) => WeightState::InFlight(sent),
        };
        self.parts.state.put_weights(record)?;
        let block = match &record.outcome {
            WeightState::Confirmed { block } => *block,
            WeightState::Committed(pending) => pending.block,
            _ => {
                tracing::warn!(slot = record.slot, "weights were sent, and nobody knows yet what came of it");
                return Ok(());
            }
        };
        self.parts.metrics.weight_submission(true);
        self.parts.metrics.weights_on_chain(block);
        self.parts.health.holds(Condition::Weights);
        let commit = matches!(record.outcome, WeightState::Committed(_));
        tracing::info!(slot = record.slot, block, commit, "weights are on the chain");
        self.reached(Step::WeightsRecorded);
        Ok(())
    }

    /// Whether a submission whose end nobody saw took effect after all; then it is noted. One that can no longer take
    /// effect may be sent again.
    async fn took(&self, record: &mut WeightRecord) -> Result<bool> {
        let Some(signer) = &self.parts.signer else { return Ok(false) };
        let (chain, netuid) = (&self.parts.chain, self.settings.netuid);
        if let WeightState::InFlight(sent) = &record.outcome {
            return match settle(chain.as_ref(), signer.hotkey(), sent).await? {
                Settled::Took(outcome) => self.note(record, outcome).map(|()| true),
                Settled::Open => Ok(false),
                Settled::Lost => {
                    record.outcome = WeightState::Prepared;
                    self.parts.state.put_weights(record)?;
                    Ok(false)
                }
            };
        }
        if record.tries == 0 {
            return Ok(false);
        }
        // The process ended between sending and writing down. Weights of ours that are younger than the preparation
        // are these.
        let metagraph = self.metagraph().await?;
        let ours = metagraph.neurons.iter().find(|neuron| neuron.hotkey == *signer.hotkey());
        let Some(block) = ours.map(|neuron| neuron.last_update).filter(|block| *block > record.prepared_at)
        else {
            return Ok(false);
        };
        let subnet = chain.subnet_state(netuid, &metagraph.block).await?;
        let outcome = if subnet.commit_reveal {
            // The round and the epoch are lost with that process; the reveal is the next one of ours in any case.
            let epochs = subnet.reveal_period_epochs.saturating_add(2);
            let earlier = self.committed(record)?.len();
            WeightsOutcome::Committed(PendingReveal {
                block,
                round: 0,
                reveal_block: block.saturating_add(1),
                deadline: block
                    .saturating_add(epochs.saturating_mul(u64::from(subnet.tempo).saturating_add(1))),
                nth: u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1),
                seen: 0,
                searched_to: block,
            })
        } else {
            WeightsOutcome::Set { block }
        };
        self.note(record, outcome).map(|()| true)
    }

    /// The registered hotkeys, now.
    async fn metagraph(&self) -> Result<Metagraph> {
        let at = self.parts.chain.finalized_head().await?;
        Ok(self.parts.chain.metagraph(self.settings.netuid, &at).await?)
    }

    /// Commits of other submissions that are not confirmed yet.
    fn committed(&self, record: &WeightRecord) -> Result<Vec<PendingReveal>> {
        let records = self.parts.state.weights()?;
        let others = records.into_iter().filter(|other| other.slot != record.slot);
        Ok(others
            .filter_map(|other| match other.outcome {
                WeightState::Committed(pending) => Some(pending),
                _ => None,
            })
            .collect())
    }

    /// Looks for the reveal of a commit. One that the chain dropped is an alarm: what it has of us are older weights.
    /// Its scores count again where nothing was submitted since.
    async fn confirm(
        &self,
        mut record: WeightRecord,
        mut pending: PendingReveal,
        hotkey: &Hotkey,
    ) -> Result<()> {
        let chain = self.parts.chain.as_ref();
        record.outcome = match confirm_reveal(chain, self.settings.netuid, hotkey, &mut pending).await? {
            RevealStatus::Waiting => WeightState::Committed(pending),
            RevealStatus::Revealed { block } => {
                tracing::info!(slot = record.slot, block, "weights were revealed");
                WeightState::Confirmed { block }
            }
            RevealStatus::Missed { why } => {
                tracing::error!(slot = record.slot, %why, "weights are lost");
                self.parts.metrics.commit_unrevealed();
                self.parts.health.fails(Condition::Weights, why.clone());
                WeightState::Failed { why }
            }
        };
        Ok(self.parts.state.put_weights(&record)?)
    }
}
