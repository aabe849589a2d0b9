//! A device that is emulated: the kernels of `kernels/`, compiled for the processor, over memory of this process. What
//! runs over it is what runs over a GPU, but for the driver's calls and the library of large products.

#![allow(unsafe_code)]

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexis_core::{Error, Result};
use nexis_gpu::compute::{Argument, Compute, Launch, Product, Span, is_recording};
use nexis_gpu::parts;
use rayon::prelude::*;

unsafe extern "C" {
    fn nexis_emulated_launch(
        name: *const c_char,
        grid: *const u32,
        threads: u32,
        arguments: *mut *mut c_void,
        backwards: i32,
    ) -> *const c_char;
    fn nexis_emulated_bf16(x: f32) -> u16;
    fn nexis_emulated_f16(x: f32) -> u16;
}

/// The emulator's own rounding to bfloat16 and half, to be compared with another.
pub fn rounded(x: f32) -> (u16, u16) {
    // SAFETY: functions of a number.
    unsafe { (nexis_emulated_bf16(x), nexis_emulated_f16(x)) }
}

/// Bytes on either side of a memory that nobody may write.
const GUARD: usize = 64;
/// Bytes that go over at once: parts end within them, and begin.
const PIECE: usize = 100_003;
/// What the guards hold, and what fresh memory holds: as numbers, no numbers.
const FILL: u8 = 0xff;

/// A queue of an emulated device: what is asked of it is done in order.
#[derive(Debug)]
pub struct Emulated {
    machine: Arc<Machine>,
    queue: usize,
    lacks: Option<&'static str>,
    /// What a recording consists of so far, while there is one.
    recording: Mutex<Option<Vec<Step>>>,
}

/// The same device, opened once more.
impl Clone for Emulated {
    fn clone(&self) -> Self {
        let mut queues = lock(&self.machine.queues);
        queues.push(Queue::default());
        let (machine, queue) = (Arc::clone(&self.machine), queues.len() - 1);
        Self { machine, queue, lacks: self.lacks, recording: Mutex::default() }
    }
}

/// The device itself.
#[derive(Debug, Default)]
struct Machine {
    backwards: bool,
    other_sums: bool,
    other_sums_of: Option<usize>,
    room: usize,
    /// Recordings that do not succeed, the first ones.
    refused: AtomicUsize,
    /// Of the first queue and of those beside it: whether what is asked is done only once somebody waits for it.
    late: [bool; 2],
    used: AtomicUsize,
    broken: Arc<AtomicBool>,
    fuse: Arc<AtomicUsize>,
    products: Arc<AtomicUsize>,
    multiplied: Arc<AtomicUsize>,
    chosen: Arc<Mutex<BTreeSet<[usize; 3]>>>,
    allocations: AtomicUsize,
    uploaded: Arc<AtomicUsize>,
    busy: AtomicBool,
    kernels: Arc<Mutex<BTreeSet<&'static str>>>,
    replays: Arc<AtomicUsize>,
    queues: Mutex<Vec<Queue>>,
}

/// What was asked of a queue and is not done yet.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Task>,
    asked: u64,
    done: u64,
}

#[derive(Debug)]
enum Task {
    Write {
        bytes: Vec<u8>,
        to: u64,
    },
    Steps(Arc<Vec<Step>>),
    Read {
        from: u64,
        to: Arc<Mutex<Vec<u8>>>,
    },
    /// What is marked comes first.
    Follow(EmulatedMark),
}

