//! Stores: what every one of them must do, what they make of servers that fail or lie, and what the core is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod cache;
mod contract;
mod faults;
mod fetch;
mod liar;
mod secrets;

use std::time::Duration;

use nexis_node::store::s3::{AccessKeys, S3Connector, S3Settings, S3Store};
use nexis_node::store::server::{Grant, S3Server};

/// A connector that does not wait long.
pub(crate) fn connector() -> S3Connector {
    S3Connector::new(S3Settings {
        stall_timeout: Duration::from_millis(400),
        backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(20),
        ..S3Settings::default()
    })
}

/// A connector that waits as the node does.
pub(crate) fn garage_connector() -> S3Connector {
    S3Connector::new(S3Settings::default())
}

pub(crate) fn owner_keys() -> AccessKeys {
    AccessKeys::new("owner", "the-owner's-secret")
}

/// A server over a folder with one bucket, which the owner's keys open.
pub(crate) async fn server(root: &std::path::Path, bucket: &str) -> (S3Server, S3Store) {
    let server = S3Server::start(root).await.unwrap();
    server.create_bucket(bucket).unwrap();
    server.grant(&owner_keys(), Grant::all());
    let store = connector().bucket(&server.endpoint(), bucket, &owner_keys()).unwrap();
    (server, store)
}

/// Bytes that no two positions share a neighbourhood of.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}
