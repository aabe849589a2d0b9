//! Pictures of several requests in one call of the model.
//!
//! A model's rows do not depend on their neighbours, to the last bit, so nobody can tell from a score who else was in
//! the call. Whoever asks is blocked until its own pictures are done; how many may ask at once is the caller's to
//! bound.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use ndarray::Array2;
use nexis_core::model::{Crop, ImageText, ModelIdentity, PreprocessSpec};
use nexis_core::{Error, Result};

use crate::observe::Metrics;

/// How calls are gathered.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchOptions {
    /// Most pictures in one call; at least 1.
    pub(super) most: usize,
    /// Longest time that a picture waits for others, where others may come.
    pub(super) max_wait: Duration,
    /// Threads of a forward pass; 0 for all cores.
    pub(super) threads: usize,
}

/// Requests that are being worked on, and so may yet bring pictures.
#[derive(Clone, Debug, Default)]
pub(super) struct AtWork(Arc<AtomicUsize>);

/// One request at work, until it is dropped.
#[derive(Debug)]
pub(super) struct Working(AtWork);

impl AtWork {
    /// A request begins.
    pub(super) fn begin(&self) -> Working {
        self.0.fetch_add(1, Ordering::SeqCst);
        Working(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One caller's pictures.
struct Job {
    crops: std::vec::IntoIter<Crop>,
    /// The rows so far, one after another.
    rows: Vec<f32>,
    reply: Sender<Result<Vec<f32>>>,
    came: Instant,
}

/// A model whose picture calls are gathered across threads.
pub(super) struct BatchedModel {
    model: Arc<dyn ImageText>,
    queue: Sender<Job>,
}

impl BatchedModel {
    /// Gathers calls of this model on a thread of its own, with a pool of its own: threads of another pool may wait
    /// for it.
    ///
    /// # Errors
    /// Where threads cannot be had.
    pub(super) fn new(
        model: Arc<dyn ImageText>,
        options: BatchOptions,
        at_work: AtWork,
        metrics: Metrics,
    ) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Error::Internal(format!("no threads for the model: {e}"));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|i| format!("forward-{i}"))
            .build()
            .map_err(|e| failed(&e))?;
        let (queue, jobs) = mpsc::channel();
        let gatherer = Gatherer { model: Arc::clone(&model), pool, options, at_work, metrics };
        std::thread::Builder::new()
            .name("batches".into())
            .spawn(move || gatherer.run(&jobs))
            .map_err(|e| failed(&e))?;
        Ok(Self { model, queue })
    }
}

fn gone() -> Error {
    Error::Internal("the thread that gathers pictures is gone".into())
}

impl ImageText for BatchedModel {
    fn identity(&self) -> &ModelIdentity {
        self.model.identity()
    }

    fn preprocess(&self) -> &PreprocessSpec {
        self.model.preprocess()
    }

    fn context_length(&self) -> usize {
        self.model.context_length()
    }

    fn logit_scale(&self) -> f32 {
        self.model.logit_scale()
    }

    fn logit_bias(&self) -> f32 {
        self.model.logit_bias()
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.model.tokenize(text)
    }

    fn encode_image(&self, crops: &[Crop]) -> Result<Array2<f32>> {
        // Looked at here, so that one caller's bad picture is no other caller's error.
        crops.iter().try_for_each(|crop| self.preprocess().check(crop))?;
        if crops.is_empty() {
            return self.model.encode_image(crops);
        }
        let (reply, answer) = mpsc::channel();
        let own: Vec<Crop> = crops.to_vec();
        let job = Job { crops: own.into_iter(), rows: Vec::new(), reply, came: Instant::now() };
        self.queue.send(job).map_err(|_| gone())?;
        let rows = answer.recv().map_err(|_| gone())??;
        let width = rows.len() / crops.len();
        Array2::from_shape_vec((crops.len(), width), rows)
            .map_err(|e| Error::Internal(format!("embeddings of different widths: {e}")))
    }

    fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>> {
        self.model.encode_text(texts)
    }
}

struct Gatherer {
    model: Arc<dyn ImageText>,
    pool: rayon::ThreadPool,
    options: BatchOptions,
    at_work: AtWork,
    metrics: Metrics,
}

impl Gatherer {
    /// Until the last caller is gone.
    fn run(&self, jobs: &Receiver<Job>) {
        let mut waiting: VecDeque<Job> = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match jobs.recv() {
                    Ok(job) => waiting.push_back(job),
                    Err(_) => return,
                }
            }
            self.gather(jobs, &mut waiting);
            self.encode(&mut waiting);
        }
    }

    /// Waits for more pictures: until a call is full, until everybody who is at work waits here, or until the first
    /// has waited long enough. (Of two encoders each counts all who are at work, those too who wait at the other: where the
    /// two have different callers, a call may wait its whole time.)
    fn gather(&self, jobs: &Receiver<Job>, waiting: &mut VecDeque<Job>) {
        let mut pictures: usize = waiting.iter().map(|job| job.crops.len()).sum();
        let until = waiting.front().map(|job| job.came + self.options.max_wait);
        while pictures < self.options.most {
            let more = match jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => None,
            };
            let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
            let job = match more {
                Some(job) => job,
                None if left.is_zero() || waiting.len() >= self.at_work.count() => return,
                None => match jobs.recv_timeout(left) {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
                },
            };
            pictures += job.crops.len();
            waiting.push_back(job);
        }
    }

    /// One call, first come, first served; a caller with more pictures than fit gets the rest in the next.
    fn encode(&self, waiting: &mut VecDeque<Job>) {
        let mut crops: Vec<Crop> = Vec::with_capacity(self.options.most);
        let mut shares: Vec<usize> = Vec::new();
        for job in waiting.iter_mut() {
            let room = self.options.most.saturating_sub(crops.len());
            if room == 0 {
                break;
            }
            let before = crops.len();
            crops.extend(job.crops.by_ref().take(room));
            shares.push(crops.len() - before);
        }
        let started = Instant::now();
        let encoded =
            catch_unwind(AssertUnwindSafe(|| self.pool.install(|| self.model.encode_image(&crops))))
                .unwrap_or_else(|_| Err(Error::Internal("the model panicked".into())));
        self.metrics.forward_pass(crops.len(), shares.len(), started.elapsed());
        let rows = match encoded {
            Ok(rows) if rows.nrows() == crops.len() => rows,
            Ok(rows) => return fail(waiting, shares.len(), &format!("rows of shape {:?}", rows.dim())),
            Err(error) => return fail(waiting, shares.len(), &error.to_string()),
        };
        let mut rows = rows.rows().into_iter();
        for (job, share) in waiting.iter_mut().zip(&shares) {
            job.rows.extend(rows.by_ref().take(*share).flatten());
        }
        while waiting.front().is_some_and(|job| job.crops.len() == 0) {
            if let Some(job) = waiting.pop_front() {
                // Whoever does not wait any more has no use for it.
                let _ = job.reply.send(Ok(job.rows));
            }
        }
    }
}

