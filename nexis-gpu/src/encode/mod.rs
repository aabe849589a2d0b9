//! Both towers of a CLIP or a SigLIP on a device.
//!
//! Weights are uploaded once and memory is taken once, when the model is loaded; a forward pass takes none. It has one of a few
//! shapes: as many eighths of a batch of [`pictures`](EncodeOptions::pictures) as were asked for, or a batch of
//! [`texts`](EncodeOptions::texts); the places that nobody asked for are filled with what was there before. All shapes of a
//! product have one algorithm, so that what a picture gives depends on nothing beside it. Where the device lacks room for a batch beside that of frames, it is halved; how a row is added up stays as it was,
//! because algorithms are chosen for a full batch, whatever the size of this one.
//!
//! Texts run on the device like pictures: the tower is the same code, a caption of a few sentences would keep a
//! processor busy for longer than the device needs for its frames, and one precision holds for both sides of a score.

#![allow(unsafe_code)]

mod around;
mod call;
mod cutting;
mod line;
mod pooling;
mod slots;
mod tower;
mod weights;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nexis_core::media::resize::Resample;
use nexis_core::media::tiles::TileLayout;
use nexis_core::media::{Frame, MediaFailure, MediaLimits};
use nexis_core::model::Crop;
use nexis_core::model::towers::{Blueprint, ClipSizes, Towers};
use nexis_core::{Error, Result};

use crate::compute::{Compute, Format, Product, Span};
use crate::kernels::{DeviceTaps, InputFormat, Kernels, MAX_HEAD, Rows, no_room};
use around::{End, Text, Vision};
use call::{Call, no_slot};
use cutting::{Cutting, FrameSpace, frame_bytes, rgb_bytes};
use line::Line;
use slots::{Slots, Taken};
use tower::{Pass, Space, Tower};
use weights::{Norm, Uploader};

/// Fewest pictures of a batch: a frame has up to seven tiles, which go together.
const FEWEST_PICTURES: usize = 8;

/// Pictures and texts of a full batch, unless something else is asked for. Products have the algorithms of such a batch
/// whatever is asked for, and however small a device made it: another algorithm may give other bits.
const FULL: [usize; 2] = [64, 16];

/// Batches that are under way at once: one is computed while the next one's pictures come.
const UNDER_WAY: usize = 2;

/// Parts of a full batch that there are passes for: a clip has fewer tiles than a batch, and a picture that somebody waits for
/// comes alone.
const SHAPES: usize = 8;

/// How often a pass is recorded anew: what waits for the whole device meanwhile, in another thread of the process, breaks off a
/// recording.
const RECORDINGS: usize = 3;

/// How to encode on a device.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Format of weights and activations.
    pub format: Format,
    /// Pictures of a batch, at least eight.
    pub pictures: usize,
    /// Texts of a batch.
    pub texts: usize,
    /// Pixels of the largest frame that is expected: room for it is taken beside the batch.
    pub max_pixels: u64,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        let max_pixels = MediaLimits::default().max_pixels;
        let [pictures, texts] = FULL;
        Self { format: Format::Bf16, pictures, texts, max_pixels }
    }
}

/// Memory that a model has taken on its device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Weights.
    pub weights: usize,
    /// Everything that a forward pass writes.
    pub workspace: usize,
    /// Pictures of a batch that there was room for.
    pub pictures: usize,
}

/// What a batch has for itself, from its first byte until its embeddings were read.
struct Slot<C: Compute> {
    /// The passes over pictures that read this input, one for each of [`DeviceTowers::shapes`], `None` where it could not be
    /// recorded. Recordings name memory, and so go first.
    passes: Vec<Option<C::Recording>>,
    /// What the vision tower reads.
    input: C::Memory,
    /// Where embeddings come in.
    out: C::Landing,
}

