//! How much is taken on at once, and how much of one request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use nexis_core::media::jpeg::StillLimits;
use nexis_core::verifier::MAX_FRAMES;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::batch::{AtWork, Working};
use super::error::{Answer, Refusal};

/// Limits of the server, all of them the operator's to set.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most requests in hand besides those being worked on; more are told to come back.
    pub queue: usize,
    /// Most requests that are worked on at once.
    pub workers: usize,
    /// Most connections; more wait to be accepted.
    pub connections: usize,
    /// Largest body of a request that is held in memory, in bytes.
    pub body_bytes: u64,
    /// Most bytes of such bodies in memory at once.
    pub memory_bytes: u64,
    /// Largest upload of a clip or an archive, in bytes; it goes to a temporary file.
    pub upload_bytes: u64,
    /// Most bytes of uploads at once.
    pub disk_bytes: u64,
    /// Most files in an archive.
    pub archive_files: usize,
    /// Most pictures of one request.
    pub pictures: usize,
    /// The largest picture.
    pub still: StillLimits,
    /// Longest time for a request, from its headers to its answer.
    pub request_time: Duration,
    /// The same for verifying packages.
    pub verify_time: Duration,
    /// Longest time for a request's headers to come, for the next request on a connection that is kept open, and in which
    /// a client takes nothing of its answer.
    pub idle_time: Duration,
    /// Longest time that requests in hand get when the server stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 64,
            workers: 8,
            connections: 1024,
            body_bytes: 64 << 20,
            memory_bytes: 512 << 20,
            upload_bytes: 1 << 30,
            disk_bytes: 4 << 30,
            archive_files: 10_000,
            pictures: MAX_FRAMES,
            still: StillLimits::default(),
            request_time: Duration::from_secs(60),
            verify_time: Duration::from_secs(600),
            idle_time: Duration::from_secs(30),
            grace: Duration::from_secs(60),
        }
    }
}

/// Where a body goes, and so what bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It is held in memory.
    Memory,
    /// It goes to a file.
    Disk,
}

/// How long a request takes once it is begun: a moving mean. By it, whoever would wait in vain is told at once.
#[derive(Debug)]
struct Pace {
    mean: Mutex<Duration>,
    /// No mean is greater, so that a few slow ones do not close the server.
    most: Duration,
}

impl Pace {
    /// Weight of the latest in the mean, as a divisor.
    const MEMORY: u32 = 8;

    fn mean(&self) -> Duration {
        *self.mean.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, time: Duration) {
        let mut mean = self.mean.lock().unwrap_or_else(PoisonError::into_inner);
        let time = time.min(self.most);
        *mean = if mean.is_zero() {
            time
        } else {
            mean.saturating_mul(Self::MEMORY - 1).saturating_add(time) / Self::MEMORY
        };
    }
}

/// Requests that wait for a worker.
#[derive(Debug, Default)]
struct Line(AtomicUsize);

/// One of them, until it is dropped.
struct InLine<'a>(&'a Line);

impl Line {
    fn join(&self) -> InLine<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        InLine(self)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets requests in.
pub(super) struct Admission {
    pub(super) limits: Limits,
    pace: Arc<Pace>,
    line: Line,
    in_hand: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    verifications: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    disk: Arc<Semaphore>,
    at_work: AtWork,
}

/// Bytes that one permit of a budget stands for; a semaphore counts to 2^61 at most, an acquisition to 2^32.
const GRAIN: u64 = 1 << 10;

/// A request that was let in. What it holds is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    until: Instant,
    seconds: u64,
    /// A verification runs by itself for minutes and would hold a worker for as long.
    verification: Option<OwnedSemaphorePermit>,
    _in_hand: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// A request that is being worked on.
#[derive(Debug)]
pub(super) struct AtDesk {
    began: Instant,
    pace: Arc<Pace>,
    _admitted: Admitted,
    _worker: Option<OwnedSemaphorePermit>,
    _working: Working,
}

impl AtDesk {
    /// That the work came to its end, and so took its time.
    pub(super) fn done(self) {
        // A verification takes minutes and holds no worker.
        if self._worker.is_some() {
            self.pace.took(self.began.elapsed());
        }
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(GRAIN)).unwrap_or(u32::MAX)
}

impl Admission {
    pub(super) fn new(limits: Limits, at_work: AtWork) -> Self {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        let budget = |bytes: u64| semaphore(permits(bytes) as usize);
        Self {
            in_hand: semaphore(limits.queue.saturating_add(limits.workers)),
            workers: semaphore(limits.workers),
            verifications: semaphore(1),
            memory: budget(limits.memory_bytes.max(limits.body_bytes)),
            disk: budget(limits.disk_bytes.max(limits.upload_bytes)),
            pace: Arc::new(Pace { mean: Mutex::default(), most: limits.request_time }),
            line: Line::default(),
            limits,
            at_work,
        }
    }

