//! The pool of decoders that goes into FFmpeg, over decoders that are numbers.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Mutex;

unsafe extern "C" {
    fn nexis_nvdec_key_words() -> usize;
    fn nexis_nvdec_room() -> usize;
    fn nexis_nvdec_pool_new(
        max_idle: u32,
        max_bytes: u64,
        destroy: unsafe extern "C" fn(*mut c_void, *mut c_void),
        opaque: *mut c_void,
    ) -> *mut c_void;
    fn nexis_nvdec_pool_take(pool: *mut c_void, key: *const u64) -> *mut c_void;
    fn nexis_nvdec_pool_give(pool: *mut c_void, key: *const u64, decoder: *mut c_void, bytes: u64);
    fn nexis_nvdec_pool_drain(pool: *mut c_void) -> u32;
    fn nexis_nvdec_pool_free(pool: *mut c_void);
}

/// Numbers in what a decoder was made with.
#[must_use]
pub fn key_words() -> usize {
    // SAFETY: a constant.
    unsafe { nexis_nvdec_key_words() }
}

/// Idle decoders that there is room for at most.
#[must_use]
pub fn room() -> usize {
    // SAFETY: a constant.
    unsafe { nexis_nvdec_room() }
}

/// What is done where a decoder is destroyed.
pub type OnDestroy = Box<dyn Fn(usize) + Send + Sync>;

/// The pool.
pub struct Pool {
    raw: NonNull<c_void>,
    /// Where the C side finds what to call; it does not move.
    on_destroy: NonNull<OnDestroy>,
}

// SAFETY: the pool has a lock of its own, and what it calls may be called from any thread.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

unsafe extern "C" fn destroy(opaque: *mut c_void, decoder: *mut c_void) {
    // SAFETY: the pointer that the pool was made with, whose value lives until the pool is freed.
    let on_destroy = unsafe { &*opaque.cast::<OnDestroy>() };
    on_destroy(decoder as usize);
}

impl Pool {
    /// With these bounds.
    ///
    /// # Panics
    /// Where the process has no memory or no lock left.
    #[must_use]
    pub fn new(max_idle: u32, max_bytes: u64, on_destroy: OnDestroy) -> Self {
        let on_destroy = NonNull::from(Box::leak(Box::new(on_destroy)));
        // SAFETY: the callback gets back the pointer that goes with it.
        let raw = unsafe { nexis_nvdec_pool_new(max_idle, max_bytes, destroy, on_destroy.as_ptr().cast()) };
        Self { raw: NonNull::new(raw).expect("a pool"), on_destroy }
    }

    fn key(words: &[u64]) -> *const u64 {
        assert_eq!(words.len(), key_words());
        words.as_ptr()
    }

    /// An idle decoder that was made with `key`.
    #[must_use]
    pub fn take(&self, key: &[u64]) -> Option<usize> {
        // SAFETY: as many words as the pool compares.
        let decoder = unsafe { nexis_nvdec_pool_take(self.raw.as_ptr(), Self::key(key)) };
        (!decoder.is_null()).then_some(decoder as usize)
    }

    /// Hands in a decoder, which is a number other than 0.
    pub fn give(&self, key: &[u64], decoder: usize, bytes: u64) {
        assert_ne!(decoder, 0);
        // SAFETY: as many words as the pool copies; the decoder is never looked into.
        unsafe { nexis_nvdec_pool_give(self.raw.as_ptr(), Self::key(key), decoder as *mut c_void, bytes) }
    }

    /// Destroys what is idle.
    pub fn drain(&self) -> u32 {
        // SAFETY: the pool lives.
        unsafe { nexis_nvdec_pool_drain(self.raw.as_ptr()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: nobody has the pool any more; only then what it calls is freed.
        unsafe {
            nexis_nvdec_pool_free(self.raw.as_ptr());
            drop(Box::from_raw(self.on_destroy.as_ptr()));
        }
    }
}

/// Decoders that were destroyed, in that order.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Vec<usize>>);

impl Ledger {
    /// Notes one.
    pub fn note(&self, decoder: usize) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(decoder);
    }

    /// All since it was asked last.
    #[must_use]
    pub fn taken(&self) -> Vec<usize> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