/// A launch that outlives the call that asked for it.
#[derive(Clone, Debug)]
enum Step {
    Launch { kernel: &'static str, grid: [u32; 3], threads: u32, arguments: Vec<Argument> },
    Product(Product<'static>),
}

impl Task {
    /// Whether it reads or writes memory of these addresses, as far as it says where that is.
    fn touches(&self, memory: &Range<u64>) -> bool {
        match self {
            Self::Write { to, .. } => memory.contains(to),
            Self::Read { from, .. } => memory.contains(from),
            Self::Steps(steps) => steps.iter().any(|step| match step {
                Step::Launch { arguments, .. } => arguments
                    .iter()
                    .any(|argument| matches!(argument, Argument::Address(at) if memory.contains(at))),
                Step::Product(product) => [product.left, product.right, product.out]
                    .iter()
                    .any(|span| memory.contains(&span.address())),
            }),
            Self::Follow(_) => false,
        }
    }
}

/// Launches that were recorded.
#[derive(Debug)]
pub struct EmulatedRecording(Arc<Vec<Step>>);

/// How far a queue had come.
#[derive(Clone, Copy, Debug)]
pub struct EmulatedMark {
    queue: usize,
    until: u64,
}

/// Where results come in.
#[derive(Debug)]
pub struct EmulatedLanding {
    memory: Arc<Mutex<Vec<u8>>>,
    room: usize,
    mark: Option<EmulatedMark>,
    bytes: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Emulated {
    fn default() -> Self {
        Self::of(Machine::default())
    }
}

impl Emulated {
    fn of(machine: Machine) -> Self {
        lock(&machine.queues).push(Queue::default());
        Self { machine: Arc::new(machine), queue: 0, lacks: None, recording: Mutex::default() }
    }

    /// One whose blocks run from the last to the first.
    #[must_use]
    pub fn backwards() -> Self {
        Self::of(Machine { backwards: true, ..Machine::default() })
    }

    /// One whose products are added up from the last number to the first, as another kind of device might.
    #[must_use]
    pub fn with_other_sums() -> Self {
        Self::of(Machine { other_sums: true, ..Machine::default() })
    }

    /// One that adds up so for batches of this many items alone.
    #[must_use]
    pub fn with_other_sums_of(items: usize) -> Self {
        Self::of(Machine { other_sums_of: Some(items), ..Machine::default() })
    }

    /// One that has so many bytes, and no more once they were given.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self::of(Machine { room, ..Machine::default() })
    }

    /// One that does not record, as where the driver does not take part.
    #[must_use]
    pub fn without_recordings() -> Self {
        Self::breaking_recordings(usize::MAX)
    }

    /// One whose first recordings, so many, are broken off by somebody else.
    #[must_use]
    pub fn breaking_recordings(first: usize) -> Self {
        Self::of(Machine { refused: first.into(), ..Machine::default() })
    }

    /// One that puts off what is asked of its first queue, or of those beside it, until somebody waits for it. What the other
    /// does in the meantime must not matter.
    #[must_use]
    pub fn late(first: bool, beside: bool) -> Self {
        Self::of(Machine { late: [first, beside], ..Machine::default() })
    }

    /// Once set, whatever is asked of the device fails.
    pub fn broken(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.machine.broken)
    }

    /// Set to n, the nth of what is asked of the device from then on fails, and nothing behind it does.
    pub fn fuse(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.machine.fuse)
    }

    /// How many products it has computed.
    pub fn products(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.machine.products)
    }

    /// How many rows these had in all.
    pub fn multiplied(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.machine.multiplied)
    }

    /// What a library of products chose algorithms for: rows, columns and depth of each kind that it was asked for.
    pub fn chosen(&self) -> Arc<Mutex<BTreeSet<[usize; 3]>>> {
        Arc::clone(&self.machine.chosen)
    }

    /// How often memory was asked for.
    pub fn allocations(&self) -> usize {
        self.machine.allocations.load(Ordering::SeqCst)
    }

    /// How many bytes were copied to it.
    pub fn uploaded(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.machine.uploaded)
    }

    /// Whether something was launched that nobody has waited for.
    pub fn is_busy(&self) -> bool {
        self.machine.busy.load(Ordering::SeqCst)
    }

    /// The same device without one of the kernels: to launch that fails.
    #[must_use]
    pub fn lacking(&self, kernel: &'static str) -> Self {
        Self { lacks: Some(kernel), ..self.clone() }
    }

    /// Which kernels it has launched.
    pub fn kernels(&self) -> Arc<Mutex<BTreeSet<&'static str>>> {
        Arc::clone(&self.machine.kernels)
    }

    /// How often recorded launches were done.
    pub fn replays(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.machine.replays)
    }

    fn is_whole(&self) -> Result<()> {
        let less = |left: usize| left.checked_sub(1);
        let left = self.machine.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        if left == Ok(1) || self.machine.broken.load(Ordering::SeqCst) {
            return Err(Error::Unavailable {
                what: self.name(),
                why: "it has fallen off the bus".to_owned(),
            });
        }
        Ok(())
    }

    /// That it works, and does not record.
    fn is_free(&self, what: &str) -> Result<()> {
        if lock(&self.recording).is_some() {
            return Err(is_recording(what));
        }
        self.is_whole()
    }

    /// Puts a task into the queue, and does it unless the queue is late.
    fn ask(&self, task: Task) -> Result<EmulatedMark> {
        let mut queues = lock(&self.machine.queues);
        let queue = &mut queues[self.queue];
        queue.waiting.push_back(task);
        queue.asked += 1;
        let mark = EmulatedMark { queue: self.queue, until: queue.asked };
        if !self.machine.late[self.queue.min(1)] {
            self.machine.run(&mut queues, mark)?;
        }
        Ok(mark)
    }

    /// Does a launch, or notes it where there is a recording.
    fn ask_for(&self, step: Step) -> Result<()> {
        self.is_whole()?;
        if let Some(steps) = lock(&self.recording).as_mut() {
            steps.push(step);
            return Ok(());
        }
        self.ask(Task::Steps(Arc::new(vec![step]))).map(|_| ())
    }

    fn wait(&self, mark: EmulatedMark) -> Result<()> {
        self.machine.run(&mut lock(&self.machine.queues), mark)
    }
}

