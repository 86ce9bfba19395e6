//! The `glm-eval` binary: settings of the process, then the library's `cli`.

fn main() -> std::process::ExitCode {
    keep_freed_memory();
    // SAFETY: no other thread runs yet.
    unsafe {
        // With RUST_BACKTRACE set, candle's errors carry a page of addresses in their text. Panics keep theirs.
        if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
            std::env::set_var("RUST_LIB_BACKTRACE", "0");
        }
        // candle's own spinning pool fights rayon's for the cores; all fused ops use rayon.
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    glm_eval::cli::main()
}

/// Tensors come and go at a high rate. By default glibc gives large blocks back to the system at once and asks
/// for them again, which costs up to a third of a training step in page faults.
#[cfg(target_env = "gnu")]
fn keep_freed_memory() {
    const ONE_GIB: libc::c_int = 1 << 30;
    // SAFETY: `mallopt` only sets parameters of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, ONE_GIB);
        libc::mallopt(libc::M_TRIM_THRESHOLD, ONE_GIB);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
        // One heap for all threads: blocks that one freed serve another.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_freed_memory() {}

#[cfg(target_env = "gnu")]
#[global_allocator]
static ALLOCATOR: huge_pages::HugePages = huge_pages::HugePages;

#[cfg(target_env = "gnu")]
mod huge_pages {
    use std::alloc::{GlobalAlloc, Layout, System};

    /// The system's allocator, which asks for huge pages under large blocks: with pages of 4 KB, a matrix product
    /// waits for address translation a fifth of its time.
    pub struct HugePages;

    /// A block that is worth it.
    const LARGE: usize = 1 << 20;
    const PAGE: usize = 4096;

    fn advise(block: *mut u8, size: usize) {
        if size < LARGE || block.is_null() {
            return;
        }
        let before = block.align_offset(PAGE);
        // SAFETY: the whole pages of a block that this process owns; the advice changes no contents, and where the
        // system does not follow it, nothing is lost.
        unsafe {
            libc::madvise(block.add(before).cast(), (size - before) / PAGE * PAGE, libc::MADV_HUGEPAGE);
        }
    }

    // SAFETY: all blocks are the system allocator's.
    unsafe impl GlobalAlloc for HugePages {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            let block = unsafe { System.alloc(layout) };
            advise(block, layout.size());
            block
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            if layout.size() < LARGE {
                // SAFETY: the caller's promise.
                return unsafe { System.alloc_zeroed(layout) };
            }
            // SAFETY: the caller's promise; a block that is there has the layout's size.
            unsafe {
                let block = self.alloc(layout);
                if !block.is_null() {
                    block.write_bytes(0, layout.size());
                }
                block
            }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            // SAFETY: the caller's promise.
            let block = unsafe { System.realloc(block, layout, new_size) };
            advise(block, new_size);
            block
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(block, layout) }
        }
    }
}
