//! Pictures and texts per second at the shape of CLIP ViT-B/32, with random weights, and how far the embeddings of the
//! other precisions are from the exact ones.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use ndarray::{Array2, ArrayView1};
use nexis_core::model::{DualEncoder, ImageText, InstructionSet, LoadOptions, Precision};
use nexis_tests::image_text::lcg_picture;
use nexis_tests::random_clip::{ClipShape, write_random_clip};

/// Pictures of one clip: six frames, three tiles each.
const CROPS: u64 = 18;

const CAPTIONS: [&str; 4] = [
    "two white clouds over the green forest and a small red boat",
    "a wide river runs between tall mountains while three birds fly over the trees in the evening light",
    "people walk through a busy street of the city past yellow cars and tall buildings in heavy rain",
    "snow on a quiet lake",
];

fn main() {
    let dir = tempfile::tempdir().unwrap();
    write_random_clip(dir.path(), &ClipShape::VIT_B_32).unwrap();
    let load = |precision, instructions| {
        let options = LoadOptions { precision, instructions, ..LoadOptions::default() };
        DualEncoder::load(dir.path(), &options).unwrap()
    };
    // candle's pass beside ours, and ours with every instruction set that is worth waiting for.
    let sets = InstructionSet::available();
    let sets = sets.iter().filter(|set| cfg!(not(target_arch = "x86_64")) || set.name() != "baseline");
    let mut models = vec![("candle f32".to_owned(), load(Precision::F32, None))];
    models.extend(sets.map(|set| (format!("exact-f32 {}", set.name()), load(Precision::Exact, Some(*set)))));
    let fast = LoadOptions { precision: Precision::Fast, ..LoadOptions::default() };
    match DualEncoder::load(dir.path(), &fast) {
        Ok(model) => models.push(("fast-bf16".to_owned(), model)),
        Err(why) => println!("fast-bf16 is not measured: {why}"),
    }
    println!(
        "nexis {}, candle 0.11, ViT-B/32 shape, random weights, {} threads, {}",
        env!("CARGO_PKG_VERSION"),
        rayon::current_num_threads(),
        processor(),
    );

    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(2))
        .measurement_time(Duration::from_secs(10));
    let crops: Vec<_> = (0..CROPS).map(|i| lcg_picture(i, 224)).collect();
    let exact = load(Precision::Exact, None);
    for (name, model) in &models {
        let of = |model: &DualEncoder| {
            (model.encode_image(&crops).unwrap(), model.encode_text(&CAPTIONS).unwrap())
        };
        let ((images, texts), (exact_images, exact_texts)) = (of(model), of(&exact));
        let logits = (images.dot(&texts.t()) - exact_images.dot(&exact_texts.t())) * model.logit_scale();
        let (image_mean, image_most) = distances(&images, &exact_images);
        let (text_mean, text_most) = distances(&texts, &exact_texts);
        println!(
            "{name} against exact-f32: 1 - cosine of pictures {image_mean:.1e} on average, {image_most:.1e} at most; of texts \
             {text_mean:.1e}, {text_most:.1e}; largest difference of a logit {:.1e}",
            logits.iter().fold(0.0_f32, |most, x| most.max(x.abs())),
        );
    }
    drop(exact);

    let mut group = criterion.benchmark_group("encode_image");
    for count in [1, crops.len()] {
        group.throughput(Throughput::Elements(count as u64));
        for (name, model) in &models {
            group.bench_function(format!("{count}/{name}"), |b| {
                b.iter(|| model.encode_image(&crops[..count]).unwrap());
            });
        }
    }
    group.finish();

    let texts: Vec<&str> = CAPTIONS.iter().copied().cycle().take(16).collect();
    let mut group = criterion.benchmark_group("encode_text");
    for count in [1, texts.len()] {
        group.throughput(Throughput::Elements(count as u64));
        for (name, model) in &models {
            group.bench_function(format!("{count}/{name}"), |b| {
                b.iter(|| model.encode_text(&texts[..count]).unwrap());
            });
        }
    }
    group.finish();
    criterion.final_summary();
}

/// Mean and largest of one minus the cosine of each two rows of unit length.
fn distances(rows: &Array2<f32>, others: &Array2<f32>) -> (f64, f64) {
    let of = |(a, b): (ArrayView1<'_, f32>, ArrayView1<'_, f32>)| {
        // Half of the squared distance: what is left of 1 - cosine where the cosine itself would round to 1.
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / 2.0
    };
    let all: Vec<f64> = rows.rows().into_iter().zip(others.rows()).map(of).collect();
    (all.iter().sum::<f64>() / all.len() as f64, all.iter().copied().fold(0.0, f64::max))
}

/// The processor's name, where the system tells.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown processor", |(_, name)| name).to_owned()
}
