//! Products over packed panels, through the GEMM family's micro-kernels.
//!
//! Owns the walk over panels and strips of rows; knows neither what the operands mean nor how they were packed.

use super::spec::AttentionShape;
use super::{KEYS, QUERIES};
use crate::gemm::{self, Micros, PANEL, best_shape};

/// Micro-kernels, and the tile shapes (panels, rows) that suit the two products.
pub(super) struct Products {
    pub(super) micros: &'static Micros,
    pub(super) scores: (usize, usize),
    pub(super) values: (usize, usize),
}

impl Products {
    pub(super) fn new(micros: &'static Micros, shape: &AttentionShape) -> Self {
        let rows = shape.queries.div_ceil(shape.queries.div_ceil(QUERIES).max(1));
        let best = |columns: usize| best_shape(micros, rows, columns);
        Self { micros, scores: best(shape.keys.min(KEYS)), values: best(shape.value_depth) }
    }
}

/// `c (+)= a·b` over packed panels.
pub(super) struct Product {
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) b: *const f32,
    pub(super) b_panel: usize,
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    pub(super) rows: usize,
    pub(super) panels: usize,
    pub(super) depth: usize,
    pub(super) accumulate: bool,
}

impl Product {
    /// # Safety
    /// `a` has `rows` rows of `depth` elements, `b` `panels` panels of `depth` groups, `c` room for `rows` rows of whole
    /// panels that nothing else accesses, and the CPU has the features of `micros`.
    pub(super) unsafe fn run(&self, micros: &Micros, (nv, mr): (usize, usize)) {
        let strips = self.rows.div_ceil(mr);
        for panel in (0..self.panels).step_by(nv) {
            let nv = nv.min(self.panels - panel);
            let mut row = 0;
            for strip in 0..strips {
                let rows = (self.rows - row).div_ceil(strips - strip);
                let micro = (micros.get)(nv, rows).expect("tables hold every size below a shape");
                // SAFETY: offsets stay within the operands the caller vouches for.
                unsafe {
                    micro(&gemm::Block {
                        groups: self.depth,
                        a: self.a.add(row * self.a_row).cast(),
                        a_row: self.a_row,
                        b: self.b.add(panel * self.b_panel).cast(),
                        b_panel: self.b_panel,
                        c: self.c.add(row * self.c_row + panel * PANEL),
                        c_row: self.c_row,
                        accumulate: self.accumulate,
                    });
                }
                row += rows;
            }
        }
    }
}
