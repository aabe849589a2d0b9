//! Model directories that are incomplete, damaged or absurd: refused with a message, never a panic.

use std::path::Path;

use nexis_core::Error;
use nexis_core::model::registry::ModelKind;
use nexis_core::model::{DualEncoder, ImageText, LoadOptions, OpenClipModel};
use nexis_tests::image_text::lcg_picture;
use nexis_tests::random_clip::models;
use serde_json::{Value, json};

const FILES: [&str; 4] = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"];
const OPEN_CLIP: [&str; 3] = ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"];

fn load(dir: &Path) -> Result<DualEncoder, Error> {
    DualEncoder::load(dir, &LoadOptions::default())
}

fn load_open_clip(dir: &Path) -> Result<OpenClipModel, Error> {
    OpenClipModel::load(dir, &LoadOptions::default())
}

/// A copy of a tiny model, to be spoilt.
fn copy(name: &str) -> tempfile::TempDir {
    nexis_tests::copied(models().join(name))
}

/// That loading fails as a fault of the model, with all these words in the message.
fn refused(dir: &Path, words: &[&str]) {
    said(load(dir).err(), words);
}

/// The same for a MobileCLIP.
fn refused_open_clip(dir: &Path, words: &[&str]) {
    said(load_open_clip(dir).err(), words);
}

