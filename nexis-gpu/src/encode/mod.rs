//! Both towers of a CLIP or a SigLIP on a device.
//!
//! Weights are uploaded once and memory is taken once, when the model is loaded; a forward pass takes none. It always has the
//! same shape: a batch of [`pictures`](EncodeOptions::pictures) or [`texts`](EncodeOptions::texts), the places that nobody
//! asked for filled with what was there before. So every product has one shape and one algorithm, and what a picture
//! gives depends on nothing beside it. Where the device lacks room for a batch beside that of frames, it is halved; how a row
//! is added up stays as it was, because algorithms are chosen for a full batch, whatever the size of this one.
//!
//! Texts run on the device like pictures: the tower is the same code, a caption of a few sentences would keep a
//! processor busy for longer than the device needs for its frames, and one precision holds for both sides of a score.

#![allow(unsafe_code)]

mod line;
mod pooling;
mod tower;
mod weights;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use nexis_core::media::resize::Resample;
use nexis_core::media::tiles::{MAX_TILES, TileLayout};
use nexis_core::media::{Frame, MediaFailure, MediaLimits};
use nexis_core::model::Crop;
use nexis_core::model::towers::{Architecture, Blueprint, ClipSizes, Towers};
use nexis_core::{Error, Result};

use crate::compute::{Compute, Format, Product, Span};
use crate::kernels::{DeviceTaps, InputFormat, Kernels, MAX_HEAD, Rows, TilePlan, no_room};
use crate::resident::Resident;
use line::Line;
use pooling::Pooling;
use tower::{Pass, Pool, Space, Tower};
use weights::{Norm, Uploader};

/// Fewest pictures of a batch: a frame has up to seven tiles, which go together.
const FEWEST_PICTURES: usize = 8;

/// Pictures and texts of a full batch, unless something else is asked for. Products have the algorithms of such a batch
/// whatever is asked for, and however small a device made it: another algorithm may give other bits.
const FULL: [usize; 2] = [64, 16];

/// Most sizes of frames whose taps are kept.
const KEPT_TAPS: usize = 64;

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

/// What stands before and after the blocks of the vision tower.
struct Vision<M> {
    patches: M,
    patch_bias: Option<M>,
    /// The first row, where there is one beside those of the patches.
    class: Option<M>,
    positions: M,
    /// The normalisation before the tower, where there is one.
    before: Option<Norm<M>>,
    tower: Tower<M>,
    after: Norm<M>,
    end: End<M>,
    levels: M,
    /// Values from a patch to the next: a multiple of eight, so that products read whole vectors.
    row: usize,
}

/// The same of the text tower.
struct Text<M> {
    table: M,
    positions: M,
    tower: Tower<M>,
    after: Norm<M>,
    end: End<M>,
}

/// What makes an embedding of the states behind a tower.
enum End<M> {
    /// A product with the wanted row, and what is added to it, where there is something, on the processor.
    Projection(M, Option<Vec<f32>>),
    /// Attention over all rows.
    Pooling(Box<Pooling<M>>),
}

/// What a device writes while it works; whoever encodes holds it.
struct Work<M> {
    pictures: Space<M>,
    texts: Space<M>,
    tokens: M,
    /// Pictures of one batch, as bytes.
    crops: M,
    frames: FrameSpace<M>,
}

/// For cutting tiles out of frames. It grows where a frame is larger than was expected.
struct FrameSpace<M> {
    rgb: Option<M>,
    rows: Option<M>,
    taps: HashMap<(u32, u32), DeviceTaps<M>>,
}

/// Bytes of the largest frame, and of what its rows are resized to.
fn frame_bytes(max_pixels: u64, edge: usize) -> [usize; 2] {
    // Rows come to no more than the longer edge of a frame times the edge of a tile, whichever way the frame lies.
    let longest = max_pixels.saturating_mul(MAX_TILES.into()).isqrt();
    let number = |x: u64| usize::try_from(x).unwrap_or(usize::MAX);
    [number(max_pixels).saturating_mul(3), number(longest).saturating_mul(edge).saturating_mul(3)]
}