/// All who had pictures in a call that failed are told so.
fn fail(waiting: &mut VecDeque<Job>, concerned: usize, why: &str) {
    for job in waiting.drain(..concerned.min(waiting.len())) {
        let _ = job.reply.send(Err(Error::Internal(format!("the forward pass failed: {why}"))));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Barrier;

    use nexis_core::model::{DualEncoder, LoadOptions};

    use super::*;

    fn model() -> Arc<dyn ImageText> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo");
        Arc::new(DualEncoder::load(&folder, &LoadOptions::default()).unwrap())
    }

    fn batched(model: &Arc<dyn ImageText>, most: usize) -> BatchedModel {
        let options = BatchOptions { most, max_wait: Duration::from_millis(20), threads: 2 };
        BatchedModel::new(Arc::clone(model), options, AtWork::default(), Metrics::new()).unwrap()
    }

    /// Noise that differs from picture to picture.
    fn crops(size: u32, seed: usize, count: usize) -> Vec<Crop> {
        let bytes = (size * size * 3) as usize;
        let crop = |k: usize| {
            let value = |i: usize| ((i.wrapping_mul(2_654_435_761) ^ (k * 40_503)) >> 7) as u8;
            Crop { size, rgb: (0..bytes).map(value).collect() }
        };
        (0..count).map(|i| crop(seed * 100 + i)).collect()
    }

    #[test]
    fn rows_have_the_same_bits_whoever_else_is_in_the_call() {
        let model = model();
        let size = model.preprocess().size;
        for most in [1, 4, 7, 64] {
            let batched = batched(&model, most);
            let start = Barrier::new(6);
            std::thread::scope(|scope| {
                for caller in 0..6 {
                    let (batched, model, start) = (&batched, &model, &start);
                    scope.spawn(move || {
                        let crops = crops(size, caller, 1 + caller * 2);
                        start.wait();
                        let got = batched.encode_image(&crops).unwrap();
                        assert_eq!(
                            got,
                            model.encode_image(&crops).unwrap(),
                            "caller {caller}, {most} at once"
                        );
                    });
                }
            });
        }
    }

    #[test]
    fn a_bad_picture_is_its_callers_error_alone() {
        let model = model();
        let batched = batched(&model, 8);
        let bad = Crop { size: 3, rgb: vec![0; 27] };
        assert!(matches!(batched.encode_image(&[bad]), Err(Error::Usage { .. })));
        let good = crops(model.preprocess().size, 1, 2);
        assert_eq!(batched.encode_image(&good).unwrap(), model.encode_image(&good).unwrap());
        assert_eq!(batched.encode_image(&[]).unwrap().nrows(), 0);
    }

    /// Fails at a picture that begins with a 1, panics at one that begins with a 2.
    struct Fragile(Arc<dyn ImageText>);

    impl ImageText for Fragile {
        fn identity(&self) -> &ModelIdentity {
            self.0.identity()
        }
        fn preprocess(&self) -> &PreprocessSpec {
            self.0.preprocess()
        }
        fn context_length(&self) -> usize {
            self.0.context_length()
        }
        fn logit_scale(&self) -> f32 {
            self.0.logit_scale()
        }
        fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
            self.0.tokenize(text)
        }
        fn encode_image(&self, crops: &[Crop]) -> Result<Array2<f32>> {
            match crops.first().and_then(|crop| crop.rgb.first()) {
                Some(1) => Err(Error::Internal("on purpose".into())),
                Some(2) => panic!("on purpose"),
                _ => self.0.encode_image(crops),
            }
        }
        fn encode_text(&self, texts: &[&str]) -> Result<Array2<f32>> {
            self.0.encode_text(texts)
        }
    }

    #[test]
    fn a_pass_that_fails_ends_neither_the_thread_nor_other_requests() {
        let model: Arc<dyn ImageText> = Arc::new(Fragile(model()));
        let size = model.preprocess().size;
        let batched = batched(&model, 4);
        for first in [1, 2] {
            let mut bad = crops(size, 0, 9);
            bad[0].rgb[0] = first;
            let error = batched.encode_image(&bad).unwrap_err().to_string();
            assert!(error.contains("forward pass failed"), "{error}");
            let mut good = crops(size, 1, 3);
            good[0].rgb[0] = 0;
            assert_eq!(batched.encode_image(&good).unwrap().nrows(), 3);
        }
    }
}
