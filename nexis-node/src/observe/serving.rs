//! What `nexis serve` counts, in the same registry as everything else.

use std::time::Duration;

use nexis_core::report::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::metrics::verdict_name;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    endpoint: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabel {
    kind: &'static str,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The server's numbers.
pub(super) struct Serving {
    requests: Family<RequestLabel, Counter>,
    seconds: Family<EndpointLabel, Histogram, fn() -> Histogram>,
    in_hand: Gauge,
    answers: Family<AnswerLabel, Counter>,
    passes: Counter,
    pass_seconds: Histogram,
    pass_pictures: Histogram,
    pass_requests: Histogram,
    picture_lookups: Family<OutcomeLabel, Counter>,
}

/// From 1 ms to a minute.
fn request_histogram() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

fn powers() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0])
}

impl Serving {
    pub(super) fn new(r: &mut Registry) -> Self {
        let new = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(request_histogram as fn() -> Histogram),
            in_hand: Gauge::default(),
            answers: Family::default(),
            passes: Counter::default(),
            pass_seconds: request_histogram(),
            pass_pictures: powers(),
            pass_requests: powers(),
            picture_lookups: Family::default(),
        };
        r.register("http_requests", "Requests answered, by endpoint and status", new.requests.clone());
        let help = "Time from a request's headers to its answer";
        r.register_with_unit("http_request", help, Unit::Seconds, new.seconds.clone());
        r.register("http_in_hand", "Requests let in and not answered yet", new.in_hand.clone());
        r.register("answers", "Verdicts given to requests, by kind and verdict", new.answers.clone());
        r.register("forward_passes", "Calls of the model on pictures", new.passes.clone());
        r.register_with_unit("forward_pass", "Time of such a call", Unit::Seconds, new.pass_seconds.clone());
        r.register("forward_pass_pictures", "Pictures in such a call", new.pass_pictures.clone());
        r.register("forward_pass_callers", "Requests in such a call", new.pass_requests.clone());
        let help = "Pictures looked up among the embedded ones";
        r.register("picture_lookups", help, new.picture_lookups.clone());
        new
    }
}

impl Metrics {
    /// A request was answered. `endpoint` is the route, never what a client made of it.
    pub fn request(&self, endpoint: &str, status: u16, took: Duration) {
        let serving = self.serving();
        let endpoint = endpoint.to_owned();
        serving
            .seconds
            .get_or_create(&EndpointLabel { endpoint: endpoint.clone() })
            .observe(took.as_secs_f64());
        serving.requests.get_or_create(&RequestLabel { endpoint, status }).inc();
    }

    /// So many requests are in hand.
    pub fn requests_in_hand(&self, count: usize) {
        self.serving().in_hand.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A request was given a verdict.
    pub fn answer(&self, kind: &'static str, verdict: Verdict) {
        let verdict = verdict_name(verdict);
        self.serving().answers.get_or_create(&AnswerLabel { kind, verdict }).inc();
    }

    /// The model was called once on pictures of so many requests.
    pub fn forward_pass(&self, pictures: usize, requests: usize, took: Duration) {
        let serving = self.serving();
        serving.passes.inc();
        serving.pass_seconds.observe(took.as_secs_f64());
        serving.pass_pictures.observe(pictures as f64);
        serving.pass_requests.observe(requests as f64);
    }

    /// A picture was looked up among the embedded ones.
    pub fn picture_lookup(&self, hit: bool) {
        let outcome = if hit { "hit" } else { "miss" };
        self.serving().picture_lookups.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