impl Machine {
    /// Does what a mark stands behind.
    fn run(&self, queues: &mut Vec<Queue>, mark: EmulatedMark) -> Result<()> {
        while queues[mark.queue].done < mark.until {
            let Some(task) = queues[mark.queue].waiting.pop_front() else { break };
            queues[mark.queue].done += 1;
            match task {
                // SAFETY: a span has as many bytes as it says, which was looked at when it was asked for, and memory is let go
                // of only once nothing waits any more.
                Task::Write { bytes, to } => unsafe {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len());
                },
                Task::Read { from, to } => {
                    let mut to = lock(&to);
                    // SAFETY: as above.
                    unsafe {
                        std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len());
                    }
                }
                Task::Steps(steps) => steps.iter().try_for_each(|step| self.step(step))?,
                Task::Follow(mark) => self.run(queues, mark)?,
            }
        }
        Ok(())
    }

    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Launch { kernel, grid, threads, arguments } => {
                self.launch(kernel, *grid, *threads, arguments)
            }
            Step::Product(product) => {
                self.multiply(product);
                Ok(())
            }
        }
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], threads: u32, arguments: &[Argument]) -> Result<()> {
        let internal = |why: &str| Error::Internal(format!("{kernel}: {why}"));
        let name = CString::new(kernel).map_err(|_| internal("no name"))?;
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(Argument::pointer).collect();
        // SAFETY: whoever launched it vouched for it; the kernel reads its arguments and no more.
        let broken = unsafe {
            nexis_emulated_launch(
                name.as_ptr(),
                grid.as_ptr(),
                threads,
                pointers.as_mut_ptr(),
                self.backwards.into(),
            )
        };
        if broken.is_null() {
            return Ok(());
        }
        // SAFETY: the emulator gives literals.
        Err(internal(&unsafe { CStr::from_ptr(broken) }.to_string_lossy()))
    }

    fn multiply(&self, product: &Product<'_>) {
        self.products.fetch_add(1, Ordering::SeqCst);
        let Product { format, left, right, out, wide, columns, depth, .. } = *product;
        let kind = [product.usual * product.rows, columns, depth];
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        let rows = product.items * product.rows;
        self.multiplied.fetch_add(rows, Ordering::SeqCst);
        let numbers = |span: Span<'_>, count: usize| -> Vec<f32> {
            // SAFETY: whoever asked for it has seen to it that there are as many.
            let bits = unsafe { std::slice::from_raw_parts(span.address() as *const u16, count) };
            bits.iter().map(|bits| format.value(*bits)).collect()
        };
        let (left, right) = (numbers(left, rows * depth), numbers(right, columns * depth));
        let others = self.other_sums || self.other_sums_of == Some(product.items);
        let sum = |row: &[f32], column: &[f32]| -> f32 {
            let products = row.iter().zip(column).map(|(a, b)| a * b);
            if others { products.rev().sum() } else { products.sum() }
        };
        let result: Vec<f32> = left
            .par_chunks_exact(depth)
            .flat_map_iter(|row| right.chunks_exact(depth).map(move |column| sum(row, column)))
            .collect();
        let bytes: Vec<u8> = if wide {
            result.iter().flat_map(|x| x.to_le_bytes()).collect()
        } else {
            result.iter().flat_map(|x| format.rounded(*x).to_le_bytes()).collect()
        };
        assert!(bytes.len() <= out.bytes(), "a product beyond its memory");
        // SAFETY: a span has as many bytes as it says.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), out.address() as *mut u8, bytes.len()) };
    }
}

