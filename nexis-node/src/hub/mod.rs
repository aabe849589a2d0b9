//! Models from the Hugging Face hub, into the cache that its official clients use.
//!
//! What the official client fetched is found here, and what is fetched here the official client finds: same names, same
//! folders, same links, same locks. The environment is read as it reads it ([`HubSettings::from_environment`]), and
//! `HF_HUB_OFFLINE` means that no connection is opened at all. A model whose commit is known and whose files are there
//! needs none either.
//!
//! A hub is a stranger. Sizes are bounded by the registry before a byte is taken, names by what the registry says,
//! contents by the digest that the hub announces, that the registry states, and that was on record
//! ([`ModelLock`](nexis_core::model::registry::ModelLock)). The token goes to the endpoint and to no other host, and
//! stands in no message.

mod cache;
mod client;
mod error;
mod fetch;
mod file;
mod settings;
mod tls;

pub use error::{HubError, HubErrorKind};
pub use fetch::{FetchObserver, Fetched, FetchedFile, How, fetch};
pub use settings::HubSettings;

/// Result of everything here.
pub type Result<T, E = HubError> = std::result::Result<T, E>;
