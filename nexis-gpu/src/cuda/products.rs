//! Large products by cuBLASLt, with one algorithm for each kind of product.
//!
//! The algorithm is chosen when a kind first comes, for the number of items that a full batch has, and kept: the choice must
//! not depend on which batch came first, nor on how many items it had. The library is asked again only whether the algorithm
//! takes another number of items.
//!
//! Of what makes up an algorithm (`cublasLtMatmulAlgoConfigAttributes_t`), the number of parts that a sum is split into and the
//! scheme that joins them decide on the order in which an element is added up, and could make it depend on the number of
//! rows; algorithms with more than one part or with a scheme are not among the choices. Tile, stages, inner shape and cluster shape
//! decide on it too, but are fixed with the algorithm; the swizzling of blocks decides only on which block computes which tile.
//! The custom option is documented for no algorithm, and one that deals parts of sums out to the multiprocessors there
//! are ("stream-K") would not have to show elsewhere. The library promises that rows keep their bits among others only on demand and
//! from CUDA 13.4 on (`CUBLASLT_MATMUL_DESC_BATCH_INVARIANCE_FLAGS`). So each number of rows is compared with a full batch when a
//! model is loaded, and tests on a device look at the rest. All products run on one stream in memory of their own, outside of what the library excepts from giving the
//! same bits in every run.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use nexis_core::{Error, Result};

use super::{Context, CudaMemory, allocate, failed};
use crate::compute::{Format, Product};
use crate::kernels::no_room;

/// Memory that an algorithm may use: what NVIDIA advises for its newer devices.
const WORKSPACE: usize = 32 << 20;

/// Algorithms that are looked at for each kind.
const CANDIDATES: usize = 16;

/// A version of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(usize);

/// The first whose calls are those that are made here.
pub(super) const LEAST_VERSION: Version = Version(130_000);

impl std::fmt::Display for Version {
    /// The library counts 13.1.2 as 130102.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100)
    }
}

/// The version of the library that is found; `None` where there is none.
pub(super) fn version() -> Option<Version> {
    // SAFETY: opens the library; every version has the function, which takes nothing and gives a number.
    unsafe { sys::is_culib_present().then(|| Version(sys::cublasLtGetVersion())) }
}

/// What decides on the algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    format: Format,
    wide: bool,
    /// Rows that it is chosen for: those of a full batch.
    usual_rows: usize,
    columns: usize,
    depth: usize,
}

/// The layouts of one kind with one number of rows.
struct Layouts {
    weights: sys::cublasLtMatrixLayout_t,
    rows: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
}

impl Drop for Layouts {
    fn drop(&mut self) {
        for layout in [self.weights, self.rows, self.out] {
            if !layout.is_null() {
                // SAFETY: made by the library and let go of once.
                let _ = unsafe { result::destroy_matrix_layout(layout) };
            }
        }
    }
}

/// The library, and what was decided so far.
pub(super) struct Products {
    /// Kept so that the context outlives the library's handle.
    context: Arc<Context>,
    handle: sys::cublasLtHandle_t,
    operation: sys::cublasLtMatmulDesc_t,
    workspace: CudaMemory,
    algorithms: HashMap<Kind, sys::cublasLtMatmulAlgo_t>,
    layouts: HashMap<(Kind, usize), Layouts>,
}

// SAFETY: the library's handles may be used from any thread, one at a time, which the caller's lock sees to.
unsafe impl Send for Products {}

fn fail(what: &str) -> impl Fn(CublasError) -> Error + '_ {
    move |error| failed(format!("cuBLASLt: {what}"), error)
}