    /// What is known of the pace before the first request: how long the model took for the pictures of one. Those at
    /// work share it.
    pub(super) fn expect(&self, one: Duration) {
        self.pace.took(one.saturating_mul(u32::try_from(self.limits.workers).unwrap_or(u32::MAX)));
    }

    /// By how much a request that comes now would be late, where all workers are taken: it waits for those who wait
    /// already, for a worker, and then takes its own time. While a worker is free, nobody is late.
    fn late(&self, left: Duration) -> Option<Duration> {
        if self.workers.available_permits() > 0 {
            return None;
        }
        let rounds = self.line.0.load(Ordering::SeqCst) / self.limits.workers.max(1) + 2;
        let needed = self.pace.mean().saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        needed.checked_sub(left).filter(|late| !late.is_zero())
    }

    /// Lets a request in by its headers, before its body is read. Refused ones can be answered at once, or after
    /// [`drain`].
    pub(super) fn admit(&self, headers: &HeaderMap, room: Room, verification: bool) -> Answer<Admitted> {
        let length = content_length(headers)?;
        let (most, budget) = match room {
            Room::Memory => (self.limits.body_bytes, &self.memory),
            Room::Disk => (self.limits.upload_bytes, &self.disk),
        };
        if length > most {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let why = format!("the body has {:.1} MiB; at most {:.1} MiB are taken", mib(length), mib(most));
            return Err(Refusal::too_large(why));
        }
        let full = || Refusal::busy("the server has as many requests in hand as it takes", Duration::ZERO);
        if let Some(late) = self.late(self.limits.request_time).filter(|_| !verification) {
            return Err(Refusal::busy(
                "the requests that wait will take all of the time that this one has",
                late,
            ));
        }
        let in_hand = Arc::clone(&self.in_hand).try_acquire_owned().map_err(|_| full())?;
        let bytes = Arc::clone(budget).try_acquire_many_owned(permits(length)).map_err(|_| full())?;
        let verification = match verification {
            true => Some(
                Arc::clone(&self.verifications)
                    .try_acquire_owned()
                    .map_err(|_| Refusal::busy("packages are being verified already", Duration::ZERO))?,
            ),
            false => None,
        };
        let time = if verification.is_some() { self.limits.verify_time } else { self.limits.request_time };
        Ok(Admitted {
            until: Instant::now() + time,
            seconds: time.as_secs(),
            verification,
            _in_hand: in_hand,
            _bytes: bytes,
        })
    }

    /// Waits until the request may be worked on. Where that comes too late for it to be done in time, it is not begun.
    pub(super) async fn desk(&self, admitted: Admitted) -> Answer<AtDesk> {
        let worker = if admitted.verification.is_some() {
            None
        } else if let Ok(free) = Arc::clone(&self.workers).try_acquire_owned() {
            Some(free)
        } else {
            let too_late = |by| Refusal::busy("its turn comes too late", by);
            let left = || admitted.until.saturating_duration_since(Instant::now());
            if let Some(late) = self.late(left()) {
                return Err(too_late(late));
            }
            let in_line = self.line.join();
            let permit = timeout_at(admitted.until, Arc::clone(&self.workers).acquire_owned()).await;
            drop(in_line);
            let permit = permit.map_err(|_| too_late(self.pace.mean()))?.map_err(|_| Refusal::stopping())?;
            if left() < self.pace.mean().min(self.limits.request_time / 2) {
                return Err(too_late(self.pace.mean()));
            }
            Some(permit)
        };
        let (began, pace) = (Instant::now(), Arc::clone(&self.pace));
        Ok(AtDesk { began, pace, _admitted: admitted, _worker: worker, _working: self.at_work.begin() })
    }