/// Both towers of a CLIP or a SigLIP on a device.
pub struct DeviceTowers<C: Compute> {
    compute: C,
    sizes: ClipSizes,
    resample: Resample,
    format: Format,
    vision: Vision<C::Memory>,
    text: Text<C::Memory>,
    memory: MemoryUse,
    texts: usize,
    work: Mutex<Work<C::Memory>>,
    line: Line<Vec<(Frame, TileLayout)>, Vec<Vec<f32>>>,
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
        Ok(Self {
            compute,
            sizes,
            resample: plan.resample(),
            format,
            vision,
            text,
            memory,
            texts,
            work: Mutex::new(work),
            line: Line::default(),
        })
    }

    /// Memory for batches of this size, `None` where there is no room, and how much that is.
    fn work(
        compute: &C,
        sizes: &ClipSizes,
        row: usize,
        options: EncodeOptions,
    ) -> Result<(Option<Work<C::Memory>>, usize)> {
        let EncodeOptions { pictures, texts, max_pixels, .. } = options;
        let grid = sizes.grid();
        let input = pictures * grid * grid * row * 2;
        let vision = Rows { items: pictures, per: sizes.rows(), width: sizes.vision.width };
        let text = Rows { items: texts, per: sizes.context, width: sizes.text.width };
        let [rgb, resized] = frame_bytes(max_pixels, sizes.image);
        let (tokens, crops) = (texts * sizes.context * 4, pictures * sizes.image * sizes.image * 3);
        let mut total = 0;
        let pictures = Space::new(compute, vision, &sizes.vision, sizes.projection, input, &mut total)?;
        let texts = Space::new(compute, text, &sizes.text, sizes.projection, 0, &mut total)?;
        let mut take = |bytes: usize| {
            total += bytes;
            compute.allocate(bytes)
        };
        let others = (take(tokens)?, take(crops)?, take(rgb)?, take(resized)?);
        let (Some(pictures), Some(texts), (Some(tokens), Some(crops), Some(rgb), Some(resized))) =
            (pictures, texts, others)
        else {
            return Ok((None, total));
        };
        // Where one row of a picture is wanted, it is that of its class, the first; that never changes.
        let first: Vec<u32> = (0..vision.items).map(|item| (item * vision.per) as u32).collect();
        compute.upload(&words(&first), C::span(&pictures.wanted))?;
        let frames = FrameSpace { rgb: Some(rgb), rows: Some(resized), taps: HashMap::new() };
        Ok((Some(Work { pictures, texts, tokens, crops, frames }), total))
    }

    /// Memory taken.
    pub const fn memory(&self) -> MemoryUse {
        self.memory
    }

    fn working(&self) -> std::sync::MutexGuard<'_, Work<C::Memory>> {
        // Every pass writes what it reads, so that one which broke off leaves nothing to the next.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the network's input, which lies in `work`, to embeddings of the first `wanted` pictures.
    fn picture_pass(&self, work: &Work<C::Memory>, wanted: usize) -> Result<Vec<Vec<f32>>> {
        let (kernels, space, vision) = (Kernels(&self.compute), &work.pictures, &self.vision);
        let grid = self.sizes.grid();
        let rows = space.rows;
        kernels.product(&Product {
            format: self.format,
            left: C::span(&space.inner),
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
            &space.states::<C>(vision.tower.first_norm::<C>()?),
        )?;
        // SAFETY: the first row of each picture was put into `wanted` when the memory was taken.
        unsafe { self.finish(&vision.tower, &vision.after, &vision.end, space, FULL[0], wanted) }
    }

    /// The blocks, what comes behind them, and the embeddings of the first `wanted` items.
    ///
    /// # Safety
    /// `space.wanted` holds a row of each item.
    unsafe fn finish(
        &self,
        tower: &Tower<C::Memory>,
        after: &Norm<C::Memory>,
        end: &End<C::Memory>,
        space: &Space<C::Memory>,
        usual: usize,
        wanted: usize,
    ) -> Result<Vec<Vec<f32>>> {
        let kernels = Kernels(&self.compute);
        let pass = Pass { kernels: &kernels, format: self.format, usual };
        // SAFETY: handed on to the caller.
        unsafe { pass.run(tower, space, after.spans::<C>()) }?;
        let (width, columns) = (space.rows.width, self.sizes.projection);
        let (out, bias) = match end {
            End::Projection(weight, bias) => {
                kernels.product(&Product {
                    format: self.format,
                    left: C::span(&space.h),
                    right: C::span(weight),
                    out: C::span(&space.out),
                    wide: true,
                    items: space.rows.items,
                    usual,
                    rows: 1,
                    columns,
                    depth: width,
                })?;
                (&space.out, bias.as_deref().unwrap_or_default())
            }
            End::Pooling(head) => {
                head.run(&pass, space)?;
                (&space.picked, [].as_slice())
            }
        };
        let mut bytes = vec![0; wanted.min(space.rows.items) * columns * 4];
        self.compute.download(C::span(out), &mut bytes)?;
        let values: Vec<f32> =
            bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let mut rows: Vec<_> = values.chunks_exact(columns.max(1)).map(<[f32]>::to_vec).collect();
        for row in &mut rows {
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
        Ok(rows)
    }

    /// Embeddings of the tiles of several clips' frames, clip by clip.
    fn embed_clips(&self, clips: &[Vec<(Frame, TileLayout)>]) -> Result<Vec<Vec<Vec<f32>>>> {
        let mut work = self.working();
        let mut rows = Vec::new();
        let mut filled = 0;
        for (frame, layout) in clips.iter().flatten() {
            let tiles = layout.corners().count();
            if filled + tiles > self.memory.pictures {
                rows.extend(self.picture_pass(&work, filled)?);
                filled = 0;
            }
            self.cut(&mut work, frame, layout, filled)?;
            filled += tiles;
        }
        rows.extend(self.picture_pass(&work, filled)?);
        let mut rows = rows.into_iter();
        let count =
            |clip: &Vec<(Frame, TileLayout)>| clip.iter().map(|(_, layout)| layout.corners().count()).sum();
        Ok(clips.iter().map(|clip| rows.by_ref().take(count(clip)).collect()).collect())
    }

    /// How tiles lie in what the vision tower reads.
    fn tile_plan(&self, width: u32, corners: Vec<(u32, u32)>) -> Result<TilePlan> {
        let number = |x: usize| u32::try_from(x).map_err(|_| Error::Internal(format!("size {x}")));
        Ok(TilePlan {
            size: number(self.sizes.image)?,
            patch: number(self.sizes.patch)?,
            row: number(self.vision.row)?,
            width,
            corners,
        })
    }

    /// Where this device has a frame's pixels already, from its decoder.
    fn resident<'f>(&self, frame: &'f Frame) -> Option<Span<'f>> {
        let resident = frame.rgb.copy::<Resident<C::Memory>>()?;
        let memory = resident.memory().filter(|memory| self.compute.reaches(memory))?;
        (resident.bytes() == frame.rgb.len()).then_some(C::span(memory))
    }

    /// Cuts the tiles of a frame into the network's input, from tile `at` on.
    fn cut(&self, work: &mut Work<C::Memory>, frame: &Frame, layout: &TileLayout, at: usize) -> Result<()> {
        let (kernels, compute) = (Kernels(&self.compute), &self.compute);
        let space = &mut work.frames;
        let height = frame.height as usize;
        let bytes = rgb_bytes(frame);
        let rows = grown(compute, &mut space.rows, "a frame's rows", layout.width() as usize * height * 3)?;
        if space.taps.len() + 2 > KEPT_TAPS {
            space.taps.clear();
        }
        for sizes in [(frame.width, layout.width()), (frame.height, layout.height())] {
            if let Entry::Vacant(vacant) = space.taps.entry(sizes) {
                vacant.insert(DeviceTaps::upload(compute, sizes.0, sizes.1, self.resample)?);
            }
        }
        let taps = |sizes| space.taps.get(&sizes).ok_or_else(|| Error::Internal("taps are gone".to_owned()));
        let rgb = match self.resident(frame) {
            Some(rgb) => rgb,
            None => {
                let rgb = grown(compute, &mut space.rgb, "a frame", bytes)?;
                let pixels = frame
                    .rgb
                    .get(..bytes)
                    .ok_or_else(|| Error::Internal("a frame lost pixels".to_owned()))?;
                compute.upload(pixels, rgb)?;
                rgb
            }
        };
        kernels.rows_from_rgb(rgb, height, taps((frame.width, layout.width()))?, rows)?;
        let plan = self.tile_plan(layout.width(), layout.corners().collect())?;
        let grid = self.sizes.grid();
        let tile = grid * grid * self.vision.row * 2;
        let to = C::span(&work.pictures.inner)
            .part(at * tile, plan.corners.len() * tile)
            .ok_or_else(|| Error::Internal("a batch has no room for a frame's tiles".to_owned()))?;
        let (columns, levels) = (taps((frame.height, layout.height()))?, C::span(&self.vision.levels));
        kernels.columns_to_input(rows, 1, columns, &plan, levels, InputFormat::Short(self.format), to)
    }
}