fn said(error: Option<Error>, words: &[&str]) {
    let Some(error) = error else { panic!("loaded, though {words:?} was expected") };
    let text = error.to_string();
    assert!(matches!(error, Error::Model { .. }), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn committed_registry_names_the_demonstration_model() {
    let root = nexis_tests::root().join("models");
    let listed = nexis_core::model::registry::list(&vec![root].into()).unwrap();
    let demo = listed.iter().find(|location| location.id == "demo").unwrap();
    let mobile = listed.iter().find(|location| location.kind == ModelKind::Mobileclip).unwrap();
    assert_eq!(mobile.obstacle(), None);
    // What its licence allows is said wherever it is listed.
    assert!(mobile.entry.as_ref().unwrap().note.contains("research only"));
    assert!(demo.demonstration() && demo.directory.ends_with("models/demo"));
    // What can be fetched and run has every file that loading asks for, its weights bounded.
    let runs = listed.iter().filter(|location| location.obstacle().is_none());
    for (kind, hub) in
        runs.filter_map(|location| Some((location.kind, location.entry.as_ref()?.hub.as_ref()?)))
    {
        let has = |name: &str| hub.files.iter().any(|file| file.name == name);
        let is_weights = |name: &str| name.ends_with(".safetensors") || name.ends_with(".gguf");
        if kind == ModelKind::Moondream {
            let weights = hub.files.iter().filter(|file| file.name.ends_with(".gguf")).count();
            assert!(has("tokenizer.json") && weights == 1, "{}", hub.repository);
        } else {
            let files = if kind == ModelKind::Mobileclip { &OPEN_CLIP[..] } else { &FILES };
            for name in files.iter().copied() {
                // A judge's weights may come in parts, with a list of them.
                let parts = name == "model.safetensors" && has("model.safetensors.index.json");
                assert!(has(name) || parts, "{} lacks {name}", hub.repository);
            }
        }
        let mut weights = hub.files.iter().filter(|file| is_weights(&file.name));
        let bounded = weights.all(|file| file.bytes.or(file.at_most).is_some());
        assert!(bounded, "{}: the size of its weights is not stated", hub.repository);
    }
    // What does not run says why.
    let reason = |id: &str| listed.iter().find(|location| location.id == id).unwrap().obstacle();
    for id in ["openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14-336"] {
        assert!(reason(id).unwrap().contains("pickle"), "{id}");
    }
    assert_eq!(reason("santiagomed/candle-moondream"), None);
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
        ("preprocessor_config.json", "/resample", json!(1), "resample"),
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
fn siglip_folders_that_do_not_fit_are_refused() {
    let huge = json!(4_000_000_000_u64);
    for (file, pointer, value, words) in [
        ("config.json", "/model_type", json!("siglip2"), "fixed resolution"),
        ("config.json", "/model_type", json!("align"), "model_type"),
        ("config.json", "/text_config/hidden_size", huge.clone(), "text_config.hidden_size"),
        ("config.json", "/text_config/hidden_size", json!(8192), "shape"),
        ("config.json", "/text_config/vocab_size", json!(1_048_576), "token_embedding"),
        ("config.json", "/text_config/vocab_size", json!(50), "vocab_size 50"),
        ("config.json", "/text_config/max_position_embeddings", json!(63), "position_embedding"),
        ("config.json", "/text_config/projection_size", json!(41), "projection_size"),
        ("config.json", "/text_config/hidden_act", json!("gelu_fast"), "hidden_act"),
        ("config.json", "/text_config/num_attention_heads", json!(7), "num_attention_heads"),
        ("config.json", "/vision_config/hidden_size", json!(80), "projection_size"),
        ("config.json", "/vision_config/intermediate_size", json!(97), "mlp.fc1"),
        ("config.json", "/vision_config/num_hidden_layers", huge, "num_hidden_layers"),
        ("config.json", "/vision_config/num_hidden_layers", json!(64), "layers.2"),
        ("config.json", "/vision_config/patch_size", json!(4), "embeddings"),
        ("config.json", "/vision_config/vision_use_head", json!(false), "vision_use_head"),
        ("config.json", "/vision_config/image_size", json!(64), "image_size 64"),
        ("preprocessor_config.json", "/resample", json!(1), "resample"),
        ("preprocessor_config.json", "/size", json!({ "shortest_edge": 32 }), "size"),
        (
            "preprocessor_config.json",
            "/image_processor_type",
            json!("Siglip2ImageProcessor"),
            "image_processor",
        ),
        ("tokenizer.json", "/post_processor", Value::Null, "end token"),
        (
            "tokenizer.json",
            "/post_processor/special_tokens/<~1s>/ids/0",
            json!(4_000_000),
            "token id 4000000",
        ),
        ("tokenizer.json", "/model/unk_id", json!(500), "tokenizer.json"),
        ("tokenizer.json", "/model/vocab", json!([]), "tokenizer.json"),
        (
            "tokenizer.json",
            "/model",
            json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" }),
            "Unigram",
        ),
    ] {
        let dir = copy("siglip_f32");
        edit(&dir.path().join(file), pointer, value);
        refused(dir.path(), &[words]);
    }
    // What a text is filled up with has to be a token, and has to be known.
    let dir = copy("siglip2_bf16");
    let path = dir.path().join("tokenizer.json");
    let padding = json!({
        "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 4_000_000_000_u32, "pad_type_id": 0, "pad_token": "<pad>",
    });
    edit(&path, "/padding", padding);
    refused(dir.path(), &["tokenizer.json", "fill a text up"]);

    let dir = copy("siglip_f32");
    let path = dir.path().join("model.safetensors");
    let good = std::fs::read(&path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(good[..8].try_into().unwrap())).unwrap();
    let text = std::str::from_utf8(&good[8..8 + header]).unwrap();
    for (from, to, words) in [
        ("\"logit_bias\"", "\"logit_bios\"", &["logit_bias", "not in the file"][..]),
        ("vision_model.head.probe", "vision_model.head.prope", &["head.probe"]),
        ("text_model.head.bias", "text_model.head.bios", &["text_model.head.bias"]),
        ("\"shape\":[120,40]", "\"shape\":[40,120]", &["in_proj_weight", "shape", "[120, 40]"]),
    ] {
        assert!(text.contains(from), "{from}");
        let bad = [&good[..8], text.replace(from, to).as_bytes(), &good[8 + header..]].concat();
        std::fs::write(&path, bad).unwrap();
        refused(dir.path(), &[&["model.safetensors"], words].concat());
    }
}

#[test]
fn a_siglip_without_what_its_file_says_of_padding_is_filled_up_all_the_same() {
    let texts = ["a small red boat", ""];
    for (name, pad) in [("siglip_f32", 1), ("siglip2_bf16", 0)] {
        let plain = load(&models().join(name)).unwrap().encode_text(&texts).unwrap();
        let dir = copy(name);
        let padding = |id: u32| {
            json!({
                "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": id, "pad_type_id": 0, "pad_token": "x",
            })
        };
        edit(&dir.path().join("tokenizer.json"), "/padding", padding(pad));
        assert_eq!(load(dir.path()).unwrap().encode_text(&texts).unwrap(), plain, "{name}");
        edit(&dir.path().join("tokenizer.json"), "/padding", padding(3));
        assert_ne!(load(dir.path()).unwrap().encode_text(&texts).unwrap(), plain, "{name}");
    }
}

/// Gives the header of a folder's weights to `change`, which writes another.
fn change_header(path: &Path, change: impl FnOnce(&str) -> String) {
    let good = std::fs::read(path).unwrap();
    let header = usize::try_from(u64::from_le_bytes(good[..8].try_into().unwrap())).unwrap();
    let text = change(std::str::from_utf8(&good[8..8 + header]).unwrap());
    let bad = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &good[8 + header..]].concat();
    std::fs::write(path, bad).unwrap();
}

#[test]
fn mobileclip_folders_that_do_not_fit_are_refused() {
    let huge = json!(4_000_000_000_u64);
    let [vision, text, pictures] = ["/model_cfg/vision_cfg", "/model_cfg/text_cfg", "/preprocess_cfg"];
    for (section, key, value, words) in [
        ("/model_cfg", "custom_text", json!(false), "custom_text"),
        ("/model_cfg", "embed_dim", json!(21), "text.text_projection"),
        ("/model_cfg", "embed_dim", huge.clone(), "embed_dim"),
        ("/model_cfg", "init_logit_bias", json!(-10), "init_logit_bias"),
        ("/model_cfg", "multimodal_cfg", json!({}), "multimodal_cfg"),
        (vision, "timm_model_name", json!("fastvit_mci3"), "fastvit_mci1"),
        (vision, "timm_model_name", json!("vit_base_mci_224"), "timm_model_name"),
        (vision, "timm_model_name", Value::Null, "timm_model_name"),
        (vision, "timm_pool", json!("token"), "timm_pool"),
        (vision, "timm_proj", json!("linear"), "timm_proj"),
        (vision, "image_size", huge.clone(), "image_size"),
        (vision, "image_size", json!([64, 64]), "image_size"),
        (vision, "attentional_pool", json!(true), "attentional_pool"),
        (vision, "timm_model_kwargs", json!({ "layers": [1, 2, 1] }), "layers"),
        (vision, "timm_model_kwargs", json!({ "layers": [1, 2, 1, 4_000_000_000_u64] }), "layers"),
        (vision, "timm_model_kwargs", json!({ "layers": [1, 2, 1, 0] }), "layers"),
        (vision, "timm_model_kwargs", json!({ "embed_dims": [8, 16, 24, 64] }), "embed_dims"),
        (vision, "timm_model_kwargs", json!({ "embed_dims": [8, 16, 16, 48] }), "embed_dims"),
        (vision, "timm_model_kwargs", json!({ "embed_dims": [8192, 8192, 8192, 8192] }), "shape"),
        (vision, "timm_model_kwargs", json!({ "mlp_ratios": [3, 3, 3, -1] }), "mlp_ratios"),
        (vision, "timm_model_kwargs", json!({ "mlp_ratios": [3, 3, 3, 0.001] }), "mlp_ratios"),
        (vision, "timm_model_kwargs", json!({ "cls_ratio": 3 }), "cls_ratio"),
        (vision, "timm_model_kwargs", Value::Null, "shape"),
        (text, "width", json!(6144), "shape"),
        (text, "width", huge.clone(), "width"),
        (text, "heads", json!(7), "heads"),
        (text, "layers", json!(64), "resblocks.2"),
        (text, "vocab_size", json!(1_048_576), "token_embedding"),
        (text, "vocab_size", json!(100), "vocab_size 100"),
        (text, "context_length", json!(78), "positional_embedding"),
        (text, "mlp_ratio", json!(-1), "mlp_ratio"),
        (text, "mlp_ratio", json!(3), "c_fc"),
        (text, "pool_type", json!("last"), "pool_type"),
        (text, "embed_cls", json!(true), "embed_cls"),
        (text, "hf_tokenizer_name", json!("maker/other"), "hf_tokenizer_name"),
        (text, "no_causal_mask", json!("yes"), "no_causal_mask"),
        (pictures, "interpolation", json!("random"), "interpolation"),
        (pictures, "resize_mode", json!("longest"), "resize_mode"),
        (pictures, "size", json!(224), "size"),
        (pictures, "size", json!([]), "size"),
        (pictures, "mean", json!([0, 0]), "mean"),
        (pictures, "std", json!([1, 0, 1]), "std"),
        (pictures, "mode", json!("L"), "mode"),
    ] {
        let dir = copy("mobileclip_f32");
        let path = dir.path().join("open_clip_config.json");
        let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        file.pointer_mut(section).unwrap()[key] = value;
        std::fs::write(&path, file.to_string()).unwrap();
        refused_open_clip(dir.path(), &[words]);
    }
    // Where it is not said, open_clip would put a layer of its own there.
    let dir = copy("mobileclip_f32");
    let path = dir.path().join("open_clip_config.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file.pointer_mut(vision).unwrap().as_object_mut().unwrap().remove("timm_proj");
    std::fs::write(&path, file.to_string()).unwrap();
    refused_open_clip(dir.path(), &["timm_proj"]);
    // Maps beyond all bounds, whatever the weights hold.
    for (size, width) in [(1024, 2048), (1024, 8192)] {
        let dir = copy("mobileclip_f32");
        let path = dir.path().join("open_clip_config.json");
        edit(&path, "/model_cfg/vision_cfg/image_size", json!(size));
        edit(
            &path,
            "/model_cfg/vision_cfg/timm_model_kwargs/embed_dims",
            json!([width, width, width, width]),
        );
        refused_open_clip(dir.path(), &["image_size", "values"]);
    }
    for file in ["open_clip_config.json", "tokenizer.json"] {
        let dir = copy("mobileclip_f32");
        for text in ["", "[", "[]", "\u{0}", "null"] {
            std::fs::write(dir.path().join(file), text).unwrap();
            refused_open_clip(dir.path(), &[file]);
        }
        std::fs::write(dir.path().join(file), "[".repeat(100_000)).unwrap();
        refused_open_clip(dir.path(), &[file]);
    }
}

#[test]
fn a_mobileclip_lacks_nothing_that_it_is_made_of() {
    refused_open_clip(Path::new("no/such/model"), &["no directory"]);
    for name in OPEN_CLIP {
        let dir = copy("mobileclip_bf16");
        std::fs::remove_file(dir.path().join(name)).unwrap();
        refused_open_clip(dir.path(), &[name, "missing"]);
    }
    let weights = |dir: &tempfile::TempDir| dir.path().join(OPEN_CLIP[1]);
    // Every tensor is asked for but the counters of training, and none may be another's shape.
    let bytes = std::fs::read(models().join("mobileclip_bf16").join(OPEN_CLIP[1])).unwrap();
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let names: Vec<&String> =
        header.as_object().unwrap().keys().filter(|name| *name != "__metadata__").collect();
    assert!(names.len() > 150);
    for name in names {
        let dir = copy("mobileclip_bf16");
        change_header(&weights(&dir), |text| text.replace(&format!("\"{name}\""), &format!("\"{name}s\"")));
        if name.ends_with("num_batches_tracked") {
            load_open_clip(dir.path()).unwrap();
        } else {
            refused_open_clip(dir.path(), &[OPEN_CLIP[1], name, "not in the file"]);
        }
    }
    let dir = copy("mobileclip_f32");
    let mut bytes = std::fs::read(weights(&dir)).unwrap();
    let good = bytes.clone();
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let offsets: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let mut set = |values: &[(&str, f32)]| {
        bytes.clone_from(&good);
        for (name, value) in values {
            let at = |i: usize| {
                header + usize::try_from(offsets[*name]["data_offsets"][i].as_u64().unwrap()).unwrap()
            };
            bytes[at(0)..at(1)].chunks_exact_mut(4).for_each(|to| to.copy_from_slice(&value.to_le_bytes()));
        }
        std::fs::write(weights(&dir), &bytes).unwrap();
    };
    let [weight, mean, variance] = ["weight", "running_mean", "running_var"]
        .map(|part| format!("visual.trunk.stages.1.blocks.0.mlp.conv.bn.{part}"));
    set(&[(&variance, -0.5)]);
    refused_open_clip(dir.path(), &["running_var", "below zero"]);
    set(&[(&mean, f32::NAN)]);
    refused_open_clip(dir.path(), &["running_mean", "not finite"]);
    set(&[(&variance, 0.0)]);
    load_open_clip(dir.path()).unwrap();
    // All of them finite, and what they are folded into is not.
    set(&[(&variance, 0.0), (&weight, 3e38)]);
    refused_open_clip(dir.path(), &["mlp.conv", "range of f32"]);
    set(&[("logit_scale", 1000.0)]);
    refused_open_clip(dir.path(), &["logit_scale"]);
    // Embeddings that overflow are the model's fault too.
    set(&[("visual.trunk.head.fc.weight", 3e38)]);
    let model = load_open_clip(dir.path()).unwrap();
    let error = model.encode_image(&[lcg_picture(0, model.preprocess().size)]).unwrap_err();
    assert!(matches!(error, Error::Model { .. }) && error.to_string().contains(OPEN_CLIP[1]), "{error}");
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
fn a_text_has_the_same_tokens_each_time_though_the_file_has_the_dropout_of_training() {
    for name in ["quick_f32", "siglip2_bf16"] {
        let dir = copy(name);
        edit(&dir.path().join("tokenizer.json"), "/model/dropout", json!(0.9));
        let (plain, dropping) = (load(&models().join(name)).unwrap(), load(dir.path()).unwrap());
        let text = "a small red boat on a calm lake under a cloudy sky in the evening";
        for _ in 0..5 {
            assert_eq!(dropping.tokenize(text).unwrap(), plain.tokenize(text).unwrap(), "{name}");
        }
    }
}

#[test]
fn added_tokens_that_are_not_called_special_are_no_tokens_of_a_caption() {
    for name in ["quick_f32", "siglip_f32", "siglip2_bf16"] {
        let dir = copy(name);
        let path = dir.path().join("tokenizer.json");
        let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let added = file["added_tokens"].as_array_mut().unwrap();
        added.push(json!({
            "id": 7, "content": "<table>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false,
        }));
        std::fs::write(&path, file.to_string()).unwrap();
        let (plain, more) = (load(&models().join(name)).unwrap(), load(dir.path()).unwrap());
        for text in ["a <table> b", "<TABLE>"] {
            assert_eq!(more.tokenize(text).unwrap(), plain.tokenize(text).unwrap(), "{name}: {text}");
        }
    }
}

#[test]
fn enormous_texts_are_refused_before_they_are_tokenized() {
    let model = load(&models().join("quick_bf16")).unwrap();
    assert!(matches!(model.tokenize(&"a ".repeat(1 << 20)), Err(Error::Usage { .. })));
}
