//! Orderings that a model, or a sanitizer's run, can weaken, to see itself fail.

/// `weakenable!("name", Release)` is `Ordering::Release`; in a build for loom or a sanitizer that runs with
/// `TIDEGAUGE_WEAKEN=name` it is `Ordering::Relaxed`.
///
/// `ci/weaken.sh` runs the model of each name with it weakened, and expects the model to fail; `ci/asan.sh` and
/// `ci/tsan.sh` do so with a few. In an ordinary build it is the constant and nothing else. Names are unique in the
/// crate.
macro_rules! weakenable {
    ($name:literal, $strong:ident) => {{
        #[cfg(not(any(loom, asan, tsan)))]
        let ordering = $crate::sync::atomic::Ordering::$strong;
        #[cfg(any(loom, asan, tsan))]
        let ordering = if $crate::sync::is_weakened($name) {
            $crate::sync::atomic::Ordering::Relaxed
        } else {
            $crate::sync::atomic::Ordering::$strong
        };
        ordering
    }};
}

pub(crate) use weakenable;

/// `weakenable_fence!("name")` is `fence(SeqCst)`; weakened it is nothing.
macro_rules! weakenable_fence {
    ($name:literal) => {{
        #[cfg(any(loom, asan, tsan))]
        let stays = !$crate::sync::is_weakened($name);
        #[cfg(not(any(loom, asan, tsan)))]
        let stays = true;
        if stays {
            $crate::sync::atomic::fence($crate::sync::atomic::Ordering::SeqCst);
        }
    }};
}

pub(crate) use weakenable_fence;

/// `weakenable_step!("name", step)` runs `step`; weakened it is left out.
///
/// For protocols that a lock orders: what can be wrong there is a step that is missing.
macro_rules! weakenable_step {
    ($name:literal, $step:expr) => {{
        #[cfg(any(loom, asan, tsan))]
        let stays = !$crate::sync::is_weakened($name);
        #[cfg(not(any(loom, asan, tsan)))]
        let stays = true;
        if stays {
            $step;
        }
    }};
}

pub(crate) use weakenable_step;

/// Whether this run weakens `name`.
#[cfg(loom)]
pub(crate) fn is_weakened(name: &str) -> bool {
    static WEAKENED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    WEAKENED.get_or_init(asked_for).as_deref() == Some(name)
}

/// Whether this run weakens `name`.
///
/// Each thread asks for itself: what std does in a `OnceLock` ThreadSanitizer does not see.
#[cfg(all(any(asan, tsan), not(loom)))]
pub(crate) fn is_weakened(name: &str) -> bool {
    thread_local! {
        static WEAKENED: Option<String> = asked_for();
    }
    // A thread that is about to end no longer knows: strong is never wrong.
    WEAKENED.try_with(|weakened| weakened.as_deref() == Some(name)).unwrap_or(false)
}

#[cfg(any(loom, asan, tsan))]
fn asked_for() -> Option<String> {
    std::env::var("TIDEGAUGE_WEAKEN").ok()
}
