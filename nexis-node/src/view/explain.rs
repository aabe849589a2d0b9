//! What each failure code means, in one sentence, and what a miner can do about it.

/// The kind of a code: what stands before the first colon.
pub(crate) fn kind(code: &str) -> &str {
    code.split(':').next().unwrap_or(code)
}

/// Explains a failure code, with or without the particulars behind its colons.
pub(crate) fn explain(code: &str) -> &'static str {
    known(kind(code)).unwrap_or("This version of nexis has no explanation for this code.")
}

/// The explanation of a kind that is known.
fn known(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "missing_committed_read_credentials" => {
            "No read credentials are committed for this hotkey; commit them, or nobody can read the bucket."
        }
        "missing_submission_files" => {
            "The manifest or the dataset is not there; upload both under the interval's folder before it closes."
        }
        "manifest_schema_invalid" => {
            "manifest.json is not valid: a field is missing, of the wrong type or out of range."
        }
        "manifest_identity_mismatch" => {
            "The manifest names another hotkey or interval than the place it was found in; write one manifest per interval."
        }
        "unknown_spec" => {
            "The manifest names a dataset specification that does not exist; video_v1 is the usual one."
        }
        "incompatible_spec_version" => {
            "The manifest's protocol or schema version is not one that its specification supports; 1.0.0 is."
        }
        "spec_not_enabled" => "The dataset specification exists but is not enabled here.",
        "missing_category_metadata" => {
            "The manifest names no category although one is asked for; set `category`."
        }
        "unsupported_category" => "The manifest's category is not the one asked for.",
        "dataset_sha256_mismatch" => {
            "dataset.parquet does not have the SHA-256 that the manifest states; write the manifest after the dataset."
        }
        "dataset_schema_invalid" => {
            "dataset.parquet cannot be read, or a row in it is not valid: a column is missing, empty, of the wrong type or out of range."
        }
        "manifest_record_count_mismatch" => {
            "The manifest states another number of rows than the dataset has."
        }
        "non_youtube_source" => "The source's address is not on youtube.com or youtu.be.",
        "overlap_lt_5s" => {
            "Two clips of one source start less than 4.5 s apart (5 s is the rule); leave out one of them."
        }
        "empty_caption" => "The caption is empty.",
        "short_caption" => "The caption has fewer than 20 words; describe more of what is to be seen.",
        "url_like_caption" => "The caption contains http:// or https://; captions hold no addresses.",
        "clip_start_gt_5000" => "The clip starts later than 5000 s into its source.",
        "invalid_asset_uri" => {
            "The path of a file in the row is not a safe path inside the package; use clips/<clip_id>.mp4 and frames/<clip_id>.jpg."
        }
        "missing_clip_asset" => {
            "The clip's file is not in the package, or it is no plain file: links are not followed."
        }
        "clip_sha256_mismatch" => {
            "The clip's file does not have the SHA-256 that its row states; it was changed after hashing."
        }
        "invalid_resolution" => {
            "The stream is not exactly 1280x720, whatever the row says; encode it at that size."
        }
        "missing_first_frame_asset" => {
            "The first frame's picture is not in the package, or it is no plain file: links are not followed."
        }
        "first_frame_sha256_mismatch" => {
            "The first frame's picture does not have the SHA-256 that its row states; it was changed after hashing."
        }
        "caption_semantic_injection_keyword" => {
            "The caption contains words that try to instruct the judge; a caption only describes what is to be seen."
        }
        "caption_semantic_mismatch" => {
            "The caption does not match the frames: part of it is contradicted, unsupported or too generic; describe what this clip shows."
        }
        "category_caption_reject" => "The caption alone says that the clip is not about natural scenery.",
        "category_strict_frames_missing" => {
            "Fewer than three frames could be had from the clip, so its category cannot be judged."
        }
        "category_strict_reject" => {
            "Natural scenery is not clearly the main subject of the middle frames: it must win two of three, average 0.72 and lead by 0.12."
        }
        "undecodable_clip" => {
            "The clip cannot be decoded within the limits on size, length and time; it is broken or of a kind that is not allowed."
        }
        "validation_exception" => "Something unforeseen went wrong while this one submission was checked.",
        "first_frame_content_mismatch" => {
            "The first frame's picture does not show the first frame of the clip."
        }
        "row_metadata_mismatch" => {
            "A field of the row differs from what the stream really is; fill it in from the encoded file."
        }
        "caption_hygiene" => {
            "The caption contains something that no honest caption does, such as hidden or repeated text."
        }
        "duplicate_clip_id" => "Two rows have the same clip id; each clip may be listed once.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::sample::every_violation;
    use super::*;

    #[test]
    fn every_code_has_an_explanation_of_its_own() {
        let mut seen = BTreeSet::new();
        for violation in every_violation() {
            let code = violation.to_string();
            let sentence = known(kind(&code)).unwrap_or_else(|| panic!("{code} is not explained"));
            assert!(sentence.ends_with('.') && sentence.len() > 20, "{code}");
            assert!(seen.insert(sentence), "{code} shares its explanation");
            assert_eq!(explain(&code), sentence);
        }
    }

    #[test]
    fn an_unknown_code_is_said_to_be_unknown() {
        assert!(known("short_caption_").is_none());
        assert!(explain("new_code:x").contains("no explanation"));
    }
}
