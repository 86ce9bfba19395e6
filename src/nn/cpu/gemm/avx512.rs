//! Matrix products with AVX-512: packed panels, and tiles of 8 x 48 sums that stay in registers.
//!
//! Both factors are copied into panels which the tile kernel reads from front to back: 8 rows of `a`, each value
//! of which is broadcast, and up to 48 columns of `b`, in three registers. A panel holds 32-bit words: one f32 of
//! the inner dimension each, or two bf16. Source: Goto & van de Geijn 2008, "Anatomy of high-performance matrix
//! multiplication".
//!
//! An element is one sum over the inner dimension, from first to last in slices of [`DEPTH`] words, whatever the
//! number of rows and threads.

#[allow(clippy::wildcard_imports, reason = "forty intrinsics, which name their origin themselves")]
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::LazyLock;

use rayon::prelude::*;

use super::{Into, Mat, Precision, Product};
use crate::nn::cpu::level::Level;

/// Rows of a tile.
const ROWS: usize = 8;
/// Values of a register.
const LANES: usize = 16;
/// Registers of columns of a tile.
const REGISTERS: usize = 3;
/// Words of the inner dimension that are summed in registers before they go to memory: a panel of `b` then takes
/// 147 KB of the second-level cache.
const DEPTH: usize = 768;

/// Products that are summed one after the other; sums of so many are then added up, so that rounding errors grow with
/// the square root of the number of chains and not of the products.
const CHAIN: usize = 64;
/// Words of the inner dimension between what a tile reads of the columns and what it fetches from the second-level
/// cache.
const AHEAD: usize = 8;

/// How a word of a panel is made of the factor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// One f32 as it is.
    F32,
    /// One f32, rounded to what bf16 can hold.
    Rounded,
    /// Two bf16 that follow each other in the inner dimension.
    Pairs,
}

impl Words {
    /// What this processor computes products of a precision with; `None` where it can't.
    ///
    /// Intel's `vdpbf16ps` takes four cycles on processors that have it (they leave bf16 to AMX), so that two
    /// fused multiply-adds are faster there; AMD's takes one.
    pub fn of(precision: Precision) -> Option<Self> {
        static PAIRS_ARE_FAST: LazyLock<bool> = LazyLock::new(|| {
            let vendor = __cpuid(0);
            [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
        });
        let has_f32 = Level::current() == Level::Avx512;
        let has_bf16 = has_f32 && is_x86_feature_detected!("avx512bf16");
        match precision {
            Precision::F32 => has_f32.then_some(Self::F32),
            Precision::Bf16 if *PAIRS_ARE_FAST => has_bf16.then_some(Self::Pairs),
            Precision::Bf16 => has_bf16.then_some(Self::Rounded),
        }
    }

    /// Everything that this processor could compute products of a precision with.
    #[cfg(test)]
    pub fn all(precision: Precision) -> Vec<Self> {
        let has_bf16 = Self::of(Precision::Bf16).is_some();
        match precision {
            Precision::F32 => Self::of(precision).into_iter().collect(),
            Precision::Bf16 if has_bf16 => vec![Self::Rounded, Self::Pairs],
            Precision::Bf16 => vec![],
        }
    }

    /// Values of the inner dimension in a word.
    const fn values(self) -> usize {
        match self {
            Self::F32 | Self::Rounded => 1,
            Self::Pairs => 2,
        }
    }
}

/// Where tiles are written to: rows `stride` values apart.
#[derive(Clone, Copy)]
struct Out {
    first: *mut f32,
    stride: usize,
}

// SAFETY: the tasks of a product write to tiles that don't overlap, and nobody reads before all are done.
unsafe impl Sync for Out {}
// SAFETY: as above; the pointer stays valid on any thread while the product borrows the destination.
unsafe impl Send for Out {}

/// Computes a product into `out`, whose rows are `stride` values apart; on all threads, or on the calling one.
///
/// # Safety
/// `words` comes from [`Words::of`]. All `[a.rows, b.cols]` values of `out` may be written, and read where `mode`
/// adds to them.
pub unsafe fn product(
    out: *mut f32,
    stride: usize,
    mode: Into,
    product: &Product,
    words: Words,
    on_all_threads: bool,
) {
    let (m, k) = (product.a.rows, product.a.cols);
    let out = Out { first: out, stride };
    let depth = DEPTH * words.values();
    let slices = k.div_ceil(depth).max(1);
    for slice in 0..slices {
        let inner = slice * depth..k.min((slice + 1) * depth);
        let slice =
            Slice { product, words, inner, is_first: slice == 0, adds: slice > 0 || mode == Into::Add };
        let size = m.div_ceil(ROWS) * slice.panel_words(ROWS);
        if on_all_threads {
            let mut a = vec_of(size);
            a.par_chunks_mut(slice.panel_words(ROWS).max(1) * 8).enumerate().for_each(|(chunk, panels)| {
                slice.pack_rows(panels, chunk * 8);
            });
            slice.compute_in_parallel(&a, out);
        } else {
            SCRATCH_ROWS.with_borrow_mut(|a| {
                let a = at_least(a, size);
                slice.pack_rows(a, 0);
                slice.columns().for_each(|columns| slice.compute(a, columns, 0..m.div_ceil(ROWS), out));
            });
        }
    }
}

thread_local! {
    /// Panels of rows, of a product on one thread.
    static SCRATCH_ROWS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// The panel of columns that a thread works with.
    static SCRATCH_COLUMNS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// So many words, from a cache line's start on: registers are loaded from one line then, not from two.
fn at_least(scratch: &mut Vec<u32>, len: usize) -> &mut [u32] {
    const LINE: usize = 64;
    let words_per_line = LINE / size_of::<u32>();
    if scratch.len() < len + words_per_line {
        scratch.resize(len + words_per_line, 0);
    }
    let start = scratch.as_ptr().align_offset(LINE).min(words_per_line);
    &mut scratch[start..start + len]
}

/// Words that need no value yet: every one is written before it is read.
#[expect(clippy::uninit_vec, reason = "packing writes every word; zeroing first would be a pass over memory")]
fn vec_of(len: usize) -> Vec<u32> {
    let mut words = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and nothing reads a word before it is written.
    unsafe {
        words.set_len(len);
    }
    words
}

/// Some columns of a tile: the first, and how many.
#[derive(Clone, Copy)]
struct Columns {
    start: usize,
    len: usize,
}

/// A product over one slice of the inner dimension.
struct Slice<'a> {
    product: &'a Product<'a>,
    words: Words,
    inner: Range<usize>,
    is_first: bool,
    /// Is the sum added to what the destination holds?
    adds: bool,
}

impl Slice<'_> {
    /// Words of a panel of so many rows, or columns.
    fn panel_words(&self, width: usize) -> usize {
        self.inner.len().div_ceil(self.words.values()) * width
    }

