//! Work that takes long, on threads of its own, within a request's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use super::error::{Answer, Refusal};
use super::limits::{Admission, Admitted};

/// Raised when nobody waits for the answer any more: the client went away or the time is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether to stop.
    pub(super) fn raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// To be asked between two steps.
    ///
    /// # Errors
    /// Where to stop.
    pub(super) fn check(&self) -> Answer<()> {
        if self.raised() { Err(Refusal::stopping()) } else { Ok(()) }
    }
}

struct RaiseOnDrop(Stop);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// Does a request's work. What the request holds is held until the work ends, also where nobody waits for it.
pub(super) async fn work<T: Send + 'static>(
    admission: &Admission,
    admitted: Admitted,
    job: impl FnOnce(&Stop) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let (until, seconds) = (admitted.until(), admitted.seconds());
    let desk = admission.desk(admitted).await?;
    let stop = Stop::default();
    let _raise = RaiseOnDrop(stop.clone());
    let task = spawn_blocking(move || {
        let done = stop.check().and_then(|()| job(&stop))?;
        desk.done();
        Ok(done)
    });
    match timeout_at(until, task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panicked)) => {
            tracing::error!(%panicked, "a request's work ended unforeseen");
            Err(Refusal::defect("internal error, please report it"))
        }
        Err(_) => Err(Refusal::took_too_long(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use axum::http::HeaderMap;

    use super::super::batch::AtWork;
    use super::super::limits::{Limits, Room};
    use super::*;

    fn admission(time: Duration) -> Admission {
        let limits = Limits { queue: 0, workers: 1, request_time: time, ..Limits::default() };
        Admission::new(limits, AtWork::default())
    }

    #[tokio::test]
    async fn work_that_takes_too_long_is_told_to_stop_and_holds_its_place_until_it_does() {
        let admission = admission(Duration::from_millis(50));
        let admit = || admission.admit(&HeaderMap::new(), Room::Memory, false);
        let (seen, stopped) = mpsc::channel();
        let (go, end) = mpsc::channel::<()>();
        let answer = work(&admission, admit().unwrap(), move |stop| {
            while !stop.raised() {
                std::thread::sleep(Duration::from_millis(1));
            }
            seen.send(()).unwrap();
            end.recv().unwrap();
            Ok(())
        });
        assert_eq!(answer.await.unwrap_err().status().as_u16(), 504);
        stopped.recv().unwrap();
        assert_eq!(admit().unwrap_err().status().as_u16(), 429);
        go.send(()).unwrap();
        while admission.in_hand() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn work_that_panics_is_one_requests_error() {
        let admission = admission(Duration::from_secs(60));
        let admit = || admission.admit(&HeaderMap::new(), Room::Memory, false).unwrap();
        let panicked = work::<()>(&admission, admit(), |_| panic!("on purpose")).await;
        assert_eq!(panicked.unwrap_err().status().as_u16(), 500);
        assert_eq!(work(&admission, admit(), |_| Ok(8)).await, Ok(8));
    }
}
