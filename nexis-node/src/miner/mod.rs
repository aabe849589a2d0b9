//! What a miner does after packing: put the package into its bucket, tell the chain how to read it, and look at what
//! validators will see.
//!
//! Packing itself is [`nexis_core::pack`].

mod commit;
mod status;
mod upload;

pub use commit::{CommitOptions, CommitOutcome, commit};
pub use status::{BucketStatus, ChainStatus, Committed, bucket_status, chain_status};
pub use upload::{Upload, UploadOptions, Uploaded};

use crate::chain::ChainError;
use crate::store::StoreError;

/// Why a miner's step was not done.
#[derive(Debug, thiserror::Error)]
pub enum MinerError {
    /// The bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A file of ours, or a setting.
    #[error("{0}")]
    Ours(#[from] nexis_core::Error),
    /// The package on disk is not one that a validator would open; uploading it would cost the interval.
    #[error("{package}: {why}; pack it again")]
    Package {
        /// The interval's folder.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// The bucket holds another package of this interval.
    #[error("{store} already holds another package of interval {interval}; allow replacing it to go on")]
    Occupied {
        /// The bucket.
        store: String,
        /// The interval.
        interval: u64,
    },
    /// After everything was sent, the bucket does not hold it.
    #[error("{store} does not hold {key} as it was sent: {why}; run the upload again")]
    NotThere {
        /// The bucket.
        store: String,
        /// The key.
        key: String,
        /// What is there instead.
        why: String,
    },
    /// The chain took the commitment and yet shows another.
    #[error("the chain shows another commitment than the one that block {block} finalised")]
    NotCommitted {
        /// Block of the transaction.
        block: u64,
    },
}