/// Bytes of a frame of this size.
const fn rgb_bytes(frame: &Frame) -> usize {
    (frame.width as usize).saturating_mul(frame.height as usize).saturating_mul(3)
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Memory of at least this size.
fn grown<'a, C: Compute>(
    compute: &C,
    memory: &'a mut Option<C::Memory>,
    what: &str,
    bytes: usize,
) -> Result<Span<'a>> {
    if memory.as_ref().is_none_or(|memory| C::span(memory).bytes() < bytes) {
        // The old one goes first, so that both are never there at once.
        *memory = None;
        *memory = Some(self::memory(compute, what, bytes)?);
    }
    let memory = memory.as_ref().ok_or_else(|| no_room(what, bytes))?;
    Ok(C::span(memory))
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
        let mut work = self.working();
        let plan = self.tile_plan(edge, vec![(0, 0)])?;
        let sizes = (edge, edge);
        if let Entry::Vacant(vacant) = work.frames.taps.entry(sizes) {
            vacant.insert(DeviceTaps::upload(&self.compute, edge, edge, self.resample)?);
        }
        let mut out = Vec::with_capacity(crops.len());
        for batch in crops.chunks(self.memory.pictures) {
            let pixels: Vec<&[u8]> = batch.iter().map(|crop| crop.rgb.as_slice()).collect();
            let crops = C::span(&work.crops);
            self.compute.upload_parts(&pixels, crops)?;
            let taps =
                work.frames.taps.get(&sizes).ok_or_else(|| Error::Internal("taps are gone".to_owned()))?;
            Kernels(&self.compute).columns_to_input(
                crops,
                batch.len(),
                taps,
                &plan,
                C::span(&self.vision.levels),
                InputFormat::Short(self.format),
                C::span(&work.pictures.inner),
            )?;
            out.extend(self.picture_pass(&work, batch.len())?);
        }
        Ok(out)
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
                // Results were waited for. Where there are none, kernels may still read pictures of the decoder's, whose memory
                // may be written anew once these are let go of.
                let _ = self.compute.download(C::span(&self.vision.levels), &mut []);
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
        let work = self.working();
        let (kernels, space, text) = (Kernels(&self.compute), &work.texts, &self.text);
        let mut out = Vec::with_capacity(sequences.len());
        for batch in sequences.chunks(self.texts) {
            // What stands behind a text in its place is seen by none of its rows.
            let mut tokens = vec![0_u32; self.texts * context];
            let mut last: Vec<u32> = (0..self.texts).map(|item| (item * context) as u32).collect();
            for ((place, ids), last) in tokens.chunks_exact_mut(context).zip(batch).zip(&mut last) {
                place.iter_mut().zip(ids).for_each(|(to, id)| *to = *id);
                *last += ids.len() as u32 - 1;
            }
            self.compute.upload(&words(&tokens), C::span(&work.tokens))?;
            self.compute.upload(&words(&last), C::span(&space.wanted))?;
            // SAFETY: every token was found to be below the vocabulary, and the last of a text is within it.
            unsafe {
                kernels.embed_texts(
                    self.format,
                    C::span(&work.tokens),
                    (C::span(&text.table), vocabulary),
                    C::span(&text.positions),
                    &space.states::<C>(text.tower.first_norm::<C>()?),
                )?;
                out.extend(self.finish(&text.tower, &text.after, &text.end, space, FULL[1], batch.len())?);
            }
        }
        Ok(out)
    }
}