    /// The columns in tiles of 48; what is left at the end is cut so that no tile is much narrower than the others.
    fn columns(&self) -> impl Iterator<Item = Columns> + use<> {
        const WIDE: usize = REGISTERS * LANES;
        let n = self.product.b.cols;
        let rest = n % WIDE;
        // 48 + 16 columns keep the multipliers busier as 32 + 32.
        let narrow = if (1..=LANES).contains(&rest) && n > WIDE { rest + WIDE } else { rest };
        let wide = (0..n - narrow).step_by(WIDE).map(|start| Columns { start, len: WIDE });
        let width = if narrow > WIDE { 2 * LANES } else { WIDE };
        let last = (n - narrow..n).step_by(width);
        wide.chain(last.map(move |start| Columns { start, len: width.min(n - start) }))
    }

    /// Packs panels of rows of `a`, from the panel with this number on.
    fn pack_rows(&self, panels: &mut [u32], first: usize) {
        let Mat { values, rows, row_stride, col_stride, .. } = self.product.a;
        let factor = Factor { values, across: row_stride, along: col_stride };
        factor.pack(panels, ROWS, first * ROWS..rows, self.inner.clone(), self.words);
    }

    /// All tiles, in tasks of some columns and rows each.
    fn compute_in_parallel(&self, a: &[u32], out: Out) {
        /// Panels of rows that are worth a task: the panel of columns is packed again in each.
        const LEAST: usize = 8;
        let columns: Vec<Columns> = self.columns().collect();
        let panels = self.product.a.rows.div_ceil(ROWS);
        let wanted = (4 * rayon::current_num_threads()).div_ceil(columns.len().max(1));
        let parts = wanted.clamp(1, panels.div_ceil(LEAST).max(1));
        let part = panels.div_ceil(parts);
        (0..columns.len() * parts).into_par_iter().with_max_len(1).for_each(|task| {
            let start = task % parts * part;
            self.compute(a, columns[task / parts], start.min(panels)..panels.min(start + part), out);
        });
    }

