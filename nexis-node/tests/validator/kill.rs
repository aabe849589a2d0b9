//! A process killed at each step, again and again, ends where one ends that was left alone.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexis_core::protocol::IntervalId;
use nexis_node::validator::{Step, StepHook, Validator};

use super::world::{World, advance_to, decided, follow, hotkey};

const ROOT: &str = "NEXIS_TEST_KILL_ROOT";
const STEP: &str = "NEXIS_TEST_KILL_STEP";
const INTERVALS: std::ops::RangeInclusive<u64> = 6900..=7400;

async fn prepare(world: &World) {
    world.register_validator();
    for name in ["alice", "bob", "carol"] {
        world.register(name, None).await;
    }
    for (i, interval) in INTERVALS.step_by(100).enumerate() {
        world.package("alice", interval, &[600_000], None);
        // Bob fails every third time.
        let attack = (i % 3 == 2).then_some(nexis_core::synth::Attack::WrongClipDigest);
        world.package("bob", interval, &[600_003], attack);
    }
}

fn settings(world: &World) -> nexis_node::validator::Settings {
    let mut settings = world.settings();
    settings.validator.bundles = true;
    settings
}

/// Ends the process at a step, as kill -9 does: nothing is flushed, nothing is dropped.
struct Abort(Option<Step>, AtomicBool);

impl StepHook for Abort {
    fn reached(&self, step: Step) {
        if Some(step) == self.0 && !self.1.swap(true, Ordering::SeqCst) {
            std::process::abort();
        }
    }
}

/// What the killed process does. Run by the test below, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of being_killed_at_every_step_changes_nothing"]
async fn follow_once() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let step = std::env::var(STEP).unwrap();
    let step = Step::ALL.into_iter().find(|s| s.to_string() == step);
    let world = World::new(root);
    let chain = world.chain();
    let hook = Arc::new(Abort(step, AtomicBool::new(false)));
    let validator = Validator::new(world.parts(&chain, hook), settings(&world)).unwrap();
    follow(&validator, &chain).await;
}

/// Runs the above in another process; whether it came to its end.
fn run(root: &Path, step: Option<Step>) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::follow_once", "--ignored", "--test-threads=1"])
        .env(ROOT, root)
        .env(STEP, step.map(|s| s.to_string()).unwrap_or_default())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => {
            assert!(said.contains("1 passed"), "{said}");
            true
        }
        Some(code) => panic!("status {code}: {said}"),
        None => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn being_killed_at_every_step_changes_nothing() {
    // Left alone.
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    prepare(&world).await;
    let chain = world.chain();
    let validator =
        Validator::new(world.parts(&chain, Arc::new(Abort(None, AtomicBool::new(false)))), settings(&world));
    let validator = validator.unwrap();
    let mut head = 7010;
    while head < 7600 {
        advance_to(&chain, head);
        follow(&validator, &chain).await;
        head += 100;
    }
    let ids: Vec<u64> = INTERVALS.step_by(100).collect();

    // Killed at each step once, then let go on.
    let killed_folder = tempfile::tempdir().unwrap();
    let killed = World::new(killed_folder.path());
    prepare(&killed).await;
    let mut steps = Step::ALL.to_vec();
    let mut head = 7010;
    while head < 7600 {
        advance_to(&killed.chain(), head);
        // As many deaths at this head as there are steps left that it comes to, in whatever order.
        loop {
            let died = steps.iter().position(|step| !run(&killed.root, Some(*step)));
            match died {
                Some(i) => drop(steps.remove(i)),
                None => break,
            }
        }
        assert!(run(&killed.root, None));
        head += 100;
    }
    assert_eq!(steps, [], "steps that were never reached");

    let state = killed.state();
    assert_eq!(decided(&state, &ids), decided(validator.state(), &ids));
    assert_eq!(decided(&state, &ids).len(), ids.len() * 3);
    let paid = |state: &nexis_node::state::State| -> Vec<_> {
        state.weights().unwrap().into_iter().map(|w| (w.slot, w.after, w.upto, w.weights)).collect()
    };
    assert_eq!(paid(&state), paid(validator.state()));
    let killed_chain = killed.chain();
    assert_eq!(killed_chain.weights()[&hotkey("validator")], chain.weights()[&hotkey("validator")]);
    assert_eq!(killed_chain.transactions(), chain.transactions(), "nothing was sent twice");
    for id in ids {
        let files = |world: &World, kind: &str| {
            let mut names: Vec<_> = std::fs::read_dir(world.data().join(kind).join(id.to_string()))
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .filter(|name| !name.to_string_lossy().ends_with(".partial"))
                .collect();
            names.sort();
            names
        };
        assert_eq!(files(&killed, "evidence"), files(&world, "evidence"), "evidence of {id}");
        assert_eq!(files(&killed, "bundles"), files(&world, "bundles"), "bundles of {id}");
    }
    let next = state.next().unwrap();
    assert_eq!(next, validator.state().next().unwrap());
    assert_eq!(next, Some(IntervalId::new(7500)));
}
