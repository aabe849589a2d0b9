//! Model directories that are incomplete, damaged or absurd: refused with a message, never a panic.

use std::path::Path;

use nexis_core::Error;
use nexis_core::model::{ClipModel, ImageText, LoadOptions};
use nexis_tests::image_text::lcg_picture;
use nexis_tests::random_clip::models;
use serde_json::{Value, json};

const FILES: [&str; 4] = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"];

fn load(dir: &Path) -> Result<ClipModel, Error> {
    ClipModel::load(dir, &LoadOptions::default())
}

/// A copy of a tiny model, to be spoilt.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in FILES {
        std::fs::copy(models().join(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// That loading fails as a fault of the model, with all these words in the message.
fn refused(dir: &Path, words: &[&str]) {
    let Err(error) = load(dir) else { panic!("loaded, though {words:?} was expected") };
    let text = error.to_string();
    assert!(matches!(error, Error::Model { .. }), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn committed_registry_names_the_demonstration_model() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let listed = nexis_core::model::registry::list(&vec![root].into()).unwrap();
    let demo = listed.iter().find(|location| location.id == "demo").unwrap();
    assert!(demo.demonstration() && demo.directory.ends_with("models/demo"));
    // What can be fetched and run has every file that loading asks for, its weights bounded.
    let runs = listed.iter().filter(|location| location.obstacle().is_none());
    for hub in runs.filter_map(|location| location.entry.as_ref()?.hub.as_ref()) {
        for name in FILES {
            let file = hub.files.iter().find(|file| file.name == name);
            assert!(file.is_some(), "{} lacks {name}", hub.repository);
        }
        assert!(hub.known_bytes() > 0, "{}: the size of its weights is not stated", hub.repository);
    }
}

#[test]
fn missing_files_are_named_with_a_remedy() {
    refused(Path::new("no/such/model"), &["no directory"]);
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["config.json", "missing"]);
    for (file, sibling, remedy) in [
        ("model.safetensors", "model.safetensors.index.json", "save them as one"),
        ("model.safetensors", "pytorch_model.bin", "safetensors"),
        ("tokenizer.json", "vocab.json", "CLIPTokenizerFast"),
        ("preprocessor_config.json", "processor_config.json", "CLIPImageProcessor"),
    ] {
        let dir = copy("quick_bf16");
        std::fs::remove_file(dir.path().join(file)).unwrap();
        refused(dir.path(), &[file, "missing"]);
        std::fs::write(dir.path().join(sibling), "{}").unwrap();
        refused(dir.path(), &[file, remedy]);
        std::fs::create_dir(dir.path().join(file)).unwrap();
        refused(dir.path(), &[file, "not a file"]);
    }
}

#[test]
fn damaged_weights_are_refused() {
    let dir = copy("quick_f32");
    let path = dir.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(good[..8].try_into().unwrap())).unwrap();

    for length in [0, 1, 7, 8, 100, 8 + header, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        refused(dir.path(), &["model.safetensors", "damaged", "again"]);
    }
    for huge in [u64::MAX, 1 << 40, 200_000_000] {
        let mut bad = good.clone();
        bad[..8].copy_from_slice(&huge.to_le_bytes());
        std::fs::write(&path, &bad).unwrap();
        refused(dir.path(), &["model.safetensors", "damaged"]);
    }
    for value in [f32::NAN, f32::INFINITY] {
        let mut bad = good.clone();
        let end = bad.len();
        bad[end - 4..].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&path, &bad).unwrap();
        refused(dir.path(), &["model.safetensors", "not finite"]);
    }
    // The same header with another name, type or shape in it.
    let text = std::str::from_utf8(&good[8..8 + header]).unwrap();
    for (from, to, words) in [
        ("\"logit_scale\"", "\"legit_scale\"", &["logit_scale", "not in the file"][..]),
        ("text_model.final_layer_norm.bias", "text_model.final_layer_norm.bios", &["final_layer_norm.bias"]),
        ("\"shape\":[24,48]", "\"shape\":[48,24]", &["visual_projection.weight", "shape", "[24, 48]"]),
        ("\"dtype\":\"F32\"", "\"dtype\":\"I32\"", &["I32", "BF16"]),
    ] {
        assert!(text.contains(from), "{from}");
        let bad = [&good[..8], text.replace(from, to).as_bytes(), &good[8 + header..]].concat();
        std::fs::write(&path, bad).unwrap();
        refused(dir.path(), &[&["model.safetensors"], words].concat());
    }
}