/// What a device writes while it works.
struct Work<C: Compute> {
    slots: Vec<Slot<C>>,
    pictures: Space<C::Memory>,
    texts: Space<C::Memory>,
    tokens: C::Memory,
    cutting: Cutting<C::Memory>,
}

/// Both towers of a CLIP or a SigLIP on a device.
///
/// Two queues share the work: the intake has what comes before the network's input, bytes and tiles, and the other the network,
/// so that the pictures of a batch come while the one before is computed. What both touch is a slot's input, and marks keep
/// them apart there.
pub struct DeviceTowers<C: Compute> {
    // They hold recordings, which name memory, and so go first.
    slots: Slots<Slot<C>>,
    /// The pass over texts. Whoever asks the network's queue holds it, so that nothing slips into a recording.
    text_pass: Mutex<Option<C::Recording>>,
    compute: C,
    intake: C,
    sizes: ClipSizes,
    resample: Resample,
    format: Format,
    vision: Vision<C::Memory>,
    text: Text<C::Memory>,
    memory: MemoryUse,
    recorded: (usize, usize),
    /// Pictures of the passes that there are, ascending; the last is a full batch.
    shapes: Vec<usize>,
    texts: usize,
    pictures: Space<C::Memory>,
    text_space: Space<C::Memory>,
    tokens: C::Memory,
    cutting: Mutex<Cutting<C::Memory>>,
    line: Line<Vec<(Frame, TileLayout)>, Vec<Vec<f32>>>,
}

impl<C: Compute> Drop for DeviceTowers<C> {
    fn drop(&mut self) {
        // Of a call that failed, something may still be under way, and memory goes next.
        let _ = self.wait_for_intake();
        let _ = self.compute.download(C::span(&self.vision.levels), &mut []);
    }
}

fn memory<C: Compute>(compute: &C, what: &str, bytes: usize) -> Result<C::Memory> {
    compute.allocate(bytes)?.ok_or_else(|| no_room(what, bytes))
}

impl<C: Compute> DeviceTowers<C> {
    /// Uploads a model's weights and takes the memory of its forward passes.
    ///
    /// # Errors
    /// Where the weights do not fit the sizes or the format, a size has no kernel, or the device has no room.
    pub fn load(compute: C, plan: &Blueprint<'_>, options: EncodeOptions) -> Result<Self> {
        let sizes = plan.sizes();
        for (name, tower) in [("vision", sizes.vision), ("text", sizes.text)] {
            let size = tower.width / tower.heads.max(1);
            if !size.is_multiple_of(2) || size > MAX_HEAD || !tower.intermediate.is_multiple_of(2) {
                let why = format!(
                    "heads of {size} values, {} inside: on a GPU, even numbers are expected, and heads of up to {MAX_HEAD}; \
                     choose device cpu",
                    tower.intermediate
                );
                return Err(Error::usage(format!("{name} tower"), why));
            }
        }
        let intake = compute.beside()?;
        let mut uploader = Uploader::new(&compute, plan, options.format);
        let vision = Vision::load(&mut uploader, &sizes)?;
        let text = Text::load(&mut uploader, &sizes)?;
        let weights = uploader.bytes();
        let texts = options.texts.max(1);
        let mut pictures = options.pictures.max(FEWEST_PICTURES);
        let (work, workspace) = loop {
            let tried = EncodeOptions { pictures, texts, ..options };
            match Self::work(&compute, &sizes, vision.row, tried)? {
                (Some(work), workspace) => break (work, workspace),
                (None, _) if pictures > FEWEST_PICTURES => pictures = (pictures / 2).max(FEWEST_PICTURES),
                (None, workspace) => return Err(no_room_for_the_smallest(pictures, weights, workspace)),
            }
        };
        let memory = MemoryUse { weights, workspace, pictures };
        let format = options.format;
        // What lies on the device by now, the intake may read.
        intake.follow(&compute.mark()?)?;
        let mut towers = Self {
            slots: Slots::new(work.slots),
            text_pass: Mutex::new(None),
            compute,
            intake,
            sizes,
            resample: plan.resample(),
            format,
            vision,
            text,
            memory,
            recorded: (0, 0),
            shapes: vec![pictures],
            texts,
            pictures: work.pictures,
            text_space: work.texts,
            tokens: work.tokens,
            cutting: Mutex::new(work.cutting),
            line: Line::new(UNDER_WAY),
        };
        towers.prepare()?;
        Ok(towers)
    }

