//! Copies past the caches: who moves pages has no use of their bytes there.
//! Linux: `copy_page()` of arm64, which stores by `stnp`. Up to 6.7 it asks for lines just ahead
//! (`prfm pldl1strm`) where the hardware does not; for the next page's, as here, it never does.
#![expect(unsafe_code, reason = "stores past the caches have no other interface")]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{
    __m256i, _MM_HINT_NTA, _mm_prefetch, _mm_sfence, _mm256_load_si256, _mm256_stream_si256,
};

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Copies a page, past the caches where we know how the CPU does that, and meanwhile asks for the
/// lines of the page at `next`, of which nothing is read. Linux: `copy_page()`.
///
/// # Panics
///
/// Panics unless both have the same length.
///
/// # Safety
///
/// Nobody accesses the new page before this thread has called [`end_copies`].
pub(crate) unsafe fn copy_page(to: &mut [u8], from: &[u8], next: *const u8) {
    assert_eq!(to.len(), from.len(), "two pages");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") && are_lines(to) && are_lines(from) {
        // SAFETY: the CPU has the instructions; the rest is as the caller says.
        return unsafe { copy_lines(to, from, next) };
    }
    let _no_hint = next;
    to.copy_from_slice(from);
}

/// Whether these are whole cache lines.
#[cfg(target_arch = "x86_64")]
fn are_lines(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(LINE) == 0 && bytes.len().is_multiple_of(LINE)
}

/// [`copy_page`], of whole cache lines.
///
/// # Safety
///
/// As there, and the CPU has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn copy_lines(to: &mut [u8], from: &[u8], next: *const u8) {
    let lines = to.chunks_exact_mut(LINE).zip(from.chunks_exact(LINE));
    for (nth, (to, from)) in lines.enumerate() {
        let (to, from): (*mut __m256i, *const __m256i) =
            (to.as_mut_ptr().cast(), from.as_ptr().cast());
        // SAFETY: both lines are whole and aligned, and a hint reads nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_NTA>(next.wrapping_add(nth * LINE).cast());
            let (low, high) = (_mm256_load_si256(from), _mm256_load_si256(from.add(1)));
            _mm256_stream_si256(to, low);
            _mm256_stream_si256(to.add(1), high);
        }
    }
}

/// What was copied can be accessed, also by whoever sees what this thread does next.
/// Linux: `wmb()`, as `smp_wmb()` of x86 leaves out the fence that stores past the caches need.
pub(crate) fn end_copies() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has it.
    unsafe {
        _mm_sfence();
    }
}
