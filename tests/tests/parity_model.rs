//! CLIP against transformers on tiny random models; expected values by `fixtures/models/make_models.py`.

use nexis_core::hash::Digest;
use nexis_core::model::{Crop, DualEncoder, ImageText, LoadOptions, Precision};
use nexis_tests::image_text::{contract, lcg_picture};
use nexis_tests::parity;
use nexis_tests::random_clip::{ClipShape, TowerShape, models, write_random_clip};
use nexis_tests::reference::{ids, list};
use serde_json::Value;

const VARIANTS: [&str; 4] = ["quick_f32", "gelu_f16_legacy", "quick_bf16", "gelu_f32_unknown_is_end"];

fn load(name: &str) -> (DualEncoder, Value) {
    parity::load(name, Precision::default())
}

#[test]
fn tokens_are_those_of_transformers() {
    for name in VARIANTS {
        let (model, expected) = load(name);
        assert!(list(&expected, "texts").len() >= 60);
        for entry in list(&expected, "texts") {
            let text = entry["text"].as_str().unwrap();
            let mut reference = ids(&entry["ids"]);
            let tokens = model.tokens(text).unwrap();
            // Where the unknown token is the end token, transformers ends the text at an unknown symbol.
            let inside = usize::try_from(entry["special_inside"].as_u64().unwrap()).unwrap();
            if inside > 0 {
                assert_eq!(name, "gelu_f32_unknown_is_end", "{text:?}");
                let (begin, end) = (reference[0], *reference.last().unwrap());
                reference.retain(|id| *id != begin && *id != end);
                reference.insert(0, begin);
                reference.push(end);
                assert!(tokens.unknown >= inside, "{name}: {text:?}");
            }
            assert_eq!(tokens.ids, reference, "{name}: {text:?}");
            assert_eq!(model.tokenize(text).unwrap(), reference);
        }
    }
}

#[test]
fn special_tokens_in_a_caption_are_text() {
    for name in VARIANTS {
        let (model, _) = load(name);
        let empty = model.tokenize("").unwrap();
        let [begin, end] = empty[..] else { panic!("{name}: {empty:?}") };
        for text in
            ["<|endoftext|>", "a <|endoftext|> b", "<|startoftext|>", "a<|endoftext|>", "<|ENDOFTEXT|>"]
        {
            // The same words and signs, which with spaces between them spell no special token.
            let apart = text.replace("<|", " <| ").replace("|>", " |> ");
            assert_eq!(model.tokens(text).unwrap(), model.tokens(&apart).unwrap(), "{name}: {text:?}");
            let ids = model.tokenize(text).unwrap();
            assert!(ids.len() > 2, "{name}: {text:?} is gone");
            assert_eq!((ids[0], ids[ids.len() - 1]), (begin, end));
        }
    }
    // What stands behind it is read.
    for name in ["quick_f32", "quick_bf16", "gelu_f32_unknown_is_end"] {
        let rows = load(name).0.encode_text(&["a <|endoftext|> b", "a <|endoftext|> c"]).unwrap();
        assert_ne!(rows.row(0), rows.row(1), "{name}");
    }
}

#[test]
fn unknown_symbols_are_counted() {
    assert_eq!(load("quick_f32").0.tokens("a \u{1f30a} \u{6cb3}").unwrap().unknown, 0);
    for name in ["gelu_f16_legacy", "gelu_f32_unknown_is_end"] {
        let (model, _) = load(name);
        assert_eq!(model.tokens("a river").unwrap().unknown, 0, "{name}");
        assert_eq!(model.tokens("a river, a lake.").unwrap().unknown, 2, "{name}");
    }
}

#[test]
fn pixel_values_are_those_of_transformers_to_the_bit() {
    for name in VARIANTS {
        let (model, expected) = load(name);
        parity::pixel_values(name, &model, &expected);
    }
}

#[test]
fn embeddings_and_logits_are_those_of_transformers() {
    for (name, precision) in
        VARIANTS.iter().flat_map(|name| [(*name, Precision::Exact), (*name, Precision::F32)])
    {
        let (model, expected) = parity::load(name, precision);
        parity::embeddings_and_logits(name, &model, &expected);
        let long = |entry: &&Value| entry["special_inside"] == 0 && entry["embedding"].is_null();
        let long: Vec<_> = list(&expected, "texts").iter().filter(long).collect();
        parity::long_texts_are_refused(name, &model, &long);
    }
}