    /// Launches each pass once, so that the device has loaded and chosen what it needs, keeps the shapes of batches whose rows have
    /// the bits that they have in a full one, and records all passes. Nothing is recorded later on: whatever else in this
    /// process waits for the whole device meanwhile would break a recording.
    fn prepare(&mut self) -> Result<()> {
        let full = self.memory.pictures;
        let step = (full / SHAPES).max(FEWEST_PICTURES);
        let shapes: Vec<usize> = (step..full).step_by(step).collect();
        let mut slots: Vec<_> = std::iter::from_fn(|| self.slots.take(false)).collect();
        let slot = slots.first_mut().and_then(Taken::get).ok_or_else(no_slot)?;
        let input = C::span(&slot.input);
        self.compute.upload(&pattern(self.format, input.bytes()), input)?;
        let mut rows = |items| -> Result<Vec<u8>> {
            self.launch_pictures(input, items)?;
            self.compute.land(self.embeddings(&self.vision.end, &self.pictures, items)?, &mut slot.out)?;
            self.compute.landed(&mut slot.out).map(<[u8]>::to_vec)
        };
        let whole = rows(full)?;
        // A library of products may refuse another number of rows, or add them up otherwise, which it promises nothing about.
        let same = |items: &usize| rows(*items).is_ok_and(|found| whole.starts_with(&found));
        let shapes: Vec<usize> = shapes.into_iter().filter(same).chain([full]).collect();
        for slot in slots.iter_mut().filter_map(Taken::get) {
            let input = C::span(&slot.input);
            let record = |items: &usize| self.record(&mut || self.launch_pictures(input, *items));
            slot.passes = shapes.iter().map(record).collect();
            self.recorded.0 += slot.passes.iter().flatten().count();
            self.recorded.1 += slot.passes.len();
        }
        drop(slots);
        self.shapes = shapes;
        let ends: Vec<u32> = (0..self.texts).map(|item| (item * self.sizes.context) as u32).collect();
        self.compute.upload(&vec![0; C::span(&self.tokens).bytes()], C::span(&self.tokens))?;
        self.compute.upload(&words(&ends), C::span(&self.text_space.wanted))?;
        // SAFETY: the tokens are zeros, and the first row of each text is wanted.
        let text_pass = unsafe {
            self.launch_texts()?;
            self.record(&mut || self.launch_texts())
        };
        self.recorded.0 += usize::from(text_pass.is_some());
        self.recorded.1 += 1;
        *self.asking() = text_pass;
        // Whatever went wrong on the way shows here.
        self.compute.download(C::span(&self.vision.levels), &mut [])
    }

    /// Records a pass, `None` where that does not succeed.
    fn record(&self, pass: &mut dyn FnMut() -> Result<()>) -> Option<C::Recording> {
        (0..RECORDINGS).find_map(|_| self.compute.record(pass))
    }

    /// The least shape that so many pictures fit in, by its number.
    fn shape(&self, wanted: usize) -> usize {
        self.shapes.partition_point(|items| *items < wanted).min(self.shapes.len().saturating_sub(1))
    }

