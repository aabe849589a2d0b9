//! The contract of `Judge`: every implementation runs [`contract`].

use std::process::Command;

use nexis_core::Error;
use nexis_core::media::Frame;
use nexis_core::model::judge::{Answer, Ask, FRAME_LIMIT, Judge, QUESTION_LIMIT, Question};

/// Frame `index` of a fixed sequence: the high byte of a 64-bit linear congruential generator, as in
/// `fixtures/judges/make_judges.py`.
pub fn lcg_frame(index: u64, width: u32, height: u32, pts_seconds: f64) -> Frame {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(index + 1);
    let rgb: Vec<u8> = (0..width as usize * height as usize * 3)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    Frame { width, height, pts_seconds, rgb: rgb.into() }
}

/// Six frames, `apart` seconds from one another.
pub fn clip(first: u64, width: u32, height: u32, apart: f64) -> Vec<Frame> {
    (0..6).map(|i| lcg_frame(first + i, width, height, i as f64 * apart)).collect()
}

fn bits(judge: &dyn Judge, asks: &[Ask<'_>]) -> Vec<Option<u64>> {
    let answers = judge.answer(asks).unwrap();
    assert_eq!(answers.len(), asks.len());
    answers
        .into_iter()
        .map(|answer| match answer {
            Answer::Yes(p) => {
                assert!((0.0..=1.0).contains(&p), "{p}");
                Some(p.to_bits())
            }
            Answer::TooLong { tokens } => {
                assert!(tokens > QUESTION_LIMIT);
                None
            }
        })
        .collect()
}

/// What every [`Judge`] keeps.
///
/// # Panics
/// Where it does not.
pub fn contract(judge: &dyn Judge) {
    let identity = judge.identity();
    let model = &identity.model;
    assert!(!model.id.is_empty() && !model.architecture.is_empty() && !model.digests.is_empty());
    assert!(!model.device.is_empty() && !model.precision.is_empty());

    let clips = [clip(0, 96, 64, 0.8), clip(6, 64, 96, 0.8), clip(12, 128, 64, 0.5)];
    let long = "a ".repeat(QUESTION_LIMIT + 1);
    let questions = [
        Question::Shows("a river in a green forest"),
        Question::Shows("two white clouds over a city"),
        Question::MainlyNature,
        Question::Other("Is it night?"),
        Question::Shows(&long),
        Question::Shows(""),
    ];
    let asks: Vec<Ask<'_>> = clips
        .iter()
        .flat_map(|frames| questions.iter().map(move |question| Ask { frames, question: question.clone() }))
        .collect();

    // An answer depends on its own frames and words alone: alone, in batches of every size, reversed, repeated.
    let alone: Vec<_> = asks.iter().flat_map(|ask| bits(judge, std::slice::from_ref(ask))).collect();
    assert_eq!(alone.iter().filter(|answer| answer.is_none()).count(), clips.len(), "a question is too long");
    let mut different: Vec<_> = alone.iter().flatten().collect();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > clips.len() * (questions.len() - 1) / 2, "the answers are all alike");
    for size in [1, 2, 5, asks.len() - 1, asks.len()] {
        assert_eq!(bits(judge, &asks[asks.len() - size..]), alone[asks.len() - size..], "batch of {size}");
    }
    let backwards: Vec<Ask<'_>> = asks.iter().rev().cloned().collect();
    let expected: Vec<_> = alone.iter().rev().copied().collect();
    assert_eq!(bits(judge, &backwards), expected);
    assert_eq!(bits(judge, &[asks[1].clone(), asks[1].clone()]), [alone[1], alone[1]]);
    assert!(judge.answer(&[]).unwrap().is_empty());
    // Asked from pools of several sizes; the threads of the products are varied by `over_threads`.
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| bits(judge, &asks)), alone, "from {threads} threads");
    }
    // Asked by several threads at once, each of which waits for the others.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    let together = pool.install(|| {
        use rayon::prelude::*;
        asks.par_iter().map(|ask| bits(judge, std::slice::from_ref(ask))).collect::<Vec<_>>()
    });
    assert_eq!(together.concat(), alone, "one call per thread");

    // A call with a clip that cannot be asked about is refused as a whole.
    let mixed = vec![clips[0][0].clone(), clips[1][0].clone()];
    let many = vec![clips[0][0].clone(); FRAME_LIMIT + 1];
    for frames in [&Vec::new(), &mixed, &many] {
        let call = [asks[0].clone(), Ask { frames, question: Question::MainlyNature }];
        assert!(matches!(judge.answer(&call), Err(Error::Usage { .. })));
    }
}

/// What a [`Judge`] keeps besides that takes frames as a video: their order and their times are part of it.
///
/// # Panics
/// Where they are not.
pub fn order_and_times_matter(judge: &dyn Judge) {
    let frames = clip(0, 96, 64, 0.8);
    let ask = |frames| bits(judge, &[Ask { frames, question: Question::Shows("a river in a green forest") }]);
    let mut turned = frames.clone();
    turned.reverse();
    for (frame, like) in turned.iter_mut().zip(&frames) {
        frame.pts_seconds = like.pts_seconds;
    }
    for other in [&turned, &clip(0, 96, 64, 1.6)] {
        assert_ne!(ask(other), ask(&frames));
    }
}

/// Says to a process started by [`over_threads`] that it is one.
const CHILD: &str = "NEXIS_TEST_THREADS_CHILD";

/// How an answer stands in a line of a child's output.
const LINE: &str = "answers of ";

/// That answers have the same bits whatever the number of threads that products are shared out to. It is settled once
/// per process, from `CANDLE_NUM_THREADS`, `RAYON_NUM_THREADS` or the machine, so that each number has a process of its
/// own: the test of this name, run again. The frames are large enough for products to be shared out.
///
/// # Panics
/// Where answers differ.
pub fn over_threads(test: &str, judges: &[(&str, &dyn Judge)]) {
    if std::env::var_os(CHILD).is_some() {
        let frames = clip(0, 1280, 720, 0.8);
        let caption = "a river in a green forest under a bright blue sky ".repeat(12);
        let questions = [Question::Shows(&caption), Question::MainlyNature];
        let asks = questions.map(|question| Ask { frames: &frames, question });
        for (name, judge) in judges {
            println!("\n{LINE}{name}: {:?}", bits(*judge, &asks));
        }
        return;
    }
    let answers = |threads: &str| -> Vec<String> {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .env_remove("CANDLE_NUM_THREADS")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(
            child.status.success(),
            "{threads} threads: {said}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        said.lines().filter(|line| line.starts_with(LINE)).map(str::to_owned).collect()
    };
    let one = answers("1");
    assert_eq!(one.len(), judges.len(), "{one:?}");
    for threads in ["3", "16"] {
        assert_eq!(answers(threads), one, "{threads} threads");
    }
}
