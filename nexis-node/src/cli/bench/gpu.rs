//! `nexis bench gpu`: decoder, encoder and both together on a device, beside what a user would pick, in one run.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nexis_core::media::{Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::{Crop, ImageText, Precision};
use nexis_core::protocol::Category;
use nexis_core::synth::{ClipStyle, RowPlan, render_clip};
use nexis_gpu::EngineOptions;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use crate::EXIT_ACCEPTED;
use crate::roots::models_roots;

/// Clips decoded, pictures encoded and clips judged per second on a device
#[derive(Args)]
pub(super) struct Gpu {
    /// Device: auto, cpu or cuda:N; several of one kind as cuda:0,cuda:1 or cuda:all
    #[arg(long, default_value = "cuda:0")]
    device: String,
    /// Precision of the forward pass
    #[arg(long, default_value_t = Precision::Bf16)]
    precision: Precision,
    /// Python with PyTorch, transformers and torchcodec or PyAV; without it, the demonstration model is measured and no peer
    #[arg(long, value_name = "PROGRAM")]
    python: Option<PathBuf>,
    /// What the Python runs
    #[arg(long, value_name = "FILE", default_value = "nexis-gpu/benches/peer.py")]
    peer: PathBuf,
    /// Folder that holds registry.toml and the models; also NEXIS_MODELS; searched for where not given
    #[arg(long, value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// Clips of the run from end to end
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u16).range(1..))]
    clips: u16,
    /// Different clips among them, drawn and encoded first
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    drawn: u16,
    /// Frames of each clip
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=256))]
    frames: u16,
    /// Pictures in one call of the encoder
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of all that the Python measures; what is left then is not measured
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    peer_seconds: u32,
    /// Also write everything here, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What one run found.
#[derive(Serialize)]
struct Found {
    version: &'static str,
    machine: Value,
    settings: Value,
    ours: BTreeMap<&'static str, Value>,
    peers: Value,
    /// What could not be measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<String>,
}

impl Gpu {
    fn options(&self, model: &str) -> EngineOptions {
        EngineOptions {
            model: model.to_owned(),
            models_roots: models_roots(self.models_dir.as_deref()),
            device: self.device.clone(),
            precision: self.precision,
            batch: usize::from(self.batch),
            max_wall: Duration::from_secs(60),
            ensemble: None,
            judge: None,
        }
    }