    /// Memory for batches of this size, `None` where there is no room, and how much that is.
    fn work(
        compute: &C,
        sizes: &ClipSizes,
        row: usize,
        options: EncodeOptions,
    ) -> Result<(Option<Work<C>>, usize)> {
        let EncodeOptions { pictures, texts, max_pixels, .. } = options;
        let grid = sizes.grid();
        let input = pictures * grid * grid * row * 2;
        let vision = Rows { items: pictures, per: sizes.rows(), width: sizes.vision.width };
        let text = Rows { items: texts, per: sizes.context, width: sizes.text.width };
        let [rgb, resized] = frame_bytes(max_pixels, sizes.image);
        let (tokens, crops) = (texts * sizes.context * 4, pictures * sizes.image * sizes.image * 3);
        let mut total = 0;
        let pictures = Space::new(compute, vision, &sizes.vision, sizes.projection, &mut total)?;
        let texts = Space::new(compute, text, &sizes.text, sizes.projection, &mut total)?;
        let mut take = |bytes: usize| {
            total += bytes;
            compute.allocate(bytes)
        };
        let inputs = (0..UNDER_WAY).map(|_| take(input)).collect::<Result<Vec<_>>>()?;
        let others = (take(tokens)?, take(crops)?, take(rgb)?, take(resized)?);
        let (
            Some(pictures),
            Some(texts),
            Some(inputs),
            (Some(tokens), Some(crops), Some(rgb), Some(resized)),
        ) = (pictures, texts, inputs.into_iter().collect::<Option<Vec<_>>>(), others)
        else {
            return Ok((None, total));
        };
        // Where one row of a picture is wanted, it is that of its class, the first; that never changes.
        let first: Vec<u32> = (0..vision.items).map(|item| (item * vision.per) as u32).collect();
        compute.upload(&words(&first), C::span(&pictures.wanted))?;
        let frames = FrameSpace { rgb: Some(rgb), rows: Some(resized), taps: HashMap::new() };
        let results = vision.items.max(text.items) * sizes.projection * 4;
        let slot = |input| -> Result<Slot<C>> {
            Ok(Slot { passes: Vec::new(), input, out: compute.landing(results)? })
        };
        let slots = inputs.into_iter().map(slot).collect::<Result<_>>()?;
        let cutting = Cutting { crops, frames };
        Ok((Some(Work { slots, pictures, texts, tokens, cutting }), total))
    }

    /// How many of its passes the device has recorded, and how many there are; one that is not recorded takes longer.
    pub const fn recorded(&self) -> (usize, usize) {
        self.recorded
    }

    /// Memory taken.
    pub const fn memory(&self) -> MemoryUse {
        self.memory
    }

