//! Intervals, decisions, weights.

use std::collections::BTreeMap;

use nexis_core::overlap::OverlapIndex;
use nexis_core::protocol::IntervalId;
use nexis_core::synth::Attack;
use nexis_node::chain::sim::SubmitFault;
use nexis_node::chain::{Call, Chain};
use nexis_node::state::{IntervalStatus, State, WeightState};
use nexis_node::validator::bundle_folder;
use tokio_util::sync::CancellationToken;

use super::world::{NETUID, START, World, advance_to, decided, follow, hotkey, pair, scaled};

/// Seeds of scenes that the demonstration model was neither trained nor calibrated on.
const ALICES: [u64; 2] = [600_000, 600_001];
const BOBS: [u64; 1] = [600_003];

/// Alice is honest, Bob as given, Carol uploads nothing, Dave commits nonsense, Eve is excluded.
async fn subnet(world: &World, bobs: &[(u64, Option<Attack>)]) {
    world.register_validator();
    for name in ["alice", "bob", "carol", "eve"] {
        world.register(name, None).await;
    }
    world.register("dave", Some(b"my bucket is my castle")).await;
    for (interval, attack) in bobs {
        world.package("alice", *interval, &ALICES, None);
        world.package("bob", *interval, &BOBS, *attack);
    }
}

