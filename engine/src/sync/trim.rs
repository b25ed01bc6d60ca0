//! Memory that was freed, back to the system.

/// Asks the allocator to give back what it keeps. With glibc, which keeps nearly all; elsewhere nothing.
///
/// Takes some milliseconds for each 100 MiB that are free, and holds up whoever allocates meanwhile: for idle moments.
#[allow(unsafe_code)]
pub(crate) fn trim_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri), not(loom)))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: glibc's, with this signature since its first release; any thread may call it at any time, and it
        // touches only memory that nobody has allocated.
        unsafe { malloc_trim(0) };
    }
}