    /// The network's queue, for whoever asks something of it.
    fn asking(&self) -> MutexGuard<'_, Option<C::Recording>> {
        // Every pass writes what it reads, so that one which broke off leaves nothing to the next.
        self.text_pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `fill` write the input of a slot, and gives the mark behind it. A pass that still reads it is one of a call that
    /// failed: of any other, the embeddings were waited for before the slot was handed on.
    fn fill(
        &self,
        slot: &Slot<C>,
        fill: impl FnOnce(&mut Cutting<C::Memory>, Span<'_>) -> Result<()>,
    ) -> Result<C::Mark> {
        let mut cutting = self.cutting.lock().unwrap_or_else(PoisonError::into_inner);
        fill(&mut cutting, C::span(&slot.input))?;
        self.intake.mark()
    }

    /// Has the device do what was recorded, or where it could not be, what `launches` asks for, which is the same.
    fn repeat(&self, pass: Option<&C::Recording>, launches: impl FnOnce() -> Result<()>) -> Result<()> {
        match pass {
            // SAFETY: what a pass launches reads and writes weights and working space, which live as long as `self`.
            Some(recording) => unsafe { self.compute.replay(recording) },
            None => launches(),
        }
    }

    /// Has a batch of pictures computed, `wanted` of which are wanted. What the slot holds is there behind `filled`.
    fn picture_pass(&self, slot: &mut Slot<C>, filled: &C::Mark, wanted: usize) -> Result<()> {
        let Slot { passes, input, out } = slot;
        let shape = self.shape(wanted);
        let items =
            *self.shapes.get(shape).ok_or_else(|| Error::Internal("a batch without a shape".to_owned()))?;
        let pass = passes.get(shape).and_then(Option::as_ref);
        let asking = self.asking();
        self.compute.follow(filled)?;
        self.repeat(pass, || self.launch_pictures(C::span(input), items))?;
        let from = self.embeddings(&self.vision.end, &self.pictures, wanted)?;
        self.compute.land(from, out)?;
        drop(asking);
        Ok(())
    }

    /// Launches a pass over so many pictures.
    fn launch_pictures(&self, input: Span<'_>, items: usize) -> Result<()> {
        let space = &self.pictures;
        let (kernels, vision) = (Kernels(&self.compute), &self.vision);
        let rows = Rows { items, ..space.rows };
        let grid = self.sizes.grid();
        kernels.product(&Product {
            format: self.format,
            left: input,
            right: C::span(&vision.patches),
            out: C::span(&space.product),
            wide: false,
            items: rows.items,
            usual: FULL[0],
            rows: grid * grid,
            columns: rows.width,
            depth: vision.row,
        })?;
        kernels.embed_pictures(
            self.format,
            C::span(&space.product),
            vision.patch_bias.as_ref().map(C::span),
            vision.class.as_ref().map(C::span),
            C::span(&vision.positions),
            vision.before.as_ref().map(Norm::spans::<C>),
            &space.states::<C>(rows, vision.tower.first_norm::<C>()?),
        )?;
        let pass = Pass { kernels: &kernels, format: self.format, rows, usual: FULL[0] };
        // SAFETY: the first row of each picture was put into `wanted` when the memory was taken.
        unsafe { self.launch_blocks(&pass, &vision.tower, &vision.after, &vision.end, space) }
    }

    /// Launches a pass over texts.
    ///
    /// # Safety
    /// `self.tokens` are below the vocabulary, and `wanted` of their space holds a row of each item.
    unsafe fn launch_texts(&self) -> Result<()> {
        let (text, space, kernels) = (&self.text, &self.text_space, Kernels(&self.compute));
        let pass = Pass { kernels: &kernels, format: self.format, rows: space.rows, usual: FULL[1] };
        // SAFETY: handed on to the caller.
        unsafe {
            kernels.embed_texts(
                self.format,
                C::span(&self.tokens),
                (C::span(&text.table), self.sizes.vocabulary),
                C::span(&text.positions),
                &space.states::<C>(space.rows, text.tower.first_norm::<C>()?),
            )?;
            self.launch_blocks(&pass, &text.tower, &text.after, &text.end, space)
        }
    }

    /// Launches the blocks and what comes behind them.
    ///
    /// # Safety
    /// `space.wanted` holds a row of each item.
    unsafe fn launch_blocks(
        &self,
        pass: &Pass<'_, C>,
        tower: &Tower<C::Memory>,
        after: &Norm<C::Memory>,
        end: &End<C::Memory>,
        space: &Space<C::Memory>,
    ) -> Result<()> {
        // SAFETY: handed on to the caller.
        unsafe { pass.run(tower, space, after.spans::<C>()) }?;
        match end {
            End::Projection(weight, _) => pass.kernels.product(&Product {
                format: self.format,
                left: C::span(&space.h),
                right: C::span(weight),
                out: C::span(&space.out),
                wide: true,
                items: pass.rows.items,
                usual: pass.usual,
                rows: 1,
                columns: self.sizes.projection,
                depth: pass.rows.width,
            }),
            End::Pooling(head) => head.run(pass, space),
        }
    }

    /// Where the embeddings of the first `wanted` items lie behind a pass.
    fn embeddings<'a>(
        &self,
        end: &End<C::Memory>,
        space: &'a Space<C::Memory>,
        wanted: usize,
    ) -> Result<Span<'a>> {
        let out = match end {
            End::Projection(..) => &space.out,
            End::Pooling(_) => &space.picked,
        };
        let bytes = wanted.min(space.rows.items) * self.sizes.projection * 4;
        C::span(out).part(0, bytes).ok_or_else(|| Error::Internal("a batch without embeddings".to_owned()))
    }

    /// Embeddings of the tiles of several clips' frames, clip by clip.
    fn embed_clips(&self, clips: &[Vec<(Frame, TileLayout)>]) -> Result<Vec<Vec<Vec<f32>>>> {
        let tiles_of = |(_, layout): &(Frame, TileLayout)| layout.corners().count();
        let mut batches: Vec<(Vec<&(Frame, TileLayout)>, usize)> = Vec::new();
        for frame in clips.iter().flatten() {
            let tiles = tiles_of(frame);
            match batches.last_mut() {
                Some((frames, filled)) if *filled + tiles <= self.memory.pictures => {
                    frames.push(frame);
                    *filled += tiles;
                }
                _ => batches.push((vec![frame], tiles)),
            }
        }
        let mut call = Call::new(self, &self.vision.end);
        for (frames, tiles) in batches {
            call.add(tiles, |slot| {
                let filled = self.fill(slot, |cutting, input| {
                    let mut at = 0;
                    for frame in frames {
                        self.cut(&mut cutting.frames, input, &frame.0, &frame.1, at)?;
                        at += tiles_of(frame);
                    }
                    Ok(())
                })?;
                self.picture_pass(slot, &filled, tiles)
            })?;
        }
        let mut rows = call.finish()?.into_iter();
        Ok(clips.iter().map(|clip| rows.by_ref().take(clip.iter().map(tiles_of).sum()).collect()).collect())
    }
}