    /// The tiles of some columns and of some panels of rows.
    fn compute(&self, a: &[u32], columns: Columns, panels: Range<usize>, out: Out) {
        let registers = columns.len.div_ceil(LANES);
        let width = registers * LANES;
        let Mat { values, row_stride, col_stride, rows: _, cols: _ } = self.product.b;
        let factor = Factor { values, across: col_stride, along: row_stride };
        let (end, n) = (columns.start + columns.len, self.product.b.cols);
        SCRATCH_COLUMNS.with_borrow_mut(|b| {
            let b = at_least(b, self.panel_words(width));
            factor.pack(b, width, columns.start..end, self.inner.clone(), self.words);
            for panel in panels {
                let row = panel * ROWS;
                let tile = Tile {
                    // SAFETY: the row and the columns are inside the destination.
                    first: unsafe { out.first.add(row * out.stride + columns.start) },
                    stride: out.stride,
                    rows: (self.product.a.rows - row).min(ROWS),
                    last_mask: mask(columns.len - (registers - 1) * LANES),
                    adds: self.adds,
                    scale: self.product.scale,
                    bias: self.product.bias.filter(|_| self.is_first).map(|bias| &bias[columns.start..end]),
                    plus: self
                        .product
                        .plus
                        .filter(|_| self.is_first)
                        .map(|plus| &plus[row * n + columns.start..]),
                    plus_stride: n,
                };
                let a = &a[panel * self.panel_words(ROWS)..][..self.panel_words(ROWS)];
                // SAFETY: `Words::of` found the instructions; the panels hold as many words as the kernel reads.
                unsafe {
                    match (self.words, registers) {
                        (Words::Pairs, 1) => tile.pairs::<1>(a, b),
                        (Words::Pairs, 2) => tile.pairs::<2>(a, b),
                        (Words::Pairs, _) => tile.pairs::<3>(a, b),
                        (_, 1) => tile.singles::<1>(a, b),
                        (_, 2) => tile.singles::<2>(a, b),
                        (..) => tile.singles::<3>(a, b),
                    }
                }
            }
        });
    }
}

/// The first `len` lanes, at most all.
fn mask(len: usize) -> __mmask16 {
    if len >= LANES { !0 } else { (1 << len) - 1 }
}

/// A tile of the destination, and what becomes of its sums.
struct Tile<'a> {
    first: *mut f32,
    stride: usize,
    rows: usize,
    /// Of the last register.
    last_mask: __mmask16,
    adds: bool,
    scale: f32,
    bias: Option<&'a [f32]>,
    plus: Option<&'a [f32]>,
    plus_stride: usize,
}

