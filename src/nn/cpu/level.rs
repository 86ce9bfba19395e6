//! Which instructions the kernels use.

use std::sync::LazyLock;

/// A set of instructions, each containing those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the architecture has.
    Plain,
    /// 256-bit registers.
    Avx2,
    /// 512-bit registers.
    Avx512,
}

/// Lowers the level that is used, to `plain` or `avx2`: for tests, and for scores of a machine without AVX-512.
const VARIABLE: &str = "GLM_EVAL_CPU";

/// The instructions that the fused ops use, by name: `plain`, `avx2` or `avx512`; the most that the processor has, or less
/// where `$GLM_EVAL_CPU` asks for less.
///
/// # Errors
/// When the variable names no such level.
pub fn instructions() -> Result<&'static str, String> {
    let level = Level::asked_for()?;
    Ok(Level::ALL.iter().find(|(_, known)| *known == level).expect("all are listed").0)
}

impl Level {
    const ALL: [(&'static str, Self); 3] =
        [("plain", Self::Plain), ("avx2", Self::Avx2), ("avx512", Self::Avx512)];

    /// The highest level of this processor.
    pub fn of_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if has_avx512 {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Plain
    }

    /// What `$GLM_EVAL_CPU` asks for, as far as the processor has it.
    ///
    /// # Errors
    /// When it names no level; the message says which there are.
    pub fn asked_for() -> Result<Self, String> {
        let Some(asked) = std::env::var_os(VARIABLE).filter(|asked| !asked.is_empty()) else {
            return Ok(Self::of_processor());
        };
        let level = Self::ALL.iter().find(|(name, _)| asked == *name).map(|(_, level)| *level);
        let level =
            level.ok_or_else(|| format!("{VARIABLE}={}: expected plain, avx2 or avx512", asked.display()))?;
        Ok(level.min(Self::of_processor()))
    }

    /// The level in use, which does not change while the program runs.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there is only one level"))]
    pub fn current() -> Self {
        static LEVEL: LazyLock<Level> =
            LazyLock::new(|| Level::asked_for().unwrap_or_else(|_| Level::of_processor()));
        #[cfg(test)]
        if let Some(level) = tests::FORCED.get() {
            return level;
        }
        *LEVEL
    }
}

/// Compiles a function for each level, and chooses when it is called. The body is plain loops that the compiler
/// vectorises; helpers that it calls are `#[inline(always)]`.
macro_rules! kernel {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block) => {
        $(#[$meta])*
        pub(in crate::nn) fn $name($($arg: $type),*) $(-> $output)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                use $crate::nn::cpu::level::Level;

                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $output)? {
                    plain($($arg),*)
                }

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $output)? {
                    plain($($arg),*)
                }

                match Level::current() {
                    Level::Plain => {}
                    // SAFETY: a level in use is one that the processor has.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                }
            }
            plain($($arg),*)
        }
    };
}
pub(super) use kernel;

#[cfg(test)]
pub(in crate::nn) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// What `work` gives on this thread at every level that the processor has, from the lowest.
    pub fn at_every_level<T>(work: impl Fn() -> T) -> Vec<(Level, T)> {
        let levels = Level::ALL.iter().map(|(_, level)| *level);
        let levels = levels.filter(|level| *level <= Level::of_processor());
        let run = |level| {
            FORCED.set(Some(level));
            let result = work();
            FORCED.set(None);
            (level, result)
        };
        levels.map(run).collect()
    }

    #[test]
    fn levels_are_in_order_and_the_lowest_is_always_there() {
        assert!(Level::Plain < Level::Avx2 && Level::Avx2 < Level::Avx512);
        assert_eq!(at_every_level(Level::current)[0], (Level::Plain, Level::Plain));
    }
}
