//! Instruction sets: which ones a kernel may be written for, what this CPU has, and which one to take.
//!
//! Owns detection and the `FUSEBOX_KERNEL` override; knows no kernel. Families list their rows best first and call
//! [`select`]. Holding a [`Level`] proves that the CPU has the features it stands for.

use std::fmt;

/// Name of the environment variable that forces an instruction set.
pub const FORCE_VARIABLE: &str = "FUSEBOX_KERNEL";

/// An instruction set, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// AVX-512 F, BW, CD, DQ and VL.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// Whatever the compilation target guarantees.
    Portable,
    /// Plain loops, the oracle of the tests.
    Reference,
}

impl Isa {
    /// Every instruction set, best first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Portable, Self::Reference];

    /// The name that kernels and `FUSEBOX_KERNEL` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
            Self::Reference => "reference",
        }
    }

    /// Whether this CPU can run it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable | Self::Reference => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
        }
    }

    /// The instruction sets of this CPU, best first: what tests and benches walk.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The instruction set that `FUSEBOX_KERNEL` asks for, `None` when it is unset or empty.
    ///
    /// # Errors
    /// A name that is none of [`Isa::ALL`], or one that this CPU lacks.
    pub fn forced() -> Result<Option<Self>, IsaError> {
        match std::env::var(FORCE_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::parse(&name).map(Some),
            _ => Ok(None),
        }
    }

    fn parse(name: &str) -> Result<Self, IsaError> {
        let isa = Self::ALL.into_iter().find(|isa| isa.name() == name);
        let isa = isa.ok_or_else(|| IsaError::Unknown { name: name.to_owned() })?;
        if isa.is_available() { Ok(isa) } else { Err(IsaError::Missing { isa }) }
    }

    /// The proof of detection that pulp kernels run under, `None` where the CPU lacks the features.
    pub fn level(self) -> Option<Level> {
        match self {
            Self::Portable | Self::Reference => Some(Level::baseline()),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().map(|token| Level(Tokens::V4(token))),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().map(|token| Level(Tokens::V3(token))),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => None,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a forced instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No such name.
    Unknown {
        /// The name given.
        name: String,
    },
    /// This CPU lacks the features.
    Missing {
        /// The instruction set asked for.
        isa: Isa,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(
                f,
                "{FORCE_VARIABLE}={name} names no instruction set; use avx512, avx2, portable or reference"
            ),
            Self::Missing { isa } => {
                write!(f, "{FORCE_VARIABLE}={isa} asks for an instruction set that this CPU lacks")
            }
        }
    }
}

impl std::error::Error for IsaError {}

#[derive(Clone, Copy, Debug)]
enum Tokens {
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    // Not a wider scalar type: theirs emulate fused multiply-add by a library call per lane.
    #[cfg(target_arch = "x86_64")]
    Baseline(pulp::Scalar),
    #[cfg(not(target_arch = "x86_64"))]
    Baseline(pulp::Arch),
}

/// Proof that the CPU has an instruction set; runs pulp kernels under it.
#[derive(Clone, Copy, Debug)]
pub struct Level(Tokens);

impl Level {
    #[cfg(target_arch = "x86_64")]
    fn baseline() -> Self {
        Self(Tokens::Baseline(pulp::Scalar))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn baseline() -> Self {
        Self(Tokens::Baseline(pulp::Arch::new()))
    }

    /// Runs `kernel` with the features of this level enabled.
    #[inline]
    pub fn dispatch<K: pulp::WithSimd>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Tokens::V4(simd) => pulp::Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "x86_64")]
            Tokens::V3(simd) => pulp::Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "x86_64")]
            Tokens::Baseline(simd) => pulp::Simd::vectorize(simd, kernel),
            #[cfg(not(target_arch = "x86_64"))]
            Tokens::Baseline(arch) => arch.dispatch(kernel),
        }
    }
}

/// How a family whose one body serves every instruction set is run.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// The pulp body under a detected instruction set.
    Vector(Level),
    /// The reference.
    Scalar,
}

/// The table of such a family.
pub static VECTOR_KERNELS: &[Kernel<Method>] = &[
    Kernel { isa: Isa::Avx512, get: || Isa::Avx512.level().map(Method::Vector) },
    Kernel { isa: Isa::Avx2, get: || Isa::Avx2.level().map(Method::Vector) },
    Kernel { isa: Isa::Portable, get: || Isa::Portable.level().map(Method::Vector) },
    Kernel { isa: Isa::Reference, get: || Some(Method::Scalar) },
];

/// One row of a family's table.
pub struct Kernel<F: 'static> {
    /// Instruction set of the row.
    pub isa: Isa,
    /// The kernel, `Some` only where the CPU qualifies.
    pub get: fn() -> Option<F>,
}

/// Takes the best row of a table that the CPU can run. `force`, or else `FUSEBOX_KERNEL`, excludes every row that is
/// better than the instruction set it names; a family without a row for it takes the next one down.
///
/// # Errors
/// A `FUSEBOX_KERNEL` that names nothing this CPU can run.
pub fn select<F>(table: &[Kernel<F>], force: Option<Isa>) -> Result<(Isa, F), IsaError> {
    let force = match force {
        Some(isa) => Some(isa),
        None => Isa::forced()?,
    };
    let rows = table.iter().filter(|row| force.is_none_or(|isa| row.isa >= isa));
    let mut found = rows.filter_map(|row| (row.get)().map(|kernel| (row.isa, kernel)));
    found.next().ok_or(IsaError::Missing { isa: force.unwrap_or(Isa::Reference) })
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[Kernel<u32>] =
        &[Kernel { isa: Isa::Avx2, get: || None }, Kernel { isa: Isa::Portable, get: || Some(7) }];

    #[test]
    fn selection_takes_the_first_row_the_cpu_has() {
        assert_eq!(select(TABLE, Some(Isa::Avx512)), Ok((Isa::Portable, 7)));
        assert_eq!(select(TABLE, Some(Isa::Reference)), Err(IsaError::Missing { isa: Isa::Reference }));
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = Isa::parse("sse9").unwrap_err();
        assert!(error.to_string().contains("FUSEBOX_KERNEL=sse9"), "{error}");
        assert_eq!(Isa::parse("portable"), Ok(Isa::Portable));
    }
}