impl Tile<'_> {
    /// # Safety
    /// Needs AVX-512; the tile may be written to.
    #[target_feature(enable = "avx512f")]
    unsafe fn singles<const N: usize>(&self, a: &[u32], b: &[u32]) {
        let mut total = [[_mm512_setzero_ps(); N]; ROWS];
        for (a, b) in a.chunks(ROWS * CHAIN).zip(b.chunks(N * LANES * CHAIN)) {
            let mut sums = [[_mm512_setzero_ps(); N]; ROWS];
            for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.chunks_exact(N * LANES)) {
                // SAFETY: `b` has `N` registers; fetching ahead reads nothing.
                let columns: [__m512; N] = std::array::from_fn(|i| unsafe {
                    let column = b.as_ptr().add(i * LANES);
                    _mm_prefetch::<_MM_HINT_T0>(column.wrapping_add(AHEAD * N * LANES).cast());
                    _mm512_loadu_ps(column.cast())
                });
                for (sums, &value) in sums.iter_mut().zip(a) {
                    let value = _mm512_set1_ps(f32::from_bits(value));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = _mm512_fmadd_ps(value, column, *sum);
                    }
                }
            }
            for (total, &sum) in total.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
                *total = _mm512_add_ps(*total, sum);
            }
        }
        // SAFETY: as above.
        unsafe { self.store(&total) }
    }

    /// # Safety
    /// Needs AVX-512 with BF16; the tile may be written to.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn pairs<const N: usize>(&self, a: &[u32], b: &[u32]) {
        let mut sums = [[_mm512_setzero_ps(); N]; ROWS];
        for (a, b) in a.as_chunks::<ROWS>().0.iter().zip(b.chunks_exact(N * LANES)) {
            // SAFETY: `b` has `N` registers, of which one of pairs has the bits of one of integers; fetching ahead reads
            // nothing.
            let columns: [__m512bh; N] = std::array::from_fn(|i| unsafe {
                let column = b.as_ptr().add(i * LANES);
                _mm_prefetch::<_MM_HINT_T0>(column.wrapping_add(AHEAD * N * LANES).cast());
                std::mem::transmute(_mm512_loadu_si512(column.cast()))
            });
            for (sums, &value) in sums.iter_mut().zip(a) {
                // SAFETY: as above.
                let value: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(value.cast_signed())) };
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = _mm512_dpbf16_ps(*sum, value, column);
                }
            }
        }
        // SAFETY: as above.
        unsafe { self.store(&sums) }
    }

    /// # Safety
    /// Needs AVX-512; the tile may be written to.
    #[target_feature(enable = "avx512f")]
    unsafe fn store<const N: usize>(&self, sums: &[[__m512; N]; ROWS]) {
        for (row, sums) in sums.iter().enumerate().take(self.rows) {
            for (i, &sum) in sums.iter().enumerate() {
                let mask = if i + 1 == N { self.last_mask } else { !0 };
                let mut value = _mm512_mul_ps(sum, _mm512_set1_ps(self.scale));
                // SAFETY: the mask leaves out what lies beyond the tile, the bias and the addend.
                unsafe {
                    let place = self.first.add(row * self.stride + i * LANES);
                    if let Some(bias) = self.bias {
                        let bias = _mm512_maskz_loadu_ps(mask, bias.as_ptr().add(i * LANES));
                        value = _mm512_add_ps(value, bias);
                    }
                    if let Some(plus) = self.plus {
                        let plus = plus.as_ptr().add(row * self.plus_stride + i * LANES);
                        value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, plus));
                    }
                    if self.adds {
                        value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, place), value);
                    }
                    _mm512_mask_storeu_ps(place, mask, value);
                }
            }
        }
    }
}

/// A factor as packing sees it: `across` the panels (rows of `a`, columns of `b`) and `along` the inner dimension.
#[derive(Clone, Copy)]
struct Factor<'a> {
    values: &'a [f32],
    across: usize,
    along: usize,
}

