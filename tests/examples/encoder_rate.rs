//! Pictures per second of the vision tower, as one line of JSON for scripts that compare engines.
//!
//! ```text
//! cargo run --release -p nexis-tests --example encoder_rate -- \
//!     [--precision exact|fast|f32] [--seconds N] [--runs N] [--threads N] [--batch N] [--instructions NAME] \
//!     [--shape clip-b-32|siglip-b-16 | --dir MODEL_DIR]
//! ```
//!
//! prints `{"engine":"nexis exact-f32 avx512","images_per_s":[...],"threads":2,"batch":18}`, one rate for each run. A run is
//! as many calls of `encode_image` with `batch` pictures as its share of the seconds takes. Without a folder the model has
//! random weights, in the shape of CLIP's ViT-B/32 where no other is given.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nexis_core::model::registry::kind_of;
use nexis_core::model::{InstructionSet, LoadOptions, Precision};
use nexis_tests::image_text::lcg_picture;
use nexis_tests::random_clip::{ClipShape, write_random_clip, write_random_siglip};

struct Options {
    precision: Precision,
    instructions: Option<InstructionSet>,
    seconds: f64,
    runs: u32,
    threads: usize,
    batch: u64,
    shape: String,
    dir: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options {
        precision: Precision::Exact,
        instructions: None,
        seconds: 5.0,
        runs: 5,
        threads: 0,
        batch: 18,
        shape: "clip-b-32".to_owned(),
        dir: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{name} takes a value"));
        match name.as_str() {
            "--precision" => options.precision = value.parse().unwrap(),
            "--instructions" => {
                let sets = InstructionSet::available();
                let set = sets.iter().find(|set| set.name() == value);
                options.instructions = Some(*set.unwrap_or_else(|| panic!("{value} is not among {sets:?}")));
            }
            "--seconds" => options.seconds = value.parse().unwrap(),
            "--runs" => options.runs = value.parse().unwrap(),
            "--threads" => options.threads = value.parse().unwrap(),
            "--batch" => options.batch = value.parse().unwrap(),
            "--shape" => options.shape = value,
            "--dir" => options.dir = Some(value.into()),
            other => panic!("there is no option {other}"),
        }
    }
    options
}

fn main() {
    let options = options();
    // candle asks this pool or the environment, whatever pool it is called in.
    rayon::ThreadPoolBuilder::new().num_threads(options.threads).build_global().unwrap();
    let drawn = tempfile::tempdir().unwrap();
    let dir = options.dir.unwrap_or_else(|| {
        match options.shape.as_str() {
            "clip-b-32" => write_random_clip(drawn.path(), &ClipShape::VIT_B_32).unwrap(),
            "siglip-b-16" => write_random_siglip(drawn.path(), &ClipShape::SIGLIP_B_16).unwrap(),
            other => panic!("there is no shape {other}"),
        }
        drawn.path().to_owned()
    });
    let (precision, instructions) = (options.precision, options.instructions);
    let load = LoadOptions { precision, instructions, ..LoadOptions::default() };
    let kind = kind_of(&dir).unwrap_or_else(|| panic!("{} is no model's folder", dir.display()));
    let model = nexis_core::model::load(kind, &dir, &load).unwrap();
    let crops: Vec<_> = (0..options.batch).map(|i| lcg_picture(i, model.preprocess().size)).collect();

    let each = Duration::from_secs_f64(options.seconds / f64::from(options.runs));
    let run = |least: Duration| {
        let start = Instant::now();
        let mut pictures = 0;
        while pictures == 0 || start.elapsed() < least {
            model.encode_image(&crops).unwrap();
            pictures += crops.len();
        }
        pictures as f64 / start.elapsed().as_secs_f64()
    };
    run(each / 2);
    let rates: Vec<f64> = (0..options.runs).map(|_| run(each)).collect();
    let engine = match precision {
        Precision::Exact => {
            let set = instructions.unwrap_or_else(InstructionSet::detect);
            format!("nexis {} {}", precision.name(), set.name())
        }
        Precision::F32 => "candle f32".to_owned(),
        other => format!("nexis {}", other.name()),
    };
    let line = serde_json::json!({
        "engine": engine,
        "images_per_s": rates,
        "threads": rayon::current_num_threads(),
        "batch": options.batch,
    });
    println!("{line}");
}