/// So many bytes of numbers within one, which differ from picture to picture.
fn pattern(format: Format, bytes: usize) -> Vec<u8> {
    let one = |i: u32| format.rounded((i * 89 % 257) as f32 / 128.0 - 1.0).to_le_bytes();
    (0..257).flat_map(one).cycle().take(bytes).collect()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl<C: Compute> Towers for DeviceTowers<C> {
    fn device(&self) -> String {
        self.compute.name()
    }

    fn precision(&self) -> &'static str {
        self.format.name()
    }

    fn embed_pictures(&self, crops: &[Crop]) -> Result<Vec<Vec<f32>>> {
        let edge = u32::try_from(self.sizes.image).unwrap_or(0);
        let bytes = self.sizes.image * self.sizes.image * 3;
        if let Some(crop) = crops.iter().find(|crop| crop.rgb.len() != bytes) {
            let what = format!("a picture of {} bytes", crop.rgb.len());
            return Err(Error::usage(what, format!("{bytes} bytes of RGB are expected")));
        }
        let plan = self.tile_plan(edge, vec![(0, 0)])?;
        let mut call = Call::new(self, &self.vision.end);
        for batch in crops.chunks(self.memory.pictures) {
            let pixels: Vec<&[u8]> = batch.iter().map(|crop| crop.rgb.as_slice()).collect();
            call.add(batch.len(), |slot| {
                let filled = self.fill(slot, |Cutting { crops, frames }, input| {
                    let crops = C::span(crops);
                    self.intake.upload_parts(&pixels, crops)?;
                    let taps = match frames.taps.entry((edge, edge)) {
                        Entry::Occupied(taps) => taps.into_mut(),
                        Entry::Vacant(vacant) => {
                            vacant.insert(DeviceTaps::upload(&self.intake, edge, edge, self.resample)?)
                        }
                    };
                    Kernels(&self.intake).columns_to_input(
                        crops,
                        batch.len(),
                        taps,
                        &plan,
                        C::span(&self.vision.levels),
                        InputFormat::Short(self.format),
                        input,
                    )
                })?;
                self.picture_pass(slot, &filled, batch.len())
            })?;
        }
        call.finish()
    }

    fn embed_tiles(&self, frames: &[Frame]) -> Result<Vec<Vec<f32>>, MediaFailure> {
        let edge = u32::try_from(self.sizes.image).unwrap_or(0);
        // All are looked at before the first is computed.
        let layouts = frames
            .iter()
            .map(|frame| {
                let layout = TileLayout::new(frame.width, frame.height, edge)?;
                let (found, wanted) = (frame.rgb.len(), rgb_bytes(frame));
                if found != wanted {
                    let what = format!("a {}x{} frame of {found} bytes", frame.width, frame.height);
                    return Err(Error::usage(what, format!("{wanted} bytes of RGB are expected")).into());
                }
                Ok(layout)
            })
            .collect::<Result<Vec<_>, MediaFailure>>()?;
        let tiles: usize = layouts.iter().map(|layout| layout.corners().count()).sum();
        if tiles == 0 {
            return Ok(Vec::new());
        }
        // A frame's pixels are shared, not copied.
        let clip: Vec<_> = frames.iter().cloned().zip(layouts).collect();
        let embed = |clips: Vec<_>| {
            let embedded = self.embed_clips(&clips);
            if embedded.is_err() {
                // Results were waited for. Where there are none, tiles may still be cut from pictures of the decoder's, whose
                // memory may be written anew once these are let go of.
                let _ = self.wait_for_intake();
            }
            embedded
        };
        Ok(self.line.submit(clip, tiles, self.memory.pictures, embed)?)
    }

    fn embed_texts(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let (context, vocabulary) = (self.sizes.context, self.sizes.vocabulary);
        let refuse = |why: String| Error::Internal(format!("forward pass: {why}"));
        // Where a row sees what is behind it, a text fills its place.
        let least = if self.text.tower.is_causal() { 1 } else { context };
        for ids in sequences {
            if !(least..=context).contains(&ids.len()) {
                return Err(refuse(format!("{} tokens, where {least} to {context} are read", ids.len())));
            }
            if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
                return Err(refuse(format!("no embedding of token {id}")));
            }
        }
        let mut call = Call::new(self, &self.text.end);
        for batch in sequences.chunks(self.texts) {
            // What stands behind a text in its place is seen by none of its rows.
            let mut tokens = vec![0_u32; self.texts * context];
            let mut last: Vec<u32> = (0..self.texts).map(|item| (item * context) as u32).collect();
            for ((place, ids), last) in tokens.chunks_exact_mut(context).zip(batch).zip(&mut last) {
                place.iter_mut().zip(ids).for_each(|(to, id)| *to = *id);
                *last += ids.len() as u32 - 1;
            }
            call.add(batch.len(), |slot| {
                let (compute, space) = (&self.compute, &self.text_space);
                let text_pass = self.asking();
                compute.upload(&words(&tokens), C::span(&self.tokens))?;
                compute.upload(&words(&last), C::span(&space.wanted))?;
                // SAFETY: every token was found to be below the vocabulary, and the last of a text is within it.
                self.repeat(text_pass.as_ref(), || unsafe { self.launch_texts() })?;
                compute.land(self.embeddings(&self.text.end, space, batch.len())?, &mut slot.out)
            })?;
        }
        call.finish()
    }
}

/// Says that not even the smallest batch has room. What was there before may be another encoder, with a larger one.
fn no_room_for_the_smallest(pictures: usize, weights: usize, workspace: usize) -> Error {
    Error::Unavailable {
        what: format!(
            "{} bytes of the device's memory, {weights} for weights and {workspace} for the smallest batch, of {pictures} \
             pictures",
            weights.saturating_add(workspace)
        ),
        why: "there is no room; stop what else runs there, choose a smaller --batch or model.batch where another encoder was \
              loaded before this one, or choose device cpu"
            .to_owned(),
    }
}