    /// Requests in hand, at most.
    pub(super) fn most_in_hand(&self) -> usize {
        self.limits.queue.saturating_add(self.limits.workers)
    }

    /// Requests in hand now.
    pub(super) fn in_hand(&self) -> usize {
        self.most_in_hand().saturating_sub(self.in_hand.available_permits())
    }
}

impl Admitted {
    /// The end of its time.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// The time it got, in seconds.
    pub(super) fn seconds(&self) -> u64 {
        self.seconds
    }

    /// A body in memory: as long as was announced, within the request's time.
    pub(super) async fn body(&self, body: Body) -> Answer<Bytes> {
        let most = usize::try_from(body.size_hint().upper().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        match timeout_at(self.until, axum::body::to_bytes(body, most)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(Refusal::invalid("body", format!("it broke off: {error}"))),
            Err(_) => Err(Refusal::slow_request(self.seconds)),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Answer<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::length_required());
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // Without either header there is no body (RFC 9112, 6.3), and what needs one says so.
    length.map_or(Ok(0), |text| text.parse().map_err(|_| Refusal::length_required()))
}

/// Reads and forgets the body of a request that was refused: a client that is still sending may otherwise never see
/// why. Not more of it than `most`, not for longer than `time`, and not where the client waits to be told to send.
pub(super) async fn drain(request: Request, most: u64, time: Duration) {
    if request.headers().contains_key(header::EXPECT) {
        return;
    }
    let mut left = most;
    let mut chunks = request.into_body().into_data_stream();
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    // Cut off where it takes too long: the answer is given all the same.
    let _ = tokio::time::timeout(time, reading).await;
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn length(bytes: u64) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from(bytes))])
    }

    fn status<T: std::fmt::Debug>(answer: Answer<T>) -> u16 {
        answer.unwrap_err().status().as_u16()
    }

    fn admission(change: impl FnOnce(&mut Limits)) -> Admission {
        let mut limits = Limits { queue: 1, workers: 1, ..Limits::default() };
        change(&mut limits);
        Admission::new(limits, AtWork::default())
    }

    #[tokio::test]
    async fn as_many_as_may_be_are_let_in_and_then_others() {
        let admission = admission(|_| {});
        let first = admission.admit(&length(10), Room::Memory, false).unwrap();
        let second = admission.admit(&length(10), Room::Memory, false).unwrap();
        assert_eq!(admission.in_hand(), 2);
        assert_eq!(status(admission.admit(&length(10), Room::Memory, false)), 429);
        let desk = admission.desk(first).await.unwrap();
        assert_eq!(status(admission.admit(&length(10), Room::Memory, false)), 429);
        drop(desk);
        admission.admit(&length(10), Room::Memory, false).unwrap();
        drop(second);
        assert_eq!(admission.in_hand(), 0);
    }

    #[tokio::test]
    async fn bytes_are_counted_before_they_are_read() {
        let admission = admission(|limits| {
            limits.queue = 10;
            limits.body_bytes = 2 << 20;
            limits.memory_bytes = 3 << 20;
        });
        assert_eq!(status(admission.admit(&length((2 << 20) + 1), Room::Memory, false)), 413);
        let first = admission.admit(&length(2 << 20), Room::Memory, false).unwrap();
        assert_eq!(status(admission.admit(&length(2 << 20), Room::Memory, false)), 429);
        // Uploads have their own budget.
        admission.admit(&length(2 << 20), Room::Disk, false).unwrap();
        drop(first);
        admission.admit(&length(2 << 20), Room::Memory, false).unwrap();
        let chunked =
            HeaderMap::from_iter([(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))]);
        assert_eq!(status(admission.admit(&chunked, Room::Memory, false)), 411);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_come_back() {
        let admission = admission(|limits| limits.request_time = Duration::from_millis(20));
        let first = admission.admit(&length(1), Room::Memory, false).unwrap();
        let _desk = admission.desk(first).await.unwrap();
        let second = admission.admit(&length(1), Room::Memory, false).unwrap();
        assert_eq!(status(admission.desk(second).await), 429);
        // A verification needs no worker, but there is one at a time.
        let verification = admission.admit(&length(1), Room::Memory, true).unwrap();
        assert_eq!(status(admission.admit(&length(1), Room::Memory, true)), 429);
        admission.desk(verification).await.unwrap();
    }

    /// One request at a time, of four seconds each, with ten for each.
    fn slow() -> Admission {
        let admission = admission(|limits| {
            limits.request_time = Duration::from_secs(10);
            limits.queue = 100;
        });
        admission.expect(Duration::from_secs(4));
        admission
    }

    #[tokio::test]
    async fn who_would_wait_in_vain_is_told_at_once() {
        let admission = slow();
        let admit = || admission.admit(&length(1), Room::Memory, false);
        let first = admission.desk(admit().unwrap()).await.unwrap();
        // The second would be done after eight seconds, the third after twelve.
        let (second, third) = (admit().unwrap(), admit().unwrap());
        let mut waiting = std::pin::pin!(admission.desk(second));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
        assert_eq!(status(admit()), 429);
        assert_eq!(status(admission.desk(third).await), 429, "its body was sent meanwhile");
        assert!(admission.admit(&length(1), Room::Memory, true).is_ok(), "verifications have their own time");
        first.done();
        waiting.await.unwrap().done();
        // They turned out to be quick, and so there is room again.
        for _ in 0..20 {
            admission.desk(admit().unwrap()).await.unwrap().done();
        }
        assert!(admission.pace.mean() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_holds_no_worker_keeps_nobody_out() {
        let admission = admission(|limits| {
            limits.request_time = Duration::from_secs(10);
            limits.queue = 100;
        });
        admission.expect(Duration::from_secs(3600));
        let admit = |verification| admission.admit(&length(1), Room::Memory, verification);
        // Bodies that are still being sent, and a verification at work.
        let _sending: Vec<_> = (0..50).map(|_| admit(false).unwrap()).collect();
        let _verifying = admission.desk(admit(true).unwrap()).await.unwrap();
        let desk = admission.desk(admit(false).unwrap()).await.unwrap();
        assert_eq!(status(admit(false)), 429, "the only worker is taken");
        drop(desk);
        let mut slowly_sent = admit(false).unwrap();
        slowly_sent.until = Instant::now() + Duration::from_secs(1);
        admission.desk(slowly_sent).await.unwrap();
    }

    #[tokio::test]
    async fn however_long_others_took_somebody_is_let_in() {
        let admission = admission(|limits| limits.request_time = Duration::from_secs(10));
        admission.expect(Duration::from_secs(3600));
        assert_eq!(admission.pace.mean(), Duration::from_secs(10));
        let first = admission.admit(&length(1), Room::Memory, false).unwrap();
        let desk = admission.desk(first).await.unwrap();
        assert_eq!(status(admission.admit(&length(1), Room::Memory, false)), 429);
        desk.done();
        admission.admit(&length(1), Room::Memory, false).unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_done_in_time_is_not_begun() {
        let admission = admission(|limits| limits.request_time = Duration::from_millis(400));
        admission.expect(Duration::from_millis(150));
        let admit = || admission.admit(&length(1), Room::Memory, false).unwrap();
        let (first, second) = (admit(), admit());
        let desk = admission.desk(first).await.unwrap();
        let waiting = admission.desk(second);
        let late = tokio::join!(waiting, async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(desk);
        });
        assert_eq!(status(late.0), 429);
    }
}
