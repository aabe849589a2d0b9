//! Which clips overlap clips that came before: sources, the global index, pruning (protocol page, 4).

pub mod index;
pub mod prune;
pub mod source;
mod urlparse;

pub use index::{OverlapIndex, ParsedIndex};
pub use prune::{PruneInput, Pruned, prune, prune_across_miners, prune_global};
pub use source::{is_allowed_source, overlap_index_keys, record_info_key, source_identity_key};
