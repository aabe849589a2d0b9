//! The contract of `ImageText`: every implementation runs [`contract`].

use nexis_core::Error;
use nexis_core::model::{Crop, ImageText};

/// Picture `index` of a fixed sequence: the high byte of a 64-bit linear congruential generator, as in
/// `fixtures/models/make_models.py`.
pub fn lcg_picture(index: u64, size: u32) -> Crop {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(index + 1);
    let rgb = (0..size as usize * size as usize * 3)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    Crop { size, rgb }
}

fn image_bits(model: &dyn ImageText, crops: &[Crop]) -> Vec<Vec<u32>> {
    let rows = model.encode_image(crops).unwrap();
    assert_eq!(rows.nrows(), crops.len());
    rows.rows().into_iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

fn text_bits(model: &dyn ImageText, texts: &[&str]) -> Vec<Vec<u32>> {
    let rows = model.encode_text(texts).unwrap();
    assert_eq!(rows.nrows(), texts.len());
    rows.rows().into_iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect()
}

/// What every [`ImageText`] keeps.
///
/// # Panics
/// Where it does not.
pub fn contract(model: &dyn ImageText) {
    let identity = model.identity();
    assert!(!identity.id.is_empty() && !identity.architecture.is_empty() && !identity.digests.is_empty());
    assert!(!identity.device.is_empty() && !identity.precision.is_empty());
    assert!(model.logit_scale().is_finite() && model.logit_scale() > 0.0);
    let spec = model.preprocess();
    assert!(spec.size > 0 && spec.std.iter().all(|s| *s > 0.0));

    // Nothing in, nothing out, but of the right width.
    let crops: Vec<Crop> = (0..16).map(|i| lcg_picture(i, spec.size)).collect();
    let width = model.encode_image(&crops[..1]).unwrap().ncols();
    assert!(width > 0);
    assert_eq!(model.encode_image(&[]).unwrap().dim(), (0, width));
    assert_eq!(model.encode_text(&[]).unwrap().dim(), (0, width));

    // Unit length.
    let texts = [
        "a river",
        "two white clouds",
        "",
        "a small red boat on the lake",
        "a",
        "Snow!",
        "rain, and a city",
        "the dog",
        "night",
        "a lamp on a table",
        "birds",
        "an orange car",
    ];
    for rows in [model.encode_image(&crops).unwrap(), model.encode_text(&texts).unwrap()] {
        assert_eq!(rows.ncols(), width);
        for row in rows.rows() {
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            assert!((norm - 1.0).abs() < 1e-5, "length {norm}");
        }
    }

    // A row depends on its own input alone: alone, in batches of every size, reversed, repeated.
    let images: Vec<_> = crops.iter().flat_map(|c| image_bits(model, std::slice::from_ref(c))).collect();
    assert!(images.windows(2).all(|pair| pair[0] != pair[1]), "different pictures give the same embedding");
    for size in 1..=crops.len() {
        let from = crops.len() - size;
        assert_eq!(image_bits(model, &crops[from..]), images[from..], "batch of {size}");
    }
    let backwards: Vec<Crop> = crops.iter().rev().cloned().collect();
    let mut expected = images.clone();
    expected.reverse();
    assert_eq!(image_bits(model, &backwards), expected);
    let twice = [crops[3].clone(), crops[3].clone()];
    assert_eq!(image_bits(model, &twice), [images[3].clone(), images[3].clone()]);

    let alone: Vec<_> = texts.iter().flat_map(|text| text_bits(model, &[text])).collect();
    for size in 1..=texts.len() {
        assert_eq!(text_bits(model, &texts[..size]), alone[..size], "batch of {size}");
    }
    let backwards: Vec<&str> = texts.iter().rev().copied().collect();
    let mut expected = alone.clone();
    expected.reverse();
    assert_eq!(text_bits(model, &backwards), expected);

    // A text that does not fit is refused, not cut; the longest that fits is read.
    let mut long = String::from("a");
    while model.tokenize(&long).unwrap().len() <= model.context_length() {
        long.push_str(" a");
    }
    assert!(matches!(model.encode_text(&["a", &long]), Err(Error::Usage { .. })));
    long.truncate(long.len() - 2);
    assert_eq!(model.encode_text(&[&long]).unwrap().nrows(), 1);

    // Wrong pictures are refused: another edge, too few bytes, too many.
    let mut short = crops[0].clone();
    short.rgb.pop();
    let mut extra = crops[0].clone();
    extra.rgb.push(0);
    let mut misnamed = crops[0].clone();
    misnamed.size += 1;
    for wrong in [lcg_picture(0, spec.size + 1), short, extra, misnamed, Crop { size: 0, rgb: Vec::new() }] {
        let call = [crops[0].clone(), wrong];
        assert!(matches!(model.encode_image(&call), Err(Error::Usage { .. })));
    }
}