/// Memory of it.
#[derive(Debug)]
pub struct EmulatedMemory {
    // Long words, so that every kind of number is aligned, and vectors of them.
    words: Box<[std::cell::UnsafeCell<u128>]>,
    bytes: usize,
    machine: Arc<Machine>,
}

// SAFETY: only copies and launches touch it, and the device does these one after another.
unsafe impl Send for EmulatedMemory {}
// SAFETY: as above.
unsafe impl Sync for EmulatedMemory {}

impl EmulatedMemory {
    fn start(&self) -> *mut u8 {
        self.words.as_ptr().cast_mut().cast::<u8>().wrapping_add(GUARD)
    }
}

impl Drop for EmulatedMemory {
    fn drop(&mut self) {
        let mut queues = lock(&self.machine.queues);
        // A driver need not wait for what is under way.
        let start = self.start() as u64;
        let memory = start..start + self.bytes as u64;
        let used = queues.iter().flat_map(|queue| &queue.waiting).any(|task| task.touches(&memory));
        let broken = self.machine.broken.load(Ordering::SeqCst);
        assert!(!used || broken || std::thread::panicking(), "memory is freed while something uses it");
        for queue in 0..queues.len() {
            let until = queues[queue].asked;
            let done = self.machine.run(&mut queues, EmulatedMark { queue, until });
            assert!(done.is_ok() || std::thread::panicking(), "{done:?}");
        }
        self.machine.used.fetch_sub(self.bytes, Ordering::SeqCst);
        let words = self.words.iter_mut().map(|word| *word.get_mut());
        let bytes: Vec<u8> = words.flat_map(u128::to_ne_bytes).collect();
        let (before, rest) = bytes.split_at(GUARD);
        let (_, after) = rest.split_at(self.bytes);
        let whole = before.iter().chain(after).all(|byte| *byte == FILL);
        assert!(whole || std::thread::panicking(), "something wrote outside of {} bytes", self.bytes);
    }
}

impl Compute for Emulated {
    type Memory = EmulatedMemory;
    type Recording = EmulatedRecording;
    type Mark = EmulatedMark;
    type Landing = EmulatedLanding;

    fn name(&self) -> String {
        "emulated".to_owned()
    }

    fn beside(&self) -> Result<Self> {
        Ok(self.clone())
    }

    fn allocate(&self, bytes: usize) -> Result<Option<EmulatedMemory>> {
        self.is_free("an allocation")?;
        let machine = &self.machine;
        machine.allocations.fetch_add(1, Ordering::SeqCst);
        let used = machine.used.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if machine.room > 0 && used > machine.room {
            machine.used.fetch_sub(bytes, Ordering::SeqCst);
            return Ok(None);
        }
        let words = (bytes + 2 * GUARD).div_ceil(16);
        let words = (0..words).map(|_| u128::from_ne_bytes([FILL; 16]).into()).collect();
        Ok(Some(EmulatedMemory { words, bytes, machine: Arc::clone(machine) }))
    }

    fn reaches(&self, memory: &EmulatedMemory) -> bool {
        Arc::ptr_eq(&self.machine, &memory.machine)
    }

