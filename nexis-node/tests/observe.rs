//! The pages that a monitor and a supervisor ask for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use nexis_core::report::Verdict;
use nexis_node::observe::{Condition, Health, Metrics, Phase, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An HTTP client of a few lines, so that the pages are read by something else than what writes them.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn the_pages_say_how_the_node_is() {
    let (metrics, health) = (Metrics::new(), Health::new(Duration::from_secs(600), [Condition::Chain]));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), metrics.clone(), health.clone()).await.unwrap();
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async move { drop(stopped.await) }));

    assert_eq!(get(address, "/healthz").await.0, 200);
    let (status, body) = get(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("\"chain\":\"not there yet\""), "{body}");
    health.holds(Condition::Chain);
    assert_eq!(get(address, "/readyz").await.0, 200);

    metrics.decision(Verdict::Reject, &["short_caption:0f"]);
    let (status, body) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("nexis_failures_total{code=\"short_caption\"} 1"), "{body}");
    assert!(body.trim_end().ends_with("# EOF"), "{body}");

    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

/// Every metric that the dashboard draws is one that the node has.
#[test]
fn the_dashboard_draws_what_there_is() {
    let metrics = Metrics::new();
    metrics.decision(Verdict::Reject, &["short_caption"]);
    metrics.phase(Phase::Fetch, Duration::from_secs(1));
    metrics.cache_lookup(true);
    metrics.weight_submission(true);
    let text = metrics.to_text().unwrap();
    let known: BTreeSet<&str> =
        text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split(['{', ' ']).next()).collect();
    let dashboard = include_str!("../deploy/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let mut seen = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in words.filter(|word| word.starts_with("nexis_")) {
                assert!(known.contains(name), "{name} of {expression}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 15);
}
