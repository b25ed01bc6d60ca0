//! Orderings that a model can weaken, to see itself fail.

/// `weakenable!("name", Release)` is `Ordering::Release`; in a loom build that runs with `TIDEGAUGE_WEAKEN=name` it is
/// `Ordering::Relaxed`.
///
/// `ci/weaken.sh` runs the model of each name with it weakened, and expects the model to fail. In an ordinary build it
/// is the constant and nothing else. Names are unique in the crate.
macro_rules! weakenable {
    ($name:literal, $strong:ident) => {{
        #[cfg(not(loom))]
        let ordering = $crate::sync::atomic::Ordering::$strong;
        #[cfg(loom)]
        let ordering = if $crate::sync::is_weakened($name) {
            $crate::sync::atomic::Ordering::Relaxed
        } else {
            $crate::sync::atomic::Ordering::$strong
        };
        ordering
    }};
}

pub(crate) use weakenable;

/// `weakenable_fence!("name")` is `fence(SeqCst)`; in a loom build that runs with `TIDEGAUGE_WEAKEN=name` it is nothing.
macro_rules! weakenable_fence {
    ($name:literal) => {{
        #[cfg(loom)]
        let stays = !$crate::sync::is_weakened($name);
        #[cfg(not(loom))]
        let stays = true;
        if stays {
            $crate::sync::atomic::fence($crate::sync::atomic::Ordering::SeqCst);
        }
    }};
}

pub(crate) use weakenable_fence;

/// `weakenable_step!("name", step)` runs `step`; in a loom build that runs with `TIDEGAUGE_WEAKEN=name` it is left out.
///
/// For protocols that a lock orders: what can be wrong there is a step that is missing.
macro_rules! weakenable_step {
    ($name:literal, $step:expr) => {{
        #[cfg(loom)]
        let stays = !$crate::sync::is_weakened($name);
        #[cfg(not(loom))]
        let stays = true;
        if stays {
            $step;
        }
    }};
}

pub(crate) use weakenable_step;

/// Whether this run of the models weakens `name`.
#[cfg(loom)]
pub(crate) fn is_weakened(name: &str) -> bool {
    static WEAKENED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    WEAKENED.get_or_init(|| std::env::var("TIDEGAUGE_WEAKEN").ok()).as_deref() == Some(name)
}
