//! Servers, a client of a few lines, and clips to ask about.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexis_core::media::jpeg::{StillLimits, decode_still};
use nexis_core::media::{FfmpegDecoder, Frame, FrameRequest, MediaDecoder, MediaLimits};
use nexis_core::model::Precision;
use nexis_core::protocol::{Category, Hotkey, IntervalId};
use nexis_core::synth::{ClipStyle, PackagePlan, RowPlan};
use nexis_core::verifier::RowJudge;
use nexis_gpu::EngineOptions;
use nexis_node::observe::Metrics;
use nexis_node::serve::{ServeOptions, Server};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub(crate) const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
pub(crate) const INTERVAL: u64 = 7_756_900;

pub(crate) fn engine() -> EngineOptions {
    EngineOptions {
        model: "demo".into(),
        models_roots: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")].into(),
        device: "cpu".into(),
        precision: Precision::Exact,
        batch: 64,
        max_wall: Duration::from_secs(60),
        ensemble: None,
        judge: None,
    }
}

/// The judge by itself: what the server must agree with.
pub(crate) fn judge() -> &'static RowJudge {
    static JUDGE: OnceLock<RowJudge> = OnceLock::new();
    JUDGE.get_or_init(|| engine().judge().unwrap())
}

/// A clip with its caption and its frames as they come over the wire.
pub(crate) struct Clip {
    pub(crate) path: PathBuf,
    pub(crate) caption: String,
    /// Six frames and the first, as PNG.
    pub(crate) pictures: Vec<String>,
    pub(crate) frames: Vec<Frame>,
}

pub(crate) struct Made {
    pub(crate) root: tempfile::TempDir,
    pub(crate) clips: Vec<Clip>,
}

pub(crate) fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
}

pub(crate) fn png(frame: &Frame) -> Vec<u8> {
    let picture = image::RgbImage::from_raw(frame.width, frame.height, frame.rgb.to_vec()).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// An honest bucket below a folder, its clips taken apart.
pub(crate) fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let plan = PackagePlan {
            hotkey: Hotkey::new(ALICE),
            interval: IntervalId::new(INTERVAL),
            created_at: "2026-04-10T12:00:00Z".parse().unwrap(),
            rows: [600_000, 600_001, 600_003].map(|seed| RowPlan::new(seed, Category::Nature)).to_vec(),
            style: ClipStyle { fps: 6, ..ClipStyle::default() },
            attack: None,
        };
        let bucket = root.path().join(plan.hotkey.bucket_name());
        plan.write(&bucket, None, &|| {}).unwrap();
        let mut paths: Vec<PathBuf> = std::fs::read_dir(bucket.join(format!("{INTERVAL}/clips")))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        paths.sort();
        let mut clips = Vec::new();
        for row in &plan.rows {
            let id =
                nexis_core::package::clip_id(&row.source_video_id, row.clip_start_sec, plan.style.seconds);
            let path = paths.iter().find(|path| path.to_str().unwrap().contains(&id)).unwrap().clone();
            let request = FrameRequest::Spread { count: 6, first: true };
            let decoded = FfmpegDecoder::default().decode(&path, &request, &MediaLimits::default()).unwrap();
            let frames: Vec<Frame> = decoded.frames.into_iter().chain(decoded.first).collect();
            let pictures = frames.iter().map(|frame| data_uri("png", &png(frame))).collect();
            clips.push(Clip { path, caption: row.caption.clone(), pictures, frames });
        }
        Made { root, clips }
    })
}

/// The frames that a picture sent as a data URI is decoded to.
pub(crate) fn frame_of(uri: &str) -> Frame {
    let (_, data) = uri.split_once(',').unwrap();
    decode_still(&STANDARD.decode(data).unwrap(), &StillLimits::default()).unwrap()
}

/// A server that runs until it is dropped.
pub(crate) struct Running {
    runtime: Option<Runtime>,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) metrics: Metrics,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(change: impl FnOnce(&mut ServeOptions)) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut options = ServeOptions::new("127.0.0.1:0".parse().unwrap(), engine());
        change(&mut options);
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let server = runtime.block_on(Server::bind(options, metrics.clone(), stop.clone())).unwrap();
        let address = server.address();
        let serving = Some(runtime.spawn(server.serve()));
        Self { runtime: Some(runtime), address, stop, metrics, serving }
    }

    /// A server over the clips' folder that is shared by tests which change nothing in it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Running> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::start(|options| {
                options.roots = vec![made().root.path().to_path_buf()];
                options.limits.queue = 256;
            })
        })
    }

    /// Stops it and waits until it has ended.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        if let (Some(runtime), Some(serving)) = (&self.runtime, self.serving.take()) {
            runtime.block_on(serving).unwrap();
        }
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        send(self.address, method, path, headers, body)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn error(&self) -> String {
        let error = &self.json()["error"];
        assert!(error["type"].is_string() && error.get("param").is_some(), "{error}");
        format!("{}: {}", self.status, error["message"].as_str().unwrap())
    }

    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }
}

/// One request on a connection of its own.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    // Ends a test that has failed already.
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    if !headers.iter().any(|(name, _)| matches!(*name, "content-length" | "transfer-encoding")) {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // A server that refuses may close before all is sent; what it said is what counts.
    let _ = stream.write_all(body);
    read_reply(&mut stream)
}

pub(crate) fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    let at = raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {raw:?}"));
    let head = String::from_utf8(raw[..at].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = raw[at + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
        body = unchunked(&body);
    }
    Reply { status, headers, body }
}

fn unchunked(mut raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[end + 4 + size..];
    }
    body
}

/// A form with one file.
pub(crate) fn form(fields: &[(&str, &str)], file: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--xYx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--xYx\r\nContent-Disposition: form-data; name=\"{file}\"; filename=\"it\"\r\nContent-Type: video/mp4\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--xYx--\r\n");
    ("multipart/form-data; boundary=xYx".to_owned(), body)
}
