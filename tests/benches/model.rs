//! Pictures and texts per second at the shape of CLIP ViT-B/32, with random weights.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use nexis_core::model::{ClipModel, ImageText, InstructionSet, LoadOptions, Precision};
use nexis_tests::image_text::lcg_picture;
use nexis_tests::random_clip::{ClipShape, write_random_clip};

/// Pictures of one clip: six frames, three tiles each.
const CROPS: u64 = 18;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    write_random_clip(dir.path(), &ClipShape::VIT_B_32).unwrap();
    let load = |precision, instructions| {
        let options = LoadOptions { precision, instructions, ..LoadOptions::default() };
        ClipModel::load(dir.path(), &options).unwrap()
    };
    // candle's pass beside ours, and ours with every instruction set that is worth waiting for.
    let sets = InstructionSet::available();
    let sets = sets.iter().filter(|set| cfg!(not(target_arch = "x86_64")) || set.name() != "baseline");
    let mut models = vec![("candle f32".to_owned(), load(Precision::F32, None))];
    models.extend(sets.map(|set| (format!("exact-f32 {}", set.name()), load(Precision::Exact, Some(*set)))));
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

    let caption = "two white clouds over the green forest and a small red boat";
    let texts = [caption; 16];
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

/// The processor's name, where the system tells.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown processor", |(_, name)| name).to_owned()
}