    pub(super) fn run(&self) -> anyhow::Result<u8> {
        if !(self.seconds > 0.0 && self.seconds <= 600.0) {
            bail!("--seconds: more than 0 and at most 600 are expected, not {}", self.seconds);
        }
        // Asked first: without the device, nothing has to be drawn.
        let (demo, location) = self.options("demo").load_model()?;
        let folder = tempfile::tempdir()?;
        let (clips, models) = (folder.path().join("clips"), folder.path().join("models"));
        std::fs::create_dir_all(&clips)?;
        std::fs::create_dir_all(&models)?;
        eprint_line("drawing clips")?;
        let drawn = (0..self.drawn)
            .into_par_iter()
            .map(|i| draw(&clips, u64::from(i)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut found = self.begun(demo.as_ref());

        let chosen = self.options("demo").choose_decoder();
        if let Some(why) = &chosen.why_not_the_gpu {
            eprint_line(&format!("clips are decoded on the processor: {why}"))?;
        }
        let set_up = match (&chosen.why_not_the_gpu, self.devices().first()) {
            (Some(why), _) => not_run(why),
            (None, None) => not_run(&"clips are decoded on the processor"),
            (None, Some(index)) => {
                decoder_set_up(*index, &drawn).unwrap_or_else(|why| not_run(&format!("{why:#}")))
            }
        };
        self.keep(&mut found, "decoder_set_up", set_up)?;
        let decoder = chosen.decoder;
        eprint_line("decoding")?;
        let decoded_by = self.decoded_by(decoder.as_ref(), &drawn);
        self.measured(&mut found, "decoded_by", decoded_by)?;
        let decode = self.decode(decoder.as_ref(), &drawn);
        if let Ok(decode) = &decode {
            self.keep(&mut found, "decode_linearity", json!(linearity(decode)))?;
        }
        self.measured(&mut found, "decode", decode)?;

        let shapes = match self.shapes(&models, &location.directory) {
            Ok(shapes) => shapes,
            Err(why) => {
                eprint_line(&format!("{why:#}: the demonstration model is measured instead"))?;
                found.failed.push("models of random weights".to_owned());
                Vec::new()
            }
        };
        let mut encode = BTreeMap::new();
        let mut judged = Some(demo);
        // The first is the one that clips are judged with.
        for shape in shapes.iter().rev() {
            eprint_line(&format!("encoding with {shape}"))?;
            // A device need not have room for two.
            drop(judged.take());
            let rate = self.load_folder(&models.join(shape)).and_then(|model| {
                let rate = self.encode(model.as_ref())?;
                judged = Some(model);
                Ok(rate)
            });
            encode.insert(shape.clone(), self.noted(&mut found, shape, rate));
            self.keep(&mut found, "encode", json!(encode))?;
        }
        let judged = match judged {
            Some(judged) => judged,
            None => load(&self.options("demo"))?,
        };
        if encode.is_empty() {
            let rate = self.encode(judged.as_ref());
            let rate = self.noted(&mut found, "demonstration model", rate);
            self.keep(&mut found, "encode", json!({ "demonstration model": rate }))?;
        }
        eprint_line(&format!("{} clips from end to end", self.clips))?;
        let end_to_end = self.end_to_end(decoder.as_ref(), judged.as_ref(), &drawn).map(|seconds| {
            let rate = f64::from(self.clips) / seconds;
            json!({ "model": judged.identity().id, "seconds": seconds, "clips_per_second": rate })
        });
        self.measured(&mut found, "end_to_end", end_to_end)?;
        self.keep(&mut found, "device_memory_bytes", json!(self.memory()))?;
        drop(judged);
        // Whatever becomes of the peers, this is there.
        let out = &mut io::stdout();
        show(&found, out)?;
        if let Some(python) = &self.python {
            eprint_line("peers")?;
            let peers = self.peers(python, &models, &clips);
            found.peers = self.noted(&mut found, "peers", peers);
            self.write(&found)?;
            show_peers(&found, out)?;
        }
        if !found.failed.is_empty() {
            bail!("not measured: {}", found.failed.join(", "));
        }
        Ok(EXIT_ACCEPTED)
    }

    /// A run in which nothing was measured yet.
    fn begun(&self, demo: &dyn ImageText) -> Found {
        let identity = demo.identity();
        Found {
            version: env!("CARGO_PKG_VERSION"),
            machine: json!({
                "device": identity.device,
                "driver": driver(),
                "processors": std::thread::available_parallelism().map_or(1, usize::from),
                "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            }),
            settings: json!({
                "precision": identity.precision, "batch": self.batch, "frames": self.frames, "clips": self.clips,
                "drawn": self.drawn, "seconds": self.seconds, "clip": "1280x720, 5 s, 25 frames/s, H.264",
            }),
            ours: BTreeMap::new(),
            peers: Value::Null,
            failed: Vec::new(),
        }
    }

    /// Writes what was found so far, so that a run which is broken off leaves it.
    fn write(&self, found: &Found) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(found)?;
        std::fs::write(path, format!("{text}\n")).with_context(|| path.display().to_string())
    }

    fn keep(&self, found: &mut Found, part: &'static str, value: Value) -> anyhow::Result<()> {
        found.ours.insert(part, value);
        self.write(found)
    }

    /// What was measured, or why it was not: what fails must not hide the rest.
    fn noted(&self, found: &mut Found, part: &str, measured: anyhow::Result<impl Serialize>) -> Value {
        measured.map(|value| json!(value)).unwrap_or_else(|why| {
            found.failed.push(part.to_owned());
            not_run(&format!("{why:#}"))
        })
    }

    fn measured(
        &self,
        found: &mut Found,
        part: &'static str,
        measured: anyhow::Result<impl Serialize>,
    ) -> anyhow::Result<()> {
        let value = self.noted(found, part, measured);
        self.keep(found, part, value)
    }

    /// Models of random weights, by their names; none without a Python that makes them.
    fn shapes(&self, models: &Path, tokenizer: &Path) -> anyhow::Result<Vec<String>> {
        let Some(python) = &self.python else { return Ok(Vec::new()) };
        eprint_line("making models of random weights")?;
        let arguments = ["models".as_ref(), models.as_os_str(), tokenizer.as_os_str()];
        serde_json::from_str(&self.peer(python, &arguments)?).context("the models that the Python has made")
    }

    fn peers(&self, python: &Path, models: &Path, clips: &Path) -> anyhow::Result<Value> {
        let words = [
            self.seconds.to_string(),
            self.frames.to_string(),
            self.batch.to_string(),
            self.peer_seconds.to_string(),
        ];
        // Theirs run on one device.
        let device = match self.device.split(',').next() {
            Some(first) if !["auto", "cuda:all"].contains(&first) => first,
            _ => "cuda:0",
        };
        let mut arguments = vec!["measure".as_ref(), device.as_ref(), models.as_os_str(), clips.as_os_str()];
        arguments.extend(words.iter().map(|word| -> &std::ffi::OsStr { word.as_ref() }));
        serde_json::from_str(&self.peer(python, &arguments)?).context("what the peers measured")
    }

    fn load_folder(&self, folder: &Path) -> anyhow::Result<std::sync::Arc<dyn ImageText>> {
        let name = folder.to_str().context("a folder's name that is no text")?;
        load(&self.options(name))
    }

    fn peer(&self, python: &Path, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<String> {
        let output = Command::new(python)
            .arg(&self.peer)
            .args(arguments)
            .stderr(std::process::Stdio::inherit())
            .output()
            .with_context(|| python.display().to_string())?;
        if !output.status.success() {
            bail!("{} {} ended with {}", python.display(), self.peer.display(), output.status);
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().last().unwrap_or_default().to_owned())
    }

    /// The devices that the model runs on; none of them is the processor.
    fn devices(&self) -> Vec<u32> {
        let device = self.device.parse().and_then(|choice| nexis_gpu::resolve(&choice, self.precision));
        match device.map(|device| device.kind) {
            Ok(nexis_gpu::DeviceKind::Cuda(indices)) => indices.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Memory of each device that is taken while the model and the decoder are there.
    fn memory(&self) -> BTreeMap<String, usize> {
        let taken = |index| Some((format!("cuda:{index}"), nexis_gpu::cuda::memory_in_use(index).ok()?));
        self.devices().into_iter().filter_map(taken).collect()
    }

    fn request(&self) -> FrameRequest {
        FrameRequest::Spread { count: usize::from(self.frames), first: false }
    }

    /// Does `work`, which is worth `count`, again and again; how much was done in a second.
    fn rate(&self, count: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
        work()?;
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed().as_secs_f64() < self.seconds {
            work()?;
            done += count;
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }

    /// How many of the clips each decoder has decoded: a device leaves to the processor what it cannot do.
    fn decoded_by(
        &self,
        decoder: &dyn MediaDecoder,
        clips: &[PathBuf],
    ) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut found = BTreeMap::new();
        for clip in clips {
            let decoded = decoder.decode(clip, &self.request(), &MediaLimits::default())?;
            *found.entry(decoded.decoder).or_default() += 1;
        }
        Ok(found)
    }

    fn decode(&self, decoder: &dyn MediaDecoder, clips: &[PathBuf]) -> anyhow::Result<BTreeMap<usize, f64>> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut found = BTreeMap::new();
        for threads in [1, 2, 4, 8, 16].into_iter().filter(|threads| *threads == 1 || *threads <= processors)
        {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            // So many that no thread is without one for long.
            let several: Vec<_> = clips.iter().cycle().take(clips.len().max(threads * 2)).collect();
            let rate = self.rate(several.len(), || {
                let one = |clip: &&PathBuf| frames(decoder, clip, &self.request()).map(|_| ());
                pool.install(|| several.par_iter().with_max_len(1).try_for_each(one))
            })?;
            found.insert(threads, rate);
        }
        Ok(found)
    }

    fn encode(&self, model: &dyn ImageText) -> anyhow::Result<f64> {
        let size = model.preprocess().size;
        let bytes = size as usize * size as usize * 3;
        let crop =
            |i: usize| Crop { size, rgb: (0..bytes).map(|at| (at * 31 + i * 7 + at / 97) as u8).collect() };
        let crops: Vec<Crop> = (0..usize::from(self.batch)).map(crop).collect();
        // A call is computed by one device: each of them is to have one.
        let calls = self.devices().len().max(1);
        self.rate(crops.len() * calls, || {
            let call = |_| anyhow::Ok(model.encode_image(&crops).map(|_| ())?);
            (0..calls).into_par_iter().with_max_len(1).try_for_each(call)
        })
    }

    /// Seconds for all clips: while some are encoded, others are decoded.
    fn end_to_end(
        &self,
        decoder: &dyn MediaDecoder,
        model: &dyn ImageText,
        clips: &[PathBuf],
    ) -> anyhow::Result<f64> {
        let start = Instant::now();
        (0..usize::from(self.clips)).into_par_iter().try_for_each(|i| {
            let clip = clips.get(i % clips.len().max(1)).context("no clip")?;
            let frames = frames(decoder, clip, &self.request())?;
            model.encode_tiles(&frames, usize::from(self.batch))?;
            anyhow::Ok(())
        })?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Milliseconds until a decoder of the device's has taken its first packet: the first, and those after it, which FFmpeg may have kept.
fn decoder_set_up(index: u32, clips: &[PathBuf]) -> anyhow::Result<Value> {
    let clip = clips.first().context("no clip")?;
    let found = (0..5)
        .map(|_| nexis_gpu::cuda::decoder_set_up(index, clip, 5))
        .collect::<nexis_core::Result<Vec<_>>>()?;
    let cold = found.iter().map(|set_up| set_up.cold).collect();
    let warm = found.iter().flat_map(|set_up| set_up.warm.iter().copied()).collect();
    Ok(json!({
        "cold_ms": median_ms(cold), "warm_ms": median_ms(warm), "engines": nexis_gpu::cuda::decoder_engines(index)?,
    }))
}

fn not_run(why: &dyn std::fmt::Display) -> Value {
    json!({ "not_run": why.to_string() })
}

/// The middle one of some times.
fn median_ms(mut times: Vec<Duration>) -> Option<f64> {
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1e3)
}

/// By threads: what was decoded in a second, over so many times what one thread decodes.
fn linearity(decode: &BTreeMap<usize, f64>) -> BTreeMap<usize, f64> {
    let one = decode.get(&1).copied().unwrap_or(f64::NAN);
    decode.iter().map(|(threads, rate)| (*threads, rate / (*threads as f64 * one))).collect()
}

fn load(options: &EngineOptions) -> anyhow::Result<std::sync::Arc<dyn ImageText>> {
    Ok(options.load_model()?.0)
}

fn frames(decoder: &dyn MediaDecoder, clip: &Path, request: &FrameRequest) -> anyhow::Result<Vec<Frame>> {
    Ok(decoder.decode(clip, request, &MediaLimits::default())?.frames)
}

fn draw(folder: &Path, seed: u64) -> anyhow::Result<PathBuf> {
    let clip = folder.join(format!("{seed}.mp4"));
    let category = *Category::ALL.get(seed as usize % Category::ALL.len()).context("no category")?;
    let row = RowPlan::new(seed, category);
    render_clip(
        &row.scene,
        &ClipStyle { fps: 25, ..ClipStyle::default() },
        &clip,
        &clip.with_extension("jpg"),
    )?;
    Ok(clip)
}

fn eprint_line(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "bench: {text}")
}

/// The newest CUDA that the driver supports.
fn driver() -> String {
    nexis_gpu::driver().map_or_else(
        |_| "no NVIDIA driver".to_owned(),
        |driver| format!("driver for CUDA {}.{}", driver.cuda_version.0, driver.cuda_version.1),
    )
}

/// A line of the table that a person reads: a rate, or why there is none.
fn line(out: &mut impl Write, what: &str, unit: &str, who: &str, value: &Value) -> io::Result<()> {
    let value = value.get("not_run").unwrap_or(value);
    match value.as_f64() {
        Some(rate) => writeln!(out, "{what:<10} {rate:>10.1} {unit:<10} {who}"),
        None => writeln!(out, "{what:<10} {:>10} {unit:<10} {who}: {}", "-", text(value)),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn each(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The table of what is ours.
fn show(found: &Found, out: &mut impl Write) -> io::Result<()> {
    let machine = |key: &str| found.machine.get(key).map(text).unwrap_or_default();
    writeln!(
        out,
        "nexis {} on {}, {}, {} processors",
        found.version,
        machine("device"),
        machine("driver"),
        machine("processors")
    )?;
    let ours = |key: &str| found.ours.get(key).cloned().unwrap_or_default();
    for (device, bytes) in each(&ours("device_memory_bytes")) {
        writeln!(out, "memory of {device} that is taken: {} MiB", bytes.as_u64().unwrap_or(0) >> 20)?;
    }
    let (set_up, linear) = (ours("decoder_set_up"), ours("decode_linearity"));
    if set_up.get("not_run").is_some() {
        line(out, "set-up", "ms", "NVIDIA's decoder", &set_up)?;
    } else {
        for (what, key) in [("the first", "cold_ms"), ("those after it", "warm_ms")] {
            let who = format!("NVIDIA's decoder, {what}");
            line(out, "set-up", "ms", &who, set_up.get(key).unwrap_or(&Value::Null))?;
        }
        let engines = set_up.get("engines").filter(|engines| !engines.is_null()).cloned();
        let engines = engines.unwrap_or_else(|| json!("the driver does not say"));
        line(out, "engines", "", "of NVIDIA's decoder, for H.264", &engines)?;
    }
    let decoded_by = ours("decoded_by");
    let decoders: Vec<String> = each(&decoded_by)
        .iter()
        .map(|(decoder, clips)| format!("{decoder} ({} clips)", text(clips)))
        .collect();
    let decoders = decoders.join(" and ");
    let decode = ours("decode");
    if decode.get("not_run").is_some() {
        line(out, "decode", "clips/s", "nexis", &decode)?;
    } else {
        let mut rates: Vec<(usize, Value)> = each(&decode)
            .into_iter()
            .filter_map(|(threads, rate)| Some((threads.parse().ok()?, rate)))
            .collect();
        rates.sort_unstable_by_key(|(threads, _)| *threads);
        for (threads, rate) in rates {
            let linear = linear.get(threads.to_string()).and_then(Value::as_f64).unwrap_or(f64::NAN) * 100.0;
            let who = format!("nexis, {decoders}, {threads} threads: {linear:.0} % of linear");
            line(out, "decode", "clips/s", &who, &rate)?;
        }
    }
    for (model, rate) in each(&ours("encode")) {
        line(out, "encode", "pictures/s", &format!("nexis, {model}"), &rate)?;
    }
    let end = ours("end_to_end");
    let model = end.get("model").map(text).unwrap_or_default();
    let rate = end.get("clips_per_second").unwrap_or(&end);
    line(out, "end to end", "clips/s", &format!("nexis, {model}"), rate)
}

/// The table of the peers.
fn show_peers(found: &Found, out: &mut impl Write) -> io::Result<()> {
    if found.peers.get("not_run").is_some() {
        return line(out, "peers", "", "what a user would pick", &found.peers);
    }
    for (part, unit, key) in [
        ("decode", "clips/s", "clips_per_second"),
        ("encode", "pictures/s", "pictures_per_second"),
        ("end to end", "clips/s", "clips_per_second"),
    ] {
        for (who, measured) in each(found.peers.get(part.replace(' ', "_")).unwrap_or(&Value::Null)) {
            let value = measured.get(key).filter(|value| !value.is_null()).or(measured.get("error"));
            line(out, part, unit, &who, value.unwrap_or(&Value::Null))?;
        }
    }
    Ok(())
}