/// The weights of a submission, calculated here from the decisions alone (protocol page, 5).
fn expected(state: &State, after: Option<IntervalId>, upto: IntervalId, first: u64) -> BTreeMap<String, f64> {
    let mut raw: BTreeMap<String, f64> = BTreeMap::new();
    let mut id = after.map_or(first, |after| after.get() + 100);
    let mut failed = Vec::new();
    while id <= upto.get() {
        for decision in state.decisions(IntervalId::new(id)).unwrap() {
            let passed = decision.passed_sample_count as f64;
            *raw.entry(decision.miner_hotkey.to_string()).or_default() += passed * passed * passed;
            if id == upto.get() && !decision.failures.is_empty() {
                failed.push(decision.miner_hotkey.to_string());
            }
        }
        id += 100;
    }
    for hotkey in failed {
        raw.insert(hotkey, 0.0);
    }
    let total: f64 = raw.values().sum();
    raw.into_iter().map(|(hotkey, score)| (hotkey, if total > 0.0 { score / total } else { 0.0 })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn intervals_are_judged_and_paid_for() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    let bobs = [(6900, None), (7000, None), (7100, None), (7200, None), (7300, Some(Attack::ShortCaption))];
    subnet(&world, &bobs).await;
    let chain = world.chain();
    let mut settings = world.settings();
    settings.validator.exclude.insert(hotkey("eve"));
    let parts = world.parts(&chain, std::sync::Arc::new(nexis_node::validator::NoHook));
    let validator = nexis_node::validator::Validator::new(parts, settings).unwrap();
    for head in [7010, 7102, 7202, 7302, 7402, 7502] {
        advance_to(&chain, head.max(chain.head().number));
        follow(&validator, &chain).await;
    }
    let state = validator.state();
    let none = Vec::<String>::new;
    let always = |id: u64| {
        vec![
            (id, "alice".to_owned(), none(), 2),
            (id, "carol".to_owned(), vec!["missing_submission_files".to_owned()], 0),
            (id, "dave".to_owned(), vec!["missing_committed_read_credentials".to_owned()], 0),
        ]
    };
    for id in [6900, 7000, 7100, 7200] {
        let mut wanted = always(id);
        wanted.insert(1, (id, "bob".to_owned(), none(), 1));
        assert_eq!(decided(state, &[id]), wanted);
    }
    let bobs_last = &decided(state, &[7300])[1];
    assert!(bobs_last.2[0].starts_with("short_caption:"), "{bobs_last:?}");

    // Due at 7200 and 7500: two submissions, whose windows do not overlap.
    let paid = state.weights().unwrap();
    let windows: Vec<_> = paid.iter().map(|w| (w.slot, w.after.map(IntervalId::get), w.upto.get())).collect();
    assert_eq!(windows, [(7200, None, 7000), (7500, Some(7000), 7300)]);
    for record in &paid {
        assert!(matches!(record.outcome, WeightState::Confirmed { .. }), "{record:?}");
        let weights: BTreeMap<_, _> = record.weights.iter().map(|(h, w)| (h.to_string(), *w)).collect();
        assert_eq!(weights, expected(state, record.after, record.upto, 6900));
    }
    // Two rows against one: 8 to 1 in each interval.
    let of = |slot: usize, name: &str| {
        paid[slot].weights.iter().find(|(h, _)| *h == hotkey(name)).map(|(_, w)| *w).unwrap()
    };
    assert_eq!((of(0, "alice"), of(0, "bob")), (16.0 / 18.0, 2.0 / 18.0));
    // Bob failed in the last interval of the second: nothing is left of the two before.
    assert_eq!((of(1, "alice"), of(1, "bob")), (1.0, 0.0));

    // What the chain has is what was decided, over the subnet's places.
    let at = chain.finalized_head().await.unwrap();
    let neurons = chain.metagraph(NETUID, &at).await.unwrap().neurons;
    let dense: Vec<f64> = neurons
        .iter()
        .map(|n| paid[1].weights.iter().find(|(h, _)| *h == n.hotkey).map_or(0.0, |(_, w)| *w))
        .collect();
    let wanted: Vec<(u16, u16)> =
        neurons.iter().map(|n| n.uid).zip(scaled(&dense)).filter(|(_, w)| *w > 0).collect();
    assert_eq!(chain.weights()[&hotkey("validator")], wanted);

    // Evidence of each judged row, and no fetched file left behind.
    let evidence = |id: u64| std::fs::read_dir(world.data().join(format!("evidence/{id}"))).unwrap().count();
    assert_eq!((evidence(6900), evidence(7300)), (3, 3));
    assert_eq!(std::fs::read_dir(world.data().join("cache/runs")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn downtime_is_caught_up_oldest_first_and_not_for_ever() {
    struct Order(std::sync::Mutex<Vec<nexis_node::validator::Step>>);
    impl nexis_node::validator::StepHook for Order {
        fn reached(&self, step: nexis_node::validator::Step) {
            self.0.lock().unwrap().push(step);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.register_validator();
    world.register("carol", None).await;
    let chain = world.chain();
    let mut settings = world.settings();
    settings.validator.look_back = 3;
    settings.validator.keep_intervals = 4;
    let order = std::sync::Arc::new(Order(std::sync::Mutex::default()));
    let parts = world.parts(&chain, order.clone());
    let validator = nexis_node::validator::Validator::new(parts, settings).unwrap();
    follow(&validator, &chain).await;
    advance_to(&chain, 7702);
    follow(&validator, &chain).await;
    let state = validator.state();
    let known: Vec<_> = state.intervals().unwrap().iter().map(|(id, r)| (id.get(), r.status)).collect();
    use IntervalStatus::{Done, Skipped};
    assert_eq!(
        known,
        [
            // Of 6900 to 7100 no more is kept.
            (7200, Skipped),
            (7300, Skipped),
            (7400, Done),
            (7500, Done),
            (7600, Done)
        ]
    );
    // The last submission that is due is made, and only after what it pays for was judged.
    let steps = order.0.lock().unwrap().clone();
    let committed =
        |step: &&nexis_node::validator::Step| **step == nexis_node::validator::Step::IntervalCommitted;
    assert_eq!(steps.iter().filter(committed).count(), 4);
    let windows: Vec<_> = state.weights().unwrap().iter().map(|w| (w.slot, w.upto.get())).collect();
    assert_eq!(windows, [(7500, 7300)]);
    // Nobody scored: UID 0 gets everything.
    assert_eq!(chain.weights()[&hotkey("validator")], [(0, 65535)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_prunes_and_bundles_hold_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    subnet(&world, &[(6900, None)]).await;
    let mut index = OverlapIndex::default();
    let source = nexis_core::synth::source_video_id(ALICES[0]);
    index.insert(format!("https://www.youtube.com/watch?v={source}"), (ALICES[0] % 600) as f64);
    std::fs::write(world.root.join("record_info.json"), index.to_json()).unwrap();
    let chain = world.chain();
    let mut settings = world.settings();
    settings.validator.bundles = true;
    let parts = world.parts(&chain, std::sync::Arc::new(nexis_node::validator::NoHook));
    let validator = nexis_node::validator::Validator::new(parts, settings).unwrap();
    follow(&validator, &chain).await;
    let decisions = validator.state().decisions(IntervalId::new(6900)).unwrap();
    let alice = decisions.iter().find(|d| d.miner_hotkey == hotkey("alice")).unwrap();
    assert_eq!((alice.record_count, alice.pruned_rows, alice.passed_sample_count), (2, 1, 1));
    let record = validator.state().interval(IntervalId::new(6900)).unwrap().unwrap();
    assert_eq!(record.index_sha256, Some(nexis_core::hash::Digest::of(index.to_json())));

    let bundles = bundle_folder(&world.data(), IntervalId::new(6900));
    let manifest = std::fs::read(bundles.join(hotkey("alice").as_str()).join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let rows = std::fs::read(bundles.join(hotkey("alice").as_str()).join("dataset.parquet")).unwrap();
    assert_eq!(manifest["record_count"], 1);
    assert_eq!(manifest["dataset_sha256"], nexis_core::hash::Digest::of(&rows).to_string());
    let mut published: Vec<_> =
        std::fs::read_dir(&bundles).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    published.sort();
    let mut accepted = vec![hotkey("alice").to_string(), hotkey("bob").to_string()];
    accepted.sort();
    assert_eq!(published, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_get_through_faults_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.register_validator();
    world.register("carol", None).await;
    let chain = world.chain();
    let validator = world.validator(&chain);
    follow(&validator, &chain).await;
    advance_to(&chain, 7102);
    follow(&validator, &chain).await;
    let before = chain.transactions();
    // The first try does not arrive; the second is taken, and nobody hears of it.
    chain.faults(|f| f.submits.extend([SubmitFault::FailBefore, SubmitFault::TimeOutAfter]));
    advance_to(&chain, 7202);
    follow(&validator, &chain).await;
    let weights = validator.state().weights().unwrap();
    assert_eq!(weights.len(), 1);
    assert!(matches!(weights[0].outcome, WeightState::Confirmed { .. }), "{weights:?}");
    assert_eq!(chain.transactions() - before, 1, "what was taken unheard was not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_leaves_nothing_and_a_stop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    subnet(&world, &[(6900, None)]).await;
    let chain = world.chain();
    let validator = world.validator(&chain);
    let examined = validator.dry_run(IntervalId::new(6900), &CancellationToken::new()).await.unwrap();
    assert_eq!(examined.report.submissions.iter().filter(|s| s.accepted).count(), 2);
    assert!(validator.state().intervals().unwrap().is_empty());
    assert!(!world.data().join("evidence").exists());

    // Stopped before it begins, the loop ends at once; the interval is judged at the next start.
    let stop = CancellationToken::new();
    stop.cancel();
    validator.run(&stop).await.unwrap();
    assert_eq!(decided(validator.state(), &[6900]).len(), 0);
    let stop = CancellationToken::new();
    let ends = async {
        while decided(validator.state(), &[6900]).is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(validator.run(&stop), ends);
    ran.unwrap();
    assert_eq!(decided(validator.state(), &[6900]).len(), 5);
    assert_eq!(chain.head().number, START + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_confirmed_by_its_reveal_and_a_dropped_one_is_an_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.register_validator();
    world.register("carol", None).await;
    let chain = world.chain();
    chain.configure(|subnet| subnet.commit_reveal = true).unwrap();
    chain.faults(|faults| faults.drop_reveals = true);
    let validator = world.validator(&chain);
    let outcomes = || -> Vec<WeightState> {
        validator.state().weights().unwrap().into_iter().map(|record| record.outcome).collect()
    };
    let mut seen_committed = false;
    let mut head = 7010;
    while !outcomes().iter().any(|outcome| matches!(outcome, WeightState::Failed { .. })) {
        advance_to(&chain, head.max(chain.head().number));
        follow(&validator, &chain).await;
        seen_committed |= outcomes().iter().any(|outcome| matches!(outcome, WeightState::Committed(_)));
        assert!(head < 10_000, "{:?}", outcomes());
        head += 100;
    }
    assert!(seen_committed && chain.weights().is_empty());
    let WeightState::Failed { why } = outcomes()[0].clone() else { panic!("{:?}", outcomes()) };
    assert!(why.contains("not revealed"), "{why}");

    chain.faults(|faults| faults.drop_reveals = false);
    while !outcomes().iter().any(|outcome| matches!(outcome, WeightState::Confirmed { .. })) {
        advance_to(&chain, head.max(chain.head().number));
        follow(&validator, &chain).await;
        assert!(head < 14_000, "{:?}", outcomes());
        head += 100;
    }
    // Carol never uploads; so UID 0 has everything.
    assert_eq!(chain.weights()[&hotkey("validator")], [(0, 65535)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_validator_comes_to_an_interval_does_not_change_who_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path().join("early"));
    world.register_validator();
    world.register("alice", None).await;
    // One handle from here on: it keeps the states of earlier blocks, as a node does.
    let chain = world.chain();
    advance_to(&chain, 7102);
    let early = world.validator(&chain);
    follow(&early, &chain).await;

    chain.register(&hotkey("bob"), 0, false).unwrap();
    let data = b"committed after the interval was due".to_vec();
    chain.submit(&pair("bob"), &Call::SetCommitment { netuid: NETUID, data }).await.unwrap();
    advance_to(&chain, 7140);
    let late = World::new(folder.path().join("late")).validator(&chain);
    follow(&late, &chain).await;

    let none = vec!["missing_submission_files".to_owned()];
    let wanted = vec![(7000, "alice".to_owned(), none, 0)];
    assert_eq!(decided(early.state(), &[7000]), wanted);
    assert_eq!(decided(late.state(), &[7000]), wanted);
    // Bob is there for whoever looks at the head.
    let head = chain.finalized_head().await.unwrap();
    assert!(chain.commitments(NETUID, &head).await.unwrap().contains_key(&hotkey("bob")));
}