#[test]
fn weights_that_overflow_are_an_error_of_the_model() {
    let dir = copy("quick_f32");
    let path = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let offsets: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    for name in ["text_projection.weight", "visual_projection.weight"] {
        let at =
            |i: usize| header + usize::try_from(offsets[name]["data_offsets"][i].as_u64().unwrap()).unwrap();
        let range = at(0)..at(1);
        for (i, value) in bytes[range].chunks_exact_mut(4).enumerate() {
            let huge = if i % 2 == 0 { 3e38_f32 } else { -3e38 };
            value.copy_from_slice(&huge.to_le_bytes());
        }
    }
    std::fs::write(&path, &bytes).unwrap();
    let model = load(dir.path()).unwrap();
    for error in [
        model.encode_text(&["a"]).unwrap_err(),
        model.encode_image(&[lcg_picture(0, model.preprocess().size)]).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Model { .. }), "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
}

/// Replaces one field of a JSON file, given by its JSON pointer.
fn edit(path: &Path, pointer: &str, value: Value) {
    let mut file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    *file.pointer_mut(pointer).unwrap() = value;
    std::fs::write(path, file.to_string()).unwrap();
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    let huge = json!(4_000_000_000_u64);
    for (file, pointer, value, words) in [
        ("config.json", "/text_config/hidden_size", huge.clone(), "text_config.hidden_size"),
        ("config.json", "/text_config/hidden_size", json!(8192), "shape"),
        ("config.json", "/text_config/vocab_size", json!(1_048_576), "token_embedding"),
        ("config.json", "/text_config/vocab_size", json!(100), "vocab_size 100"),
        ("config.json", "/text_config/max_position_embeddings", json!(78), "position_embedding"),
        ("config.json", "/text_config/eos_token_id", json!(5), "eos_token_id 5"),
        ("config.json", "/vision_config/num_hidden_layers", json!(64), "layers.2"),
        ("config.json", "/vision_config/num_hidden_layers", huge, "num_hidden_layers"),
        ("config.json", "/vision_config/intermediate_size", json!(97), "mlp.fc1"),
        ("config.json", "/vision_config/patch_size", json!(4), "embeddings"),
        ("config.json", "/projection_dim", json!(25), "projection"),
        ("config.json", "/vision_config/image_size", json!(64), "image_size 64"),
        ("preprocessor_config.json", "/resample", json!(2), "resample"),
        ("tokenizer.json", "/post_processor", Value::Null, "begin and end"),
        ("tokenizer.json", "/model/type", json!("Abacus"), "tokenizer.json"),
        ("tokenizer.json", "/model/merges", json!([["zz", "qq"]]), "tokenizer.json"),
    ] {
        let dir = copy("quick_f32");
        edit(&dir.path().join(file), pointer, value);
        refused(dir.path(), &[words]);
    }
    for file in ["config.json", "preprocessor_config.json", "tokenizer.json"] {
        let dir = copy("quick_f32");
        for text in ["", "[", "[]", "\u{0}", "null"] {
            std::fs::write(dir.path().join(file), text).unwrap();
            refused(dir.path(), &[file]);
        }
        std::fs::write(dir.path().join(file), "[".repeat(100_000)).unwrap();
        refused(dir.path(), &[file]);
    }
}

#[test]
fn truncation_and_padding_of_a_tokenizer_file_are_ignored() {
    let dir = copy("quick_f32");
    let path = dir.path().join("tokenizer.json");
    let truncation =
        json!({ "direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0 });
    edit(&path, "/truncation", truncation);
    let padding = json!({
        "strategy": { "Fixed": 77 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 693, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    });
    edit(&path, "/padding", padding);
    let spoilt = load(dir.path()).unwrap();
    let plain = load(&models().join("quick_f32")).unwrap();
    for text in ["a", "a photo of a river in a green forest"] {
        assert_eq!(spoilt.tokenize(text).unwrap(), plain.tokenize(text).unwrap());
    }
}

#[test]
fn special_tokens_that_a_file_calls_ordinary_stay_text() {
    let dir = copy("quick_f32");
    let path = dir.path().join("tokenizer.json");
    edit(&path, "/added_tokens/1/special", json!(false));
    let model = load(dir.path()).unwrap();
    let tokens = model.tokens("a <|endoftext|> b").unwrap();
    assert_eq!(tokens.ids, model.tokenize("a b").unwrap());
    assert_eq!(tokens.unknown, 1);
}

#[test]
fn enormous_texts_are_refused_before_they_are_tokenized() {
    let model = load(&models().join("quick_bf16")).unwrap();
    assert!(matches!(model.tokenize(&"a ".repeat(1 << 20)), Err(Error::Usage { .. })));
}