#[test]
fn identity_names_the_bytes_that_were_read() {
    let dir = models().join("quick_bf16");
    let options = LoadOptions { id: Some("tiny".to_owned()), ..LoadOptions::default() };
    let model = DualEncoder::load(&dir, &options).unwrap();
    let identity = model.identity();
    assert_eq!((identity.id.as_str(), identity.architecture.as_str()), ("tiny", "clip"));
    assert_eq!((identity.device.as_str(), identity.precision.as_str()), ("cpu", "exact-f32"));
    let names: Vec<&str> = identity.digests.keys().map(String::as_str).collect();
    assert_eq!(names, ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]);
    for (name, digest) in &identity.digests {
        assert_eq!(*digest, Digest::of(std::fs::read(dir.join(name)).unwrap()));
    }
}

#[test]
fn tiny_models_keep_the_contract() {
    for name in VARIANTS {
        contract(&load(name).0);
    }
}

/// Large enough that products are shared out between threads and summed in more than one stretch.
const WIDE: ClipShape = ClipShape {
    image: 112,
    patch: 16,
    vision: TowerShape { width: 256, intermediate: 1280, heads: 4, layers: 2 },
    text: TowerShape { width: 192, intermediate: 1280, heads: 3, layers: 2 },
    vocabulary: 1000,
    projection: 128,
};

const CAPTIONS: [&str; 5] = [
    "a",
    "a small red boat on the lake",
    "three birds fly over the mountains in the evening light",
    "people walk through a busy street of the city past tall buildings and yellow cars in heavy rain",
    "",
];

type Bits = Vec<Vec<u32>>;

/// Every bit of `count` pictures and of as many captions, from a start on and in one call.
fn embeddings(model: &DualEncoder, from: usize, count: usize) -> (Bits, Bits) {
    let size = model.preprocess().size;
    let crops: Vec<Crop> = (from..from + count).map(|i| lcg_picture(i as u64 % 16, size)).collect();
    let texts: Vec<&str> = (from..from + count).map(|i| CAPTIONS[i % CAPTIONS.len()]).collect();
    let bits = |rows: ndarray::Array2<f32>| {
        rows.rows().into_iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
    };
    (bits(model.encode_image(&crops).unwrap()), bits(model.encode_text(&texts).unwrap()))
}

#[test]
fn bits_do_not_depend_on_threads_or_neighbours() {
    // candle asks RAYON_NUM_THREADS how many threads a product gets, whatever pool it runs in: that
    // half of the test runs in processes of their own, which write what they found to this file.
    const RESULT: &str = "NEXIS_TEST_RESULT";
    let dir = tempfile::tempdir().unwrap();
    write_random_clip(dir.path(), &WIDE).unwrap();
    let model = DualEncoder::load(dir.path(), &LoadOptions::default()).unwrap();
    let digest = |model: &DualEncoder| Digest::of(format!("{:?}", embeddings(model, 0, 16))).to_string();
    if let Some(path) = std::env::var_os(RESULT) {
        std::fs::write(path, digest(&model)).unwrap();
        return;
    }

    let alone: Vec<_> = (0..16).map(|i| embeddings(&model, i, 1)).collect();
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for (from, count) in [(0, 1), (3, 2), (15, 3), (7, 5), (0, 16), (9, 16), (2, 40)] {
            let (images, texts) = pool.install(|| embeddings(&model, from, count));
            for i in 0..count {
                let text = &alone[(from + i) % CAPTIONS.len()].1[0];
                assert_eq!(images[i], alone[(from + i) % 16].0[0], "{threads} threads, picture {from} + {i}");
                assert_eq!(texts[i], *text, "{threads} threads, text {from} + {i}");
            }
        }
    }

    let here = digest(&model);
    for threads in ["1", "2", "5"] {
        let result = dir.path().join(threads);
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bits_do_not_depend_on_threads_or_neighbours"])
            .env("RAYON_NUM_THREADS", threads)
            .env(RESULT, &result)
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(result).unwrap(), here, "RAYON_NUM_THREADS={threads}");
    }
}

#[test]
fn wide_model_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    write_random_clip(dir.path(), &WIDE).unwrap();
    contract(&DualEncoder::load(dir.path(), &LoadOptions::default()).unwrap());
}