    fn span(memory: &EmulatedMemory) -> Span<'_> {
        // SAFETY: the memory is there as long as it is borrowed.
        unsafe { Span::new(memory.start() as u64, memory.bytes) }
    }

    fn upload_parts(&self, parts: &[&[u8]], to: Span<'_>) -> Result<()> {
        let bytes = parts::fitting(parts, to)?;
        self.is_free("an upload")?;
        self.machine.uploaded.fetch_add(bytes, Ordering::SeqCst);
        parts::by_several(2, bytes.div_ceil(PIECE), |piece| {
            let at = piece * PIECE;
            let mut staged = vec![FILL; PIECE.min(bytes - at)];
            parts::gather(parts, at, &mut staged);
            self.ask(Task::Write { bytes: staged, to: to.address() + at as u64 }).map(|_| ())
        })
    }

    fn download(&self, from: Span<'_>, bytes: &mut [u8]) -> Result<()> {
        let from = from
            .part(0, bytes.len())
            .ok_or_else(|| Error::Internal("a download beyond its memory".to_owned()))?;
        let mut landing = self.landing(bytes.len())?;
        self.land(from, &mut landing)?;
        bytes.copy_from_slice(self.landed(&mut landing)?);
        Ok(())
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, threads, arguments } = *launch;
        lock(&self.machine.kernels).insert(kernel);
        if self.lacks == Some(kernel) {
            return Err(Error::Internal(format!("{kernel}: the device lacks it")));
        }
        self.machine.busy.store(true, Ordering::SeqCst);
        self.ask_for(Step::Launch { kernel, grid, threads, arguments: arguments.to_vec() })
    }

    unsafe fn product(&self, product: &Product<'_>) -> Result<()> {
        // SAFETY: memory is let go of only once nothing waits any more, and a recording is replayed while it is there, which its
        // caller sees to.
        let longer = |span: Span<'_>| unsafe { Span::new(span.address(), span.bytes()) };
        let (left, right, out) = (longer(product.left), longer(product.right), longer(product.out));
        self.ask_for(Step::Product(Product { left, right, out, ..*product }))
    }

    fn record(&self, pass: &mut dyn FnMut() -> Result<()>) -> Option<EmulatedRecording> {
        let less = |left: usize| left.checked_sub(1);
        if self.machine.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return None;
        }
        *lock(&self.recording) = Some(Vec::new());
        let asked = pass();
        let steps = lock(&self.recording).take()?;
        asked.is_ok().then(|| EmulatedRecording(Arc::new(steps)))
    }

    unsafe fn replay(&self, recording: &EmulatedRecording) -> Result<()> {
        self.is_free("a recording")?;
        self.machine.replays.fetch_add(1, Ordering::SeqCst);
        self.ask(Task::Steps(Arc::clone(&recording.0))).map(|_| ())
    }

    fn mark(&self) -> Result<EmulatedMark> {
        self.is_free("a mark")?;
        Ok(EmulatedMark { queue: self.queue, until: lock(&self.machine.queues)[self.queue].asked })
    }

    fn follow(&self, mark: &EmulatedMark) -> Result<()> {
        self.is_free("a mark")?;
        self.ask(Task::Follow(*mark)).map(|_| ())
    }

    fn landing(&self, bytes: usize) -> Result<EmulatedLanding> {
        self.is_free("an allocation")?;
        Ok(EmulatedLanding { memory: Arc::default(), room: bytes, mark: None, bytes: Vec::new() })
    }

    fn land(&self, from: Span<'_>, to: &mut EmulatedLanding) -> Result<()> {
        self.is_free("a download")?;
        if from.bytes() > to.room {
            return Err(Error::Internal("a download beyond its memory".to_owned()));
        }
        // What came last may still be on its way.
        to.memory = Arc::new(Mutex::new(vec![FILL; from.bytes()]));
        to.mark = Some(self.ask(Task::Read { from: from.address(), to: Arc::clone(&to.memory) })?);
        Ok(())
    }

    fn landed<'a>(&self, landing: &'a mut EmulatedLanding) -> Result<&'a [u8]> {
        self.is_free("a download")?;
        self.machine.busy.store(false, Ordering::SeqCst);
        if let Some(mark) = landing.mark {
            self.wait(mark)?;
        }
        landing.bytes.clone_from(&lock(&landing.memory));
        Ok(&landing.bytes)
    }
}
