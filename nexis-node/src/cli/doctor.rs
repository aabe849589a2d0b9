//! `nexis doctor`: what works on this machine, and how to get the rest.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use nexis_core::model::card::ModelCard;
use nexis_core::verifier::RowJudge;
use nexis_gpu::EngineOptions;
use serde::Serialize;

use super::{EngineArguments, EnsembleArgument};
use crate::{EXIT_ACCEPTED, EXIT_UNCHECKED};

/// Say what works on this machine and how to get the rest
#[derive(Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    ensemble: EnsembleArgument,
}

#[derive(Serialize)]
struct Finding {
    part: &'static str,
    /// `ok`, `absent` (works without) or `broken` (verification does not work).
    state: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let options = self.ensemble.beside(self.engine.options());
        let mut findings = vec![
            Finding {
                part: "program",
                state: "ok",
                detail: format!("nexis {}", env!("CARGO_PKG_VERSION")),
                remedy: None,
            },
            Finding {
                part: "processor",
                state: "ok",
                detail: format!(
                    "{}, {} threads{}",
                    std::env::consts::ARCH,
                    std::thread::available_parallelism().map_or(1, usize::from),
                    vector_sets()
                ),
                remedy: None,
            },
            decoder(&options),
            gpu(),
        ];
        match options.judge() {
            Ok(judge) => {
                let environment = judge.environment();
                let found = |part, id: &str, card: &ModelCard| {
                    let notice = match card.model.notice.as_str() {
                        "" => String::new(),
                        notice => format!(": {notice}"),
                    };
                    Finding { part, state: "ok", detail: format!("{id}{notice}"), remedy: None }
                };
                let id = environment.model.as_ref().map_or("", |m| m.id.as_str());
                findings.push(found("model", id, judge.card()));
                if let (Some(second), Some(card)) = (&environment.ensemble, judge.second_card()) {
                    findings.push(found("ensemble", &second.model.id, card));
                }
                findings.push(check_a_clip(&judge));
            }
            Err(error) => {
                // The error itself says what would help.
                findings.push(Finding {
                    part: "model",
                    state: "broken",
                    detail: error.to_string(),
                    remedy: None,
                });
                let detail = "not made: there is nothing to score with".to_owned();
                findings.push(Finding { part: "trial", state: "broken", detail, remedy: None });
            }
        }
        let broken = findings.iter().any(|f| f.state == "broken");
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &findings)?;
            writeln!(out)?;
        } else {
            for finding in &findings {
                writeln!(out, "{:<10} {:<7} {}", finding.part, finding.state, finding.detail)?;
                if let Some(remedy) = &finding.remedy {
                    writeln!(out, "{:<18} {remedy}", "")?;
                }
            }
        }
        Ok(if broken { EXIT_UNCHECKED } else { EXIT_ACCEPTED })
    }
}

/// The whole way once: encode a clip, decode it, score it.
fn check_a_clip(judge: &RowJudge) -> Finding {
    use nexis_core::protocol::Category;
    use nexis_core::synth::{ClipStyle, RowPlan, render_clip};

    let attempt = || -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        let clip: PathBuf = folder.path().join("clip.mp4");
        let row = RowPlan::new(1, Category::Nature);
        let style = ClipStyle { fps: 4, ..ClipStyle::default() };
        render_clip(&row.scene, &style, &clip, &clip.with_extension("jpg"))?;
        let scores = judge.score(&clip, &row.caption)?;
        // The decoder that was chosen may be there and fail: then it is another that has decoded.
        let left = scores.decoded.left.map(|why| format!(" (the GPU left it: {why})")).unwrap_or_default();
        Ok(format!(
            "a clip was made, decoded by {}{left} and scored: P(match) {:.3}",
            scores.decoded.decoder, scores.alignment.probability
        ))
    };
    match attempt() {
        Ok(detail) => Finding { part: "trial", state: "ok", detail, remedy: None },
        Err(error) => Finding { part: "trial", state: "broken", detail: error.to_string(), remedy: None },
    }
}

/// What decodes, and why it is not the GPU's own where the model runs on one.
fn decoder(options: &EngineOptions) -> Finding {
    let chosen = options.choose_decoder();
    let (state, detail) = match chosen.why_not_the_gpu {
        None => ("ok", chosen.decoder.name()),
        Some(why) => ("absent", format!("{}, and not the GPU's own: {why}", chosen.decoder.name())),
    };
    Finding { part: "decoder", state, detail, remedy: None }
}

/// What there is to compute on beside the processor, what this build has for it, and what stands between the two.
fn gpu() -> Finding {
    let built = format!("CUDA path of this build: {}", nexis_gpu::cuda::build());
    let absent = |detail: String, remedy: &str| Finding {
        part: "gpu",
        state: "absent",
        detail: format!("{detail}; {built}"),
        remedy: Some(remedy.to_owned()),
    };
    match nexis_gpu::devices() {
        Err(why) => absent(why.to_string(), "not needed: everything works on the processor"),
        Ok(devices) if devices.is_empty() => {
            absent("a driver, but no device".into(), "not needed: everything works on the processor")
        }
        Ok(devices) => {
            let names = devices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let refused: Vec<_> =
                devices.iter().filter_map(|device| nexis_gpu::cuda::usable(device.index).err()).collect();
            match refused.first() {
                Some(why) if refused.len() == devices.len() => absent(names, &why.to_string()),
                _ => Finding {
                    part: "gpu",
                    state: "ok",
                    detail: format!("{names}; {built}"),
                    remedy: Some("choose it with --precision bf16; scores differ from those of exact".into()),
                },
            }
        }
    }
}

fn vector_sets() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let sets = [
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
            ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ];
        let found: Vec<_> = sets.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        if !found.is_empty() {
            return format!(", {}", found.join(", "));
        }
    }
    String::new()
}