impl Factor<'_> {
    /// Fills panels of `width` with the lines `lines`, and zeros for those that are missing.
    fn pack(self, panels: &mut [u32], width: usize, lines: Range<usize>, inner: Range<usize>, words: Words) {
        if panels.is_empty() || lines.is_empty() {
            return panels.fill(0);
        }
        let last = (lines.end - 1) * self.across + (inner.end - 1) * self.along;
        assert!(last < self.values.len(), "the lines exceed the factor");
        // SAFETY: `Words::of` found the instructions, and all values are inside the factor.
        unsafe {
            match (self.along == 1, words) {
                (true, Words::F32) => self.pack_along::<F32>(panels, width, lines, inner),
                (true, Words::Rounded) => self.pack_along::<Rounded>(panels, width, lines, inner),
                (true, Words::Pairs) => self.pack_along::<Pairs>(panels, width, lines, inner),
                (false, Words::F32) => self.pack_across::<F32>(panels, width, lines, inner),
                (false, Words::Rounded) => self.pack_across::<Rounded>(panels, width, lines, inner),
                (false, Words::Pairs) => self.pack_across::<Pairs>(panels, width, lines, inner),
            }
        }
    }

    /// Lines whose values follow each other in memory: four lines of 16 words are transposed at a time.
    ///
    /// # Safety
    /// Needs AVX-512; all values are inside the factor.
    #[target_feature(enable = "avx512f")]
    unsafe fn pack_along<W: Word>(
        self,
        panels: &mut [u32],
        width: usize,
        lines: Range<usize>,
        inner: Range<usize>,
    ) {
        /// Values between what is read and what is fetched ahead: there are more lines than the hardware follows.
        const AHEAD: usize = 64;
        let steps = inner.len().div_ceil(W::VALUES);
        for (panel, start) in panels.chunks_exact_mut(steps * width).zip(lines.clone().step_by(width)) {
            for (chunk, places) in panel.chunks_mut(width * LANES).enumerate() {
                let from = inner.start + chunk * LANES * W::VALUES;
                let (values, count) = ((inner.end - from).min(LANES * W::VALUES), places.len() / width);
                for group in (0..width).step_by(4) {
                    let line = |i: usize| {
                        let line = start + group + i;
                        if line >= lines.end {
                            return _mm512_setzero_si512();
                        }
                        // SAFETY: the values are inside the factor; fetching ahead reads nothing.
                        unsafe {
                            let first = self.values.as_ptr().add(line * self.across + from);
                            _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(AHEAD).cast());
                            W::load(first, values)
                        }
                    };
                    let words = transposed([line(0), line(1), line(2), line(3)]);
                    let places = &mut places[group..];
                    // Quarter `q` of the register `i` holds word `4 q + i` of the four lines.
                    for (i, register) in words.into_iter().enumerate() {
                        let quarters = [
                            _mm512_extracti32x4_epi32::<0>(register),
                            _mm512_extracti32x4_epi32::<1>(register),
                            _mm512_extracti32x4_epi32::<2>(register),
                            _mm512_extracti32x4_epi32::<3>(register),
                        ];
                        for (q, quarter) in quarters.into_iter().enumerate() {
                            let word = 4 * q + i;
                            if count == LANES || word < count {
                                // SAFETY: the chunk has `count` words of `width` lines, and four begin at `group`.
                                unsafe {
                                    _mm_storeu_si128(places.as_mut_ptr().add(word * width).cast(), quarter);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Lines side by side in memory.
    ///
    /// # Safety
    /// Needs AVX-512; all values are inside the factor.
    #[target_feature(enable = "avx512f")]
    unsafe fn pack_across<W: Word>(
        self,
        panels: &mut [u32],
        width: usize,
        lines: Range<usize>,
        inner: Range<usize>,
    ) {
        // SAFETY: the caller's promise.
        let copied = unsafe {
            match width {
                ROWS => self.copy_whole::<W, ROWS>(panels, &lines, &inner),
                16 => self.copy_whole::<W, 16>(panels, &lines, &inner),
                32 => self.copy_whole::<W, 32>(panels, &lines, &inner),
                48 => self.copy_whole::<W, 48>(panels, &lines, &inner),
                _ => 0,
            }
        };
        let whole_words = inner.len() / W::VALUES;
        let size = inner.len().div_ceil(W::VALUES) * width;
        for (number, (panel, start)) in
            panels.chunks_exact_mut(size).zip(lines.clone().step_by(width)).enumerate()
        {
            let done = if number < copied { whole_words } else { 0 };
            for (word, places) in panel.chunks_exact_mut(width).enumerate().skip(done) {
                // SAFETY: the caller's promise.
                unsafe {
                    self.pack_word::<W>(places, start..lines.end, inner.start + word * W::VALUES..inner.end);
                }
            }
        }
    }

    /// Copies the whole words of panels that lack no line, word by word for all of them, so that memory is read in
    /// order. Returns how many panels these are.
    ///
    /// # Safety
    /// Needs AVX-512; all values are inside the factor.
    #[target_feature(enable = "avx512f")]
    unsafe fn copy_whole<W: Word, const WIDTH: usize>(
        self,
        panels: &mut [u32],
        lines: &Range<usize>,
        inner: &Range<usize>,
    ) -> usize {
        /// Words between what is copied and what is fetched ahead: each lies on another page.
        const AHEAD: usize = 12;
        let steps = inner.len().div_ceil(W::VALUES);
        let whole_panels = (lines.len() / WIDTH).min(panels.len() / (steps * WIDTH));
        // Registers of lines, whose 16 words go to one panel, or in halves to two.
        let registers = whole_panels * WIDTH / LANES;
        let place = panels.as_mut_ptr();
        for word in 0..inner.len() / W::VALUES {
            // SAFETY: all lines and words of these registers are there; fetching ahead reads nothing.
            unsafe {
                let first =
                    self.values.as_ptr().add((inner.start + word * W::VALUES) * self.along + lines.start);
                for register in 0..registers {
                    let line = register * LANES;
                    let first = first.add(line);
                    _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(AHEAD * W::VALUES * self.along).cast());
                    let words = W::join(|i| _mm512_loadu_ps(first.add(i * self.along)));
                    let to = |line: usize| place.add((line / WIDTH * steps + word) * WIDTH + line % WIDTH);
                    if WIDTH < LANES {
                        _mm256_storeu_si256(to(line).cast(), _mm512_castsi512_si256(words));
                        _mm256_storeu_si256(to(line + WIDTH).cast(), _mm512_extracti64x4_epi64::<1>(words));
                    } else {
                        _mm512_storeu_si512(to(line).cast(), words);
                    }
                }
            }
        }
        registers * LANES / WIDTH
    }

    /// One word of a panel's lines, some of which may be missing, as may its last value.
    ///
    /// # Safety
    /// Needs AVX-512; the values are inside the factor.
    #[target_feature(enable = "avx512f")]
    unsafe fn pack_word<W: Word>(self, places: &mut [u32], lines: Range<usize>, inner: Range<usize>) {
        for (group, places) in places.chunks_mut(LANES).enumerate() {
            let first = lines.start + group * LANES;
            let load = mask(lines.end.saturating_sub(first).min(places.len()));
            let value = |i: usize| {
                if i >= inner.len() || load == 0 {
                    return _mm512_setzero_ps();
                }
                // SAFETY: the mask leaves out lines that are not there.
                unsafe {
                    _mm512_maskz_loadu_ps(
                        load,
                        self.values.as_ptr().add((inner.start + i) * self.along + first),
                    )
                }
            };
            // SAFETY: this function has AVX-512; the mask leaves out what lies beyond the panel.
            unsafe {
                _mm512_mask_storeu_epi32(places.as_mut_ptr().cast(), mask(places.len()), W::join(value));
            };
        }
    }
}

/// Four lines of 16 words to 16 words of four lines: quarter `q` of register `i` holds word `4 q + i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// A way to make words, for the packing to be compiled for each.
trait Word {
    /// Values of the inner dimension in a word.
    const VALUES: usize;

    /// 16 words from `len` values of one line that follow each other; zeros after the last.
    ///
    /// # Safety
    /// Needs AVX-512; the values may be read.
    unsafe fn load(values: *const f32, len: usize) -> __m512i;

    /// 16 words of lines side by side; `value(i)` is the `i`-th value of each word.
    ///
    /// # Safety
    /// Needs AVX-512.
    unsafe fn join(value: impl Fn(usize) -> __m512) -> __m512i;
}

struct F32;
struct Rounded;
struct Pairs;

impl Word for F32 {
    const VALUES: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(values: *const f32, len: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_castps_si512(first_16(values, len)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn join(value: impl Fn(usize) -> __m512) -> __m512i {
        _mm512_castps_si512(value(0))
    }
}

impl Word for Rounded {
    const VALUES: usize = 1;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(values: *const f32, len: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { rounded(first_16(values, len)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn join(value: impl Fn(usize) -> __m512) -> __m512i {
        rounded(value(0))
    }
}

impl Word for Pairs {
    const VALUES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(values: *const f32, len: usize) -> __m512i {
        // SAFETY: the caller's promise; nothing is read beyond the values.
        let half = |from: usize| unsafe { first_16(values.wrapping_add(from), len.saturating_sub(from)) };
        let (low, high) = (rounded(half(0)), rounded(half(LANES)));
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
        pair(_mm512_permutex2var_epi32(low, even, high), _mm512_permutex2var_epi32(low, odd, high))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn join(value: impl Fn(usize) -> __m512) -> __m512i {
        pair(rounded(value(0)), rounded(value(1)))
    }
}

/// The first `len` values, at most 16, and zeros.
///
/// # Safety
/// The values may be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn first_16(values: *const f32, len: usize) -> __m512 {
    // SAFETY: the mask leaves out what lies beyond the values.
    unsafe { _mm512_maskz_loadu_ps(mask(len), values) }
}

/// The nearest values that bf16 can hold, ties to even, as f32. NaN stays NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let is_odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let bits_up = _mm512_add_epi32(bits, _mm512_add_epi32(is_odd, _mm512_set1_epi32(0x7FFF)));
    let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
    let nearest = _mm512_mask_mov_epi32(bits_up, is_nan, quiet);
    _mm512_and_si512(nearest, _mm512_set1_epi32(0xFFFF_0000_u32.cast_signed()))
}

/// Words of two bf16 from rounded f32: the first of each in the lower half.
#[inline]
#[target_feature(enable = "avx512f")]
fn pair(first: __m512i, second: __m512i) -> __m512i {
    _mm512_or_si512(_mm512_srli_epi32::<16>(first), second)
}
