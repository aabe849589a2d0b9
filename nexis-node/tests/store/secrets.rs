//! No secret in any log line, not even at the level trace.

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use nexis_node::store::ObjectStore;
use nexis_node::store::s3::AccessKeys;
use tracing_subscriber::fmt::MakeWriter;

use crate::{connector, server};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn the_log_at_trace_level_holds_no_secret_and_no_signature() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(captured.clone())
        .finish();
    let (secret, wrong) = ("S3cretOfTheMinerThatMustNotShow", "S3cretThatOpensNothingAtAll");
    let mut errors = String::new();
    tracing::subscriber::with_default(subscriber, || {
        // One thread, so that whatever is logged is logged to the subscriber above.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let root = tempfile::tempdir().unwrap();
            let (server, _) = server(root.path(), "bucket").await;
            let keys = AccessKeys::new("AccessKeyOfTheMiner", secret);
            server.grant(&keys, nexis_node::store::server::Grant::all());
            let store = connector().bucket(&server.endpoint(), "bucket", &keys).unwrap();
            tracing::trace!(?store, ?keys, "the log is on");
            store.put("k", Bytes::from_static(b"v"), "text/plain").await.unwrap();
            store.head("k").await.unwrap();
            let body = store.get("k", None).await.unwrap().unwrap();
            assert_eq!(body.bytes.count().await, 1);
            assert_eq!(store.list("").count().await, 1);
            let refused = AccessKeys::new("AccessKeyOfTheMiner", wrong);
            let refused = connector().bucket(&server.endpoint(), "bucket", &refused).unwrap();
            errors += &format!("{0} {0:?} ", refused.get("k", None).await.err().unwrap());
            errors += &format!("{0} {0:?} ", refused.put("k", Bytes::new(), "").await.unwrap_err());
            server.stop().await;
            errors += &format!("{0} {0:?} ", store.head("k").await.unwrap_err());
        });
    });
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("TRACE") && log.contains("the log is on"));
    for hidden in [secret, wrong, "AccessKeyOfTheMiner/", "Signature="] {
        let at = |text: &str| text.find(hidden).map(|at| text[at.saturating_sub(200)..at].to_owned());
        assert_eq!(at(&log), None, "{hidden} in the log, after this");
        assert_eq!(at(&errors), None, "{hidden} in an error, after this");
    }
}
