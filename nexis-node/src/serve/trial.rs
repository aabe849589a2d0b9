//! A server's parts for tests, without a socket, over a decoder that is watched.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nexis_core::Result;
use nexis_core::media::{
    ClipProbe, DecodedClip, FfmpegDecoder, FrameRequest, MediaDecoder, MediaFailure, MediaLimits,
};
use nexis_core::model::card::ModelCard;
use nexis_core::model::{DualEncoder, LoadOptions};
use nexis_core::verifier::RowJudge;
use tokio_util::sync::CancellationToken;

use super::app::Parts;
use super::auth::{ApiKeys, Names};
use super::batch::AtWork;
use super::limits::{Admission, Limits};
use super::pictures::Pictures;
use super::roots::Roots;
use super::verdicts::Verdicts;
use super::verifying_pool;
use crate::observe::Metrics;

/// A decoder that keeps the name of the thread of each decoding.
#[derive(Default)]
pub(super) struct Watched {
    decoder: FfmpegDecoder,
    pub(super) threads: Mutex<Vec<String>>,
}

impl MediaDecoder for Watched {
    fn name(&self) -> String {
        self.decoder.name()
    }

    fn probe(&self, clip: &Path, limits: &MediaLimits) -> Result<ClipProbe, MediaFailure> {
        self.decoder.probe(clip, limits)
    }

    fn decode(
        &self,
        clip: &Path,
        request: &FrameRequest,
        limits: &MediaLimits,
    ) -> Result<DecodedClip, MediaFailure> {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(name);
        self.decoder.decode(clip, request, limits)
    }
}

pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A model and its card from a folder.
pub(super) fn loaded(folder: &Path) -> (Arc<DualEncoder>, ModelCard) {
    let model = DualEncoder::load(folder, &LoadOptions::default()).unwrap();
    (Arc::new(model), ModelCard::load(&folder.join("card.toml")).unwrap())
}

/// The parts of a server with this judge, over these folders.
pub(super) fn parts(judge: RowJudge, roots: &[PathBuf]) -> Parts {
    let metrics = Metrics::new();
    Parts {
        verifying: verifying_pool(2).unwrap(),
        labelling: judge.without_judge().without_ensemble().environment().clone(),
        judge,
        pictures: Pictures::new(16, metrics.clone()),
        admission: Admission::new(Limits::default(), AtWork::default()),
        names: Names::new("127.0.0.1:1".parse().unwrap(), &ApiKeys::default()),
        keys: ApiKeys::default(),
        roots: Roots::new(roots).unwrap(),
        verdicts: Verdicts::new(16, 1 << 20, None).unwrap(),
        metrics,
        stop: CancellationToken::new(),
        started: 0,
    }
}