impl Products {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self> {
        let workspace = allocate(context, WORKSPACE)?.ok_or_else(|| no_room("products", WORKSPACE))?;
        let handle = result::create_handle().map_err(fail("no handle"))?;
        let mut products = Self {
            context: Arc::clone(context),
            handle,
            operation: std::ptr::null_mut(),
            workspace,
            algorithms: HashMap::new(),
            layouts: HashMap::new(),
        };
        let compute = sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        products.operation = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)
            .map_err(fail("no description of a product"))?;
        // Row by row here is column by column there: the weights come first and are turned, and the result is as wanted.
        let turned: u32 = 1;
        // SAFETY: the description lives, and the attribute is a 32-bit number (`CUBLAS_OP_T`).
        unsafe {
            result::set_matmul_desc_attribute(
                products.operation,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const turned).cast(),
                size_of::<u32>(),
            )
        }
        .map_err(fail("no turned weights"))?;
        Ok(products)
    }

    /// Launches a product. The context is current.
    ///
    /// # Safety
    /// The spans hold as much as the sizes say.
    pub(super) unsafe fn run(&mut self, context: &Context, product: &Product<'_>) -> Result<()> {
        let Product { format, wide, items, usual, rows, columns, depth, .. } = *product;
        if items == 0 || rows == 0 {
            return Ok(());
        }
        let kind = Kind { format, wide, usual_rows: usual.max(1) * rows, columns, depth };
        let all = items * rows;
        if !self.layouts.contains_key(&(kind, all)) {
            if !self.algorithms.contains_key(&kind) {
                let chosen = self.choose(kind, &layouts(kind, kind.usual_rows)?)?;
                self.algorithms.insert(kind, chosen);
            }
            let layouts = layouts(kind, all)?;
            self.check(kind, &layouts)?;
            self.layouts.insert((kind, all), layouts);
        }
        let (Some(layouts), Some(algorithm)) = (self.layouts.get(&(kind, all)), self.algorithms.get(&kind))
        else {
            return Err(Error::Internal("a product without an algorithm".to_owned()));
        };
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (out, stream) = (product.out.address() as *mut c_void, context.stream);
        // SAFETY: the layouts say what the sizes say, which the caller vouches for; the factors are numbers of the
        // processor's, as is the default; the driver's stream is the runtime's.
        unsafe {
            result::matmul(
                self.handle,
                self.operation,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                product.right.address() as *const c_void,
                layouts.weights,
                product.left.address() as *const c_void,
                layouts.rows,
                out.cast_const(),
                layouts.out,
                out,
                layouts.out,
                algorithm,
                self.workspace.address as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )
        }
        .map_err(fail("a product was refused"))
    }

    /// Asks whether the algorithm of a kind takes these layouts.
    fn check(&self, kind: Kind, layouts: &Layouts) -> Result<()> {
        let Some(chosen) = self.algorithms.get(&kind) else {
            return Err(Error::Internal("a product without an algorithm".to_owned()));
        };
        let mut found = no_result();
        // SAFETY: all handles live, and the result has room.
        let status = unsafe {
            sys::cublasLtMatmulAlgoCheck(
                self.handle,
                self.operation,
                layouts.weights,
                layouts.rows,
                layouts.out,
                layouts.out,
                chosen,
                &raw mut found,
            )
        };
        status.result().map_err(fail("the chosen algorithm does not take this batch"))?;
        if found.workspaceSize > WORKSPACE {
            return Err(failed("cuBLASLt", "the chosen algorithm wants more memory for this batch"));
        }
        Ok(())
    }

    /// Chooses an algorithm for a kind.
    fn choose(&self, kind: Kind, layouts: &Layouts) -> Result<sys::cublasLtMatmulAlgo_t> {
        let found = self.candidates(layouts)?;
        let chosen = found.iter().find(|one| one.workspaceSize <= WORKSPACE && whole_sums(&one.algo));
        chosen.map(|one| one.algo).ok_or_else(|| {
            let Kind { format, usual_rows, columns, depth, .. } = kind;
            let what = format!(
                "a product of {usual_rows} rows, {columns} columns over {depth} in {}",
                format.name()
            );
            failed(format!("cuBLASLt: {what}"), "no algorithm adds up each element in one piece")
        })
    }

    /// Algorithms, the fastest first by the library's estimate.
    fn candidates(&self, layouts: &Layouts) -> Result<Vec<sys::cublasLtMatmulHeuristicResult_t>> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let preference = result::create_matmul_pref().map_err(fail("no preference"))?;
        let workspace = WORKSPACE;
        let reductions = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        let mut found = vec![no_result(); CANDIDATES];
        let mut count = 0;
        // SAFETY: all handles live; the attributes have the sizes that the library asks for (`size_t` and a 32-bit
        // mask); the results have room for as many as are asked for. The preference is let go of in any case.
        let status = unsafe {
            let set = result::set_matmul_pref_attribute(
                preference,
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of::<usize>(),
            )
            .and_then(|()| {
                result::set_matmul_pref_attribute(
                    preference,
                    Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                    (&raw const reductions).cast(),
                    size_of::<u32>(),
                )
            })
            .and_then(|()| {
                sys::cublasLtMatmulAlgoGetHeuristic(
                    self.handle,
                    self.operation,
                    layouts.weights,
                    layouts.rows,
                    layouts.out,
                    layouts.out,
                    preference,
                    CANDIDATES as i32,
                    found.as_mut_ptr(),
                    &raw mut count,
                )
                .result()
            });
            let _ = result::destroy_matmul_pref(preference);
            set
        };
        status.map_err(fail("no algorithm"))?;
        found.truncate(usize::try_from(count).unwrap_or(0));
        found.retain(|one| one.state == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS);
        Ok(found)
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        self.layouts.clear();
        // SAFETY: made by the library and let go of once; work that uses them is waited for first.
        unsafe {
            let _ = cudarc::driver::result::stream::synchronize(self.context.stream);
            if !self.operation.is_null() {
                let _ = result::destroy_matmul_desc(self.operation);
            }
            let _ = result::destroy_handle(self.handle);
        }
    }
}

