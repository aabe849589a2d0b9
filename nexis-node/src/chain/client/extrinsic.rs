//! Calls and the transactions that carry them: bytes by the metadata's rule, version 4 of the format, mortal, signed
//! by the hotkey.

use scale_value::{Composite, Value};
use subxt::client::OfflineClientAtBlockImpl;
use subxt::config::DefaultExtrinsicParamsBuilder;
use subxt::config::SubstrateConfig;
use subxt::tx::{DynamicPayload, SignableTransaction, Signer, SubmittableTransaction};
use subxt::utils::{AccountId32, H256, MultiSignature};

use super::reads::{COMMITMENTS, SUBTENSOR};
use super::runtime::{Runtime, unsupported};
use crate::chain::{BlockRef, Call, HotkeyPair, Result};

/// Blocks that a transaction lives, counted from the finalised block that it names.
pub(super) const MORTALITY: u64 = 64;
/// The format of transactions that hotkeys sign.
const FORMAT: u8 = 4;
/// The subnet's only mechanism, for most.
const MECHANISM: u8 = 0;

type Payload = DynamicPayload<Composite<()>>;
type Client = OfflineClientAtBlockImpl<SubstrateConfig>;

/// A call, ready to be signed.
pub struct Unsigned {
    call: Payload,
    runtime: Runtime,
    nonce: u64,
    checkpoint: BlockRef,
}

impl Runtime {
    /// The call's bytes: pallet, call, arguments.
    ///
    /// # Errors
    /// [`crate::chain::ChainError::Unsupported`] where this runtime has no such call, or another shape of it.
    pub fn call_data(&self, call: &Call) -> Result<Vec<u8>> {
        let payload = payload(call);
        self.client().tx().call_data(&payload).map_err(|error| unsupported(name(&payload), error.to_string()))
    }

    /// Prepares a transaction with this nonce, which lives for 64 blocks from the finalised block `checkpoint` on.
    ///
    /// # Errors
    /// As [`Runtime::call_data`], and where the runtime does not take transactions of version 4.
    pub fn prepare(&self, call: &Call, nonce: u64, checkpoint: BlockRef) -> Result<Unsigned> {
        if !self.metadata().extrinsic().supported_versions().contains(&FORMAT) {
            let why = format!("runtime {} takes no transactions of version {FORMAT}", self.spec_version());
            return Err(unsupported("transaction", why));
        }
        let unsigned = Unsigned { call: payload(call), runtime: self.clone(), nonce, checkpoint };
        // What cannot be encoded shows now, before anything is signed.
        unsigned.payload()?;
        Ok(unsigned)
    }

    /// Extensions that are unknown here and carry an `Option`: they are left out by `None`. Those that carry nothing
    /// need nothing; those that carry something else stop us.
    fn unknown_options(&self) -> Vec<String> {
        let metadata = self.metadata();
        let none = Value::unnamed_variant("None", []);
        let all = metadata.extrinsic().transaction_extensions_by_version(0).into_iter().flatten();
        let optional = all.filter(|extension| {
            scale_value::scale::encode_as_type(&none, extension.extra_ty(), metadata.types(), &mut Vec::new())
                .is_ok()
        });
        optional
            .map(|extension| extension.identifier().to_owned())
            .filter(|name| !KNOWN.contains(&name.as_str()))
            .collect()
    }
}

/// Extensions that are filled in with what they ask for.
const KNOWN: [&str; 9] = [
    "VerifyMultiSignature",
    "CheckSpecVersion",
    "CheckTxVersion",
    "CheckNonce",
    "CheckGenesis",
    "CheckMortality",
    "ChargeAssetTxPayment",
    "ChargeTransactionPayment",
    "CheckMetadataHash",
];

impl Unsigned {
    /// What is to be signed.
    ///
    /// # Errors
    /// [`crate::chain::ChainError::Unsupported`] where a transaction extension of the runtime is not known here.
    pub fn payload(&self) -> Result<Vec<u8>> {
        self.signable()?.signer_payload().map_err(|error| unsupported("transaction", error.to_string()))
    }

