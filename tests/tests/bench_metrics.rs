//! Measures of scores against scikit-learn's and scipy's. `tests/fixtures/score/make_bench.py` made the reference
//! values.

use nexis_core::score::bootstrap::Bootstrap;
use nexis_core::score::curves::{Ranking, Rates};
use nexis_core::score::rank::RankPair;
use nexis_core::score::reliability::{cohen_kappa, reliability};
use nexis_tests::reference::{expected, list, numbers};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

/// The cases of one kind.
fn cases(kind: &str) -> Vec<Value> {
    list(&expected("score/bench.json"), kind).to_vec()
}

fn truths(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|x| x.as_bool().unwrap()).collect()
}

fn close(what: &str, got: f64, want: &Value) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() <= TOLERANCE, "{what}: {got} is not {want}");
}

fn all_close(what: &str, got: &[f64], want: &Value) {
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= TOLERANCE, "{what}: {got} is not {want}");
    }
}

#[test]
fn curves_agree_with_scikit_learn() {
    for case in cases("curves") {
        let (scores, truth) = (numbers(&case["scores"]), truths(&case["truth"]));
        let sweep = Ranking::new(&scores, &truth).unwrap().sweep().unwrap();
        close("area", sweep.area(), &case["auc"]);
        close("average precision", sweep.average_precision(), &case["average_precision"]);
        let curve: Vec<Rates> = sweep.curve().collect();
        let of = |figure: fn(&Rates) -> f64| curve.iter().map(figure).collect::<Vec<_>>();
        all_close("thresholds", &of(|r| r.threshold), &case["roc"][0]);
        all_close("false accepts", &of(|r| r.false_accepts), &case["roc"][1]);
        all_close("true accepts", &of(|r| r.true_accepts), &case["roc"][2]);
        // scikit-learn lists precision and recall from the least threshold.
        let rising = |figure: fn(&Rates) -> f64| curve.iter().rev().map(figure).collect::<Vec<_>>();
        all_close("thresholds", &rising(|r| r.threshold), &case["pr"][0]);
        all_close("precision", &rising(|r| r.precision.unwrap()), &case["pr"][1]);
        all_close("recall", &rising(|r| r.true_accepts), &case["pr"][2]);
        all_close("F1", &rising(|r| r.f1), &case["pr"][3]);
        for limit in list(&case, "true_accepts_at") {
            close("true accepts at a rate", sweep.true_accepts_at(limit[0].as_f64().unwrap()), &limit[1]);
        }
    }
}

#[test]
fn reliability_agrees_with_scikit_learn() {
    for case in cases("curves") {
        let got = reliability(&numbers(&case["scores"]), &truths(&case["truth"])).unwrap();
        close("error", got.expected_calibration_error, &case["ece"]);
        close("Brier", got.brier, &case["brier"]);
        let filled: Vec<_> = got.bins.iter().filter(|bin| bin.count > 0).collect();
        all_close(
            "predicted",
            &filled.iter().map(|b| b.predicted).collect::<Vec<_>>(),
            &case["reliability"][0],
        );
        all_close(
            "observed",
            &filled.iter().map(|b| b.observed).collect::<Vec<_>>(),
            &case["reliability"][1],
        );
        let counts: Vec<f64> = got.bins.iter().map(|bin| bin.count as f64).collect();
        all_close("counts", &counts, &case["reliability"][2]);
    }
}

#[test]
fn taus_agree_with_scipy() {
    for case in cases("ranks") {
        let ranks = RankPair::new(&numbers(&case["scores"]), &numbers(&case["ratings"])).unwrap();
        let got = ranks.kendall().unwrap();
        close("tau-b", got.tau_b, &case["tau_b"]);
        close("tau-c", got.tau_c, &case["tau_c"]);
    }
}

#[test]
fn kappa_agrees_with_scikit_learn() {
    for case in cases("kappa") {
        close("kappa", cohen_kappa(&truths(&case["a"]), &truths(&case["b"])).unwrap(), &case["kappa"]);
    }
}

#[test]
fn intervals_by_group_are_those_of_the_same_resamples_in_numpy() {
    for case in cases("curves") {
        let ranking = Ranking::new(&numbers(&case["scores"]), &truths(&case["truth"])).unwrap();
        let groups: Vec<usize> = numbers(&case["groups"]).iter().map(|g| *g as usize).collect();
        let bootstrap = Bootstrap { seed: 77, resamples: 200 };
        let [interval] = bootstrap
            .intervals(30, |times| [ranking.weighed(|i| times[groups[i]]).map(|sweep| sweep.area())]);
        let interval = interval.unwrap();
        all_close("interval", &[interval.low, interval.high], &case["auc_interval"]);
    }
}