const fn no_result() -> sys::cublasLtMatmulHeuristicResult_t {
    sys::cublasLtMatmulHeuristicResult_t {
        algo: sys::cublasLtMatmulAlgo_t { data: [0; 8] },
        workspaceSize: 0,
        state: sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS,
        wavesCount: 0.0,
        reserved: [0; 4],
    }
}

/// Whether an algorithm adds up each element in one piece.
fn whole_sums(algorithm: &sys::cublasLtMatmulAlgo_t) -> bool {
    let (mut parts, mut written) = (0_i32, 0_usize);
    // SAFETY: the algorithm came from the library; the attribute is a 32-bit number, which has room.
    let status = unsafe {
        sys::cublasLtMatmulAlgoConfigGetAttribute(
            algorithm,
            sys::cublasLtMatmulAlgoConfigAttributes_t::CUBLASLT_ALGO_CONFIG_SPLITK_NUM,
            (&raw mut parts).cast(),
            size_of::<i32>(),
            &raw mut written,
        )
    };
    status.result().is_ok() && written == size_of::<i32>() && (0..=1).contains(&parts)
}

fn layouts(kind: Kind, rows: usize) -> Result<Layouts> {
    let Kind { format, wide, columns, depth, .. } = kind;
    let values = match format {
        Format::Bf16 => sys::cudaDataType::CUDA_R_16BF,
        Format::F16 => sys::cudaDataType::CUDA_R_16F,
    };
    let results = if wide { sys::cudaDataType::CUDA_R_32F } else { values };
    let layout = |kind, rows: usize, columns: usize| {
        // Columns lie one after another, without a gap.
        result::create_matrix_layout(kind, rows as u64, columns as u64, rows as i64)
            .map_err(fail("no layout"))
    };
    let null = std::ptr::null_mut();
    let mut layouts = Layouts { weights: null, rows: null, out: null };
    layouts.weights = layout(values, depth, columns)?;
    layouts.rows = layout(values, depth, rows)?;
    layouts.out = layout(results, columns, rows)?;
    Ok(layouts)
}