    /// The transaction's bytes with the hotkey's signature.
    ///
    /// # Errors
    /// As [`Unsigned::payload`].
    pub fn sign(&self, signer: &HotkeyPair) -> Result<Vec<u8>> {
        Ok(self.signed(signer)?.into_encoded())
    }

    /// The transaction's bytes with a signature (sr25519) made elsewhere.
    ///
    /// # Errors
    /// As [`Unsigned::payload`].
    pub fn assemble(&self, account: [u8; 32], signature: [u8; 64]) -> Result<Vec<u8>> {
        let assembled = self
            .signable()?
            .sign_with_account_and_signature(&AccountId32(account), &MultiSignature::Sr25519(signature));
        Ok(assembled.map_err(|error| unsupported("transaction", error.to_string()))?.into_encoded())
    }

    pub(super) fn signed(
        &self,
        signer: &HotkeyPair,
    ) -> Result<SubmittableTransaction<SubstrateConfig, Client>> {
        self.signable()?.sign(&Pair(signer)).map_err(|error| unsupported("transaction", error.to_string()))
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The finalised block that its life is counted from.
    pub(super) fn checkpoint(&self) -> BlockRef {
        self.checkpoint
    }

    /// `Pallet.call`, for messages.
    pub(super) fn name(&self) -> String {
        name(&self.call)
    }

    fn signable(&self) -> Result<SignableTransaction<'_, SubstrateConfig, Client, Payload>> {
        let mut parameters = DefaultExtrinsicParamsBuilder::<SubstrateConfig>::new()
            .nonce(self.nonce)
            .mortal_from_unchecked(MORTALITY, self.checkpoint.number, H256(self.checkpoint.hash));
        for name in self.runtime.unknown_options() {
            parameters = parameters.custom_extension(name, Value::unnamed_variant("None", []));
        }
        let transactions = self.runtime.client().tx();
        transactions
            .create_v4_signable_offline(&self.call, parameters.build())
            .map_err(|error| unsupported(self.name(), error.to_string()))
    }
}

/// A hotkey as the library's signer.
struct Pair<'a>(&'a HotkeyPair);

impl Signer<SubstrateConfig> for Pair<'_> {
    fn account_id(&self) -> AccountId32 {
        AccountId32(self.0.public_key())
    }

    fn sign(&self, payload: &[u8]) -> MultiSignature {
        MultiSignature::Sr25519(self.0.sign(payload))
    }
}

fn name(payload: &Payload) -> String {
    format!("{}.{}", payload.pallet_name(), payload.call_name())
}

fn payload(call: &Call) -> Payload {
    let number = |value: u64| Value::u128(value.into());
    let list = |values: &[u16]| Value::unnamed_composite(values.iter().map(|value| number((*value).into())));
    let (pallet, name, arguments) = match call {
        Call::SetCommitment { netuid, data } => {
            let field = Value::unnamed_variant(format!("Raw{}", data.len()), [Value::from_bytes(data)]);
            let info = Value::named_composite([("fields", Value::unnamed_composite([field]))]);
            (COMMITMENTS, "set_commitment", vec![("netuid", number((*netuid).into())), ("info", info)])
        }
        Call::SetWeights { netuid, uids, weights, version_key } => (
            SUBTENSOR,
            "set_mechanism_weights",
            vec![
                ("netuid", number((*netuid).into())),
                ("mecid", number(MECHANISM.into())),
                ("dests", list(uids)),
                ("weights", list(weights)),
                ("version_key", number(*version_key)),
            ],
        ),
        Call::CommitWeights { netuid, commit, reveal_round, version } => (
            SUBTENSOR,
            "commit_timelocked_mechanism_weights",
            vec![
                ("netuid", number((*netuid).into())),
                ("mecid", number(MECHANISM.into())),
                ("commit", Value::from_bytes(commit)),
                ("reveal_round", number(*reveal_round)),
                ("commit_reveal_version", number((*version).into())),
            ],
        ),
    };
    let arguments = arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    subxt::tx::dynamic(pallet, name, Composite::Named(arguments))
}