impl<M> Vision<M> {
    fn load<C: Compute<Memory = M>>(uploader: &mut Uploader<'_, C>, sizes: &ClipSizes) -> Result<Self> {
        let (tower, width) = (&sizes.vision, sizes.vision.width);
        let inputs = 3 * sizes.patch * sizes.patch;
        let row = inputs.next_multiple_of(8);
        let embeddings = "vision_model.embeddings";
        let one = |part: &str| format!("{embeddings}.{part}");
        let blocks = "vision_model.encoder.layers";
        let patches = uploader.padded(&one("patch_embedding.weight"), inputs, width, row)?;
        let positions = uploader.wide(&one("position_embedding.weight"), &[sizes.rows(), width])?;
        let after = Norm::load(uploader, "vision_model.post_layernorm", tower)?;
        let levels = uploader.levels()?;
        Ok(match sizes.architecture {
            Architecture::Clip => Self {
                patches,
                patch_bias: None,
                class: Some(uploader.wide(&one("class_embedding"), &[width])?),
                positions,
                // The name is spelt like this in every checkpoint.
                before: Some(Norm::load(uploader, "vision_model.pre_layrnorm", tower)?),
                tower: Tower::load(uploader, blocks, tower, Pool::One)?,
                after,
                end: End::projection(uploader, "visual_projection", sizes, width, false)?,
                levels,
                row,
            },
            Architecture::Siglip => Self {
                patches,
                patch_bias: Some(uploader.wide(&one("patch_embedding.bias"), &[width])?),
                class: None,
                positions,
                before: None,
                tower: Tower::load(uploader, blocks, tower, Pool::All)?,
                after,
                end: End::Pooling(Box::new(Pooling::load(uploader, "vision_model.head", tower)?)),
                levels,
                row,
            },
            other => return Err(no_tower(other)),
        })
    }
}

