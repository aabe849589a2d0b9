//! A server that answers as it is told, and counts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexis_node::store::s3::{AccessKeys, S3Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer. The last of a list repeats.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// What was asked for.
    Honest,
    /// What was asked for, broken off after so many bytes.
    Cut(usize),
    /// What was asked for, and no more bytes after so many.
    Hang(usize),
    /// What was asked for, a byte at a time.
    Drip,
    /// Announces so many bytes as the whole object, and never has more than the content.
    Claim(u64),
    /// Another range than the one asked for.
    WrongRange,
    /// No length, and bytes without end.
    Endless,
    /// Closes without an answer.
    Close,
    /// This status with this body.
    Status(u16, &'static str),
    /// Other content and another tag from now on, then as the next.
    Replace(Vec<u8>, Box<Act>),
}

pub(crate) struct Liar {
    pub(crate) endpoint: String,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    acts: Vec<Act>,
    content: Mutex<(Vec<u8>, u32)>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Liar {
    pub(crate) async fn start(content: Vec<u8>, acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { acts, content: Mutex::new((content, 0)), seen: Arc::clone(&seen) });
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A client that goes away ends it.
                    let _ = answer(socket, &shared).await;
                });
            }
        });
        Self { endpoint, seen, task }
    }

    pub(crate) fn store(&self) -> S3Store {
        crate::connector().bucket(&self.endpoint, "bucket", &AccessKeys::new("a", "s")).unwrap()
    }

    /// The ranges asked for, `-` where none was.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")).map(str::to_owned);
    let number = {
        let mut seen = shared.seen.lock().unwrap();
        seen.push(range.clone().unwrap_or("-".to_owned()));
        seen.len() - 1
    };
    let mut act = shared.acts.get(number).or(shared.acts.last()).cloned().unwrap();
    if let Act::Replace(content, then) = act {
        let mut now = shared.content.lock().unwrap();
        *now = (content, now.1 + 1);
        act = *then;
    }
    let (content, version) = shared.content.lock().unwrap().clone();
    let whole = if let Act::Claim(len) = act { len } else { content.len() as u64 };
    let start: u64 = range.as_ref().map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    if start >= whole && range.is_some() {
        let text = "<Error><Code>InvalidRange</Code></Error>";
        let reply =
            format!("HTTP/1.1 416 x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
        return socket.write_all(reply.as_bytes()).await;
    }
    let mut reply = match &range {
        None => "HTTP/1.1 200 OK\r\n".to_owned(),
        Some(_) => {
            let first = if matches!(act, Act::WrongRange) { 0 } else { start };
            format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {first}-{}/{whole}\r\n", whole - 1)
        }
    };
    reply += &format!("ETag: \"v{version}\"\r\nConnection: close\r\n");
    reply += "Last-Modified: Wed, 01 Apr 2026 10:00:00 GMT\r\n";
    let rest = content.get(usize::try_from(start).unwrap()..).unwrap_or_default();
    match act {
        Act::Close => return Ok(()),
        Act::Status(status, text) => {
            reply = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                text.len()
            );
            return socket.write_all(reply.as_bytes()).await;
        }
        Act::Endless => {
            socket.write_all(format!("{reply}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
            loop {
                socket.write_all(b"4\r\nabcd\r\n").await?;
            }
        }
        _ => {}
    }
    socket.write_all(format!("{reply}Content-Length: {}\r\n\r\n", whole - start).as_bytes()).await?;
    match act {
        Act::Cut(bytes) => socket.write_all(&rest[..bytes.min(rest.len())]).await,
        Act::Hang(bytes) => {
            socket.write_all(&rest[..bytes.min(rest.len())]).await?;
            std::future::pending().await
        }
        Act::Drip => {
            for byte in rest {
                socket.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        }
        _ => socket.write_all(rest).await,
    }
}
