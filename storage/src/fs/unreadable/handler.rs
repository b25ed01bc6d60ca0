//! The handler of SIGBUS. It may do what signal-safety(7) allows: it takes no lock, allocates nothing, and keeps `errno`.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub(super) use linux::install;
#[cfg(target_os = "linux")]
pub(in crate::fs) use linux::page_size;

/// Nothing asks for pages here: no handler can be installed.
#[cfg(not(target_os = "linux"))]
pub(in crate::fs) fn page_size() -> usize {
    4_096
}

#[cfg(not(target_os = "linux"))]
pub(super) fn install() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::OnceLock;

    use libc::{c_int, c_void, siginfo_t};

    use crate::fs::unreadable::Lost;
    use crate::fs::unreadable::table::{Found, find};

    /// What a page that cannot be read is told as (asm-generic/siginfo.h): nothing is there, the hardware says so, or it
    /// lost the memory that was read. Others would come again, whatever lay there.
    const OF_PAGES: [c_int; 3] = [2, 3, 4];
    /// That memory was lost which nobody reads just now: whoever does will be told as above. It comes once, to any thread.
    const LATER: c_int = 5;

    /// What was there before.
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

    pub(in crate::fs) fn page_size() -> usize {
        static PAGE: OnceLock<usize> = OnceLock::new();
        *PAGE.get_or_init(|| {
            // SAFETY: it reads a number, and no memory.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4_096)
        })
    }

    pub(in crate::fs::unreadable) fn install() -> io::Result<()> {
        // Asked before: the handler must know it from its first call on.
        let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: it writes one action, for which there is room, and changes nothing.
        let asked = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: written by the call above; all its bytes being zero, it was valid before, too.
        let previous = unsafe { previous.assume_init() };
        PREVIOUS.get_or_init(|| previous);
        // On the stack that Rust gives its threads for signals, if there is one: a stack may be nearly full.
        act(on_fault as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)
    }

    /// Sets what is done about SIGBUS.
    fn act(handler: usize, flags: c_int) -> io::Result<()> {
        // SAFETY: zeros are an action: the default one, with no signal masked.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        // SAFETY: the action lives during the call. Its handler is the default, or `on_fault`, which is of the type that
        // `SA_SIGINFO` asks for.
        let done = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: it answers where this thread's `errno` lies, for as long as the thread lives.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: see above; nobody else has it.
        let before = unsafe { *errno };
        // SAFETY: the system hands over what is known of the signal, and lets it be until the handler returns.
        let told = unsafe { &*info };
        if !replace(told) {
            pass_on(signal, told, info, context);
        }
        // SAFETY: as for reading it.
        unsafe { *errno = before };
    }

    /// Puts zeros in the place of the page that could not be read, if it is of a map of ours.
    fn replace(told: &siginfo_t) -> bool {
        if told.si_code == LATER {
            // Of a map of ours nothing need be done, and nothing may: another thread may be giving it up.
            // SAFETY: signals with this code tell an address.
            return find(unsafe { told.si_addr() }.addr()).is_some();
        }
        if !OF_PAGES.contains(&told.si_code) {
            return false;
        }
        // SAFETY: signals with these codes tell an address.
        let address = unsafe { told.si_addr() }.addr();
        let Some(Found { start, len, lost }) = find(address) else { return false };
        // SAFETY: who reads from a map holds it, and its `Lost` with it; this handler runs within that reading (UP2).
        let lost: &Lost = unsafe { &*lost };
        let page = page_size();
        let number = (address - start) / page;
        let access = if lost.writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        if lost.note(number) && zeros(start + number * page, page, access) {
            return true;
        }
        // Too many runs, or the process may have no map more: one in the place of all needs none.
        lost.note_all();
        zeros(start, len, access)
    }

    /// Maps zeros at an address of a map of ours, the first of a page, up to the end of the last page.
    fn zeros(start: usize, len: usize, access: c_int) -> bool {
        let kind = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at = ptr::with_exposed_provenance_mut::<c_void>(start);
        // SAFETY: the pages are of one map of ours, which is not unmapped while it is read (UP2), and stay readable as its
        // slices promise. Their bytes are not what the file has: whoever looks at the count does not take them for it (UP1),
        // and no safe code relies on bytes of a file for more than its answers.
        let mapped = unsafe { libc::mmap(at, len, access, kind, -1, 0) };
        mapped != libc::MAP_FAILED
    }

    /// Lets the handler that was there before have it; if there was none, the process ends as it would have.
    fn pass_on(signal: c_int, told: &siginfo_t, info: *mut siginfo_t, context: *mut c_void) {
        // What an instruction raised comes again when it is tried anew; nothing else does.
        let sent = told.si_code <= 0 || told.si_code == LATER;
        let previous =
            PREVIOUS.get().map(|previous| (previous.sa_sigaction, previous.sa_flags & libc::SA_SIGINFO != 0));
        match previous {
            Some((libc::SIG_IGN, _)) if sent => {}
            None | Some((libc::SIG_DFL | libc::SIG_IGN, _)) => {
                let _ = act(libc::SIG_DFL, 0);
                if sent {
                    // SAFETY: it sends a signal to this thread, which has it once the handler returns.
                    unsafe { libc::raise(signal) };
                }
            }
            Some((handler, true)) => {
                // SAFETY: whoever set this action with `SA_SIGINFO` gave a function of this type.
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    unsafe { std::mem::transmute(handler) };
                handler(signal, info, context);
            }
            Some((handler, false)) => {
                // SAFETY: whoever set this action without `SA_SIGINFO` gave a function of this type.
                let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
                handler(signal);
            }
        }
    }
}