impl<M> Text<M> {
    fn load<C: Compute<Memory = M>>(uploader: &mut Uploader<'_, C>, sizes: &ClipSizes) -> Result<Self> {
        let width = sizes.text.width;
        let embeddings = "text_model.embeddings";
        let table = format!("{embeddings}.token_embedding.weight");
        let positions = format!("{embeddings}.position_embedding.weight");
        let (pool, head, has_bias) = match sizes.architecture {
            Architecture::Clip => (Pool::OneCausal, "text_projection", false),
            Architecture::Siglip => (Pool::One, "text_model.head", true),
            other => return Err(no_tower(other)),
        };
        Ok(Self {
            table: uploader.padded(&table, width, sizes.vocabulary, width)?,
            positions: uploader.wide(&positions, &[sizes.context, width])?,
            tower: Tower::load(uploader, "text_model.encoder.layers", &sizes.text, pool)?,
            after: Norm::load(uploader, "text_model.final_layer_norm", &sizes.text)?,
            end: End::projection(uploader, head, sizes, width, has_bias)?,
        })
    }
}

impl<M> End<M> {
    fn projection<C: Compute<Memory = M>>(
        uploader: &mut Uploader<'_, C>,
        name: &str,
        sizes: &ClipSizes,
        width: usize,
        has_bias: bool,
    ) -> Result<Self> {
        let columns = sizes.projection;
        let weight = uploader.padded(&format!("{name}.weight"), width, columns, width)?;
        let bias = if has_bias { Some(uploader.values(&format!("{name}.bias"), &[columns])?) } else { None };
        Ok(Self::Projection(weight, bias))
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

/// Says that nothing here computes a model of this architecture.
fn no_tower(architecture: Architecture) -> Error {
    Error::usage(format!("a {} on a GPU", architecture.name()), "there is no tower for it; choose device cpu")
}
