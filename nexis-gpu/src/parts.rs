//! Bytes that lie in several places and go to a device one behind another: what the uploads of every device share.

use std::sync::atomic::{AtomicUsize, Ordering};

use nexis_core::{Error, Result};

use crate::compute::Span;

/// How many bytes the parts are, which are found to fit.
///
/// # Errors
/// Where they do not, which is a defect.
pub fn fitting(parts: &[&[u8]], to: Span<'_>) -> Result<usize> {
    let bytes = parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(part.len()));
    bytes
        .filter(|bytes| *bytes <= to.bytes())
        .ok_or_else(|| Error::Internal("an upload beyond its memory".to_owned()))
}

/// Fills `to` with what the parts hold from byte `at` on. Nothing is written behind their end.
pub fn gather(parts: &[&[u8]], mut at: usize, mut to: &mut [u8]) {
    for part in parts {
        let rest = part.get(at..).unwrap_or_default();
        at = at.saturating_sub(part.len());
        let count = rest.len().min(to.len());
        let (head, tail) = to.split_at_mut(count);
        head.copy_from_slice(rest.get(..count).unwrap_or_default());
        to = tail;
        if to.is_empty() {
            return;
        }
    }
}

/// Does `work` for each of `pieces` numbers, by so many threads, of which the caller's is one. They are threads of their own: one of
/// a pool might take up other work while it waits here, and that work might wait for what the caller holds.
///
/// # Errors
/// The first of `work`'s; other threads go on with their pieces.
pub fn by_several(threads: usize, pieces: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let some = || -> Result<()> {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                piece if piece < pieces => work(piece)?,
                _ => return Ok(()),
            }
        }
    };
    std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, some).ok();
        // One that cannot be had is done without.
        let others: Vec<_> = (1..threads.min(pieces)).map_while(spawn).collect();
        let mine = some();
        let broke_off = |_| Err(Error::Internal("a copy broke off".to_owned()));
        others.into_iter().map(|other| other.join().unwrap_or_else(broke_off)).fold(mine, Result::and)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn parts_are_gathered_from_anywhere() {
        let whole: Vec<u8> = (0..200).collect();
        let parts = [&whole[..3], &[], &whole[3..4], &whole[4..150], &whole[150..]];
        for at in 0..=201 {
            for count in [0, 1, 2, 7, 150, 200, 300] {
                let mut to = vec![255; count];
                gather(&parts, at, &mut to);
                let there = whole.get(at..).unwrap_or_default();
                let there = &there[..there.len().min(count)];
                assert_eq!(&to[..there.len()], there, "{count} from {at}");
                assert!(to[there.len()..].iter().all(|byte| *byte == 255), "{count} from {at}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_found() {
        // SAFETY: nothing is read or written there.
        #[allow(unsafe_code)]
        let span = unsafe { Span::new(0, 5) };
        assert_eq!(fitting(&[&[1, 2], &[], &[3, 4, 5]], span).unwrap(), 5);
        assert!(fitting(&[&[1, 2, 3], &[4, 5, 6]], span).is_err());
        assert_eq!(fitting(&[], span).unwrap(), 0);
    }

    #[test]
    fn each_piece_is_done_once_by_however_many() {
        for threads in [0, 1, 2, 5] {
            for pieces in [0, 1, 2, 3, 40] {
                let done = Mutex::new(Vec::new());
                by_several(threads, pieces, |piece| {
                    done.lock().unwrap().push(piece);
                    Ok(())
                })
                .unwrap();
                let mut done = done.into_inner().unwrap();
                done.sort_unstable();
                assert_eq!(done, (0..pieces).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_piece_that_fails_fails_the_whole() {
        let failing =
            |bad| move |piece| if piece == bad { Err(Error::Internal("no device".into())) } else { Ok(()) };
        for threads in [1, 4] {
            for bad in 0..9 {
                let error = by_several(threads, 9, failing(bad)).unwrap_err().to_string();
                assert!(error.contains("no device"), "{error}");
            }
        }
        let panicking = |piece| if piece == 3 { std::panic::panic_any("of the test") } else { Ok(()) };
        let found = std::panic::catch_unwind(|| by_several(4, 9, panicking));
        assert!(!matches!(found, Ok(Ok(()))));
    }
}
