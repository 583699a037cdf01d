//! Every spelling of every fusable fragment becomes the fused operator, and random compositions of fragments compute
//! the same after optimizing as before.

use fusebox_ir::Graph;
use fusebox_rewrite::{Options, RuleSet, optimize};
use fusebox_testing::graphs::activation::{Gelu, HardSwish, Silu, gelu, hard_swish, silu};
use fusebox_testing::graphs::attention::{Attention, Mask, self_attention};
use fusebox_testing::graphs::conv::{Conv, conv};
use fusebox_testing::graphs::linear::{Linear, linear};
use fusebox_testing::graphs::norm::{Affine, LayerNorm, RmsNorm, layer_norm, rms_norm};
use fusebox_testing::graphs::plans;
use fusebox_testing::{Flow, Sketch, compare, evaluate, inputs_for};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn optimized(graph: &Graph) -> Graph {
    let mut new = graph.clone();
    let options = Options { threads: 1, ..Options::default() };
    optimize(&mut new, &[], &RuleSet::builtin(), &options).unwrap_or_else(|e| panic!("{e}"));
    new
}

/// Operators other than those that only rename axes or split.
fn counts(graph: &Graph) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, node) in graph.nodes() {
        let op = node.op.to_string();
        if !["Reshape", "Split", "Slice", "Identity"].contains(&op.as_str()) {
            *counts.entry(op).or_default() += 1;
        }
    }
    counts
}

fn assert_same(before: &Graph, after: &Graph, what: &str) {
    for seed in [1, 2] {
        let inputs = inputs_for(before, seed);
        let expected = evaluate(before, &inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found = evaluate(after, &inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
        for (expected, found) in expected.iter().zip(&found) {
            let agreement = compare(expected, found).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert!(agreement.max_rel <= 1e-4, "{what}: {agreement:?}");
        }
    }
}

/// Builds, optimizes, compares, and asserts the operators that are left.
fn becomes(
    what: &str,
    shape: &[usize],
    expected: &[(&str, usize)],
    build: impl Fn(&mut Sketch, &Flow) -> Flow,
) {
    for dynamic in [false, true] {
        let mut s = if dynamic { Sketch::dynamic(7) } else { Sketch::new(7) };
        let x = s.input(shape);
        let y = build(&mut s, &x);
        let graph = s.finish(&[&y]);
        let new = optimized(&graph);
        let wanted: BTreeMap<String, usize> = expected.iter().map(|(op, n)| ((*op).to_owned(), *n)).collect();
        let text = fusebox_ir::text::print(&new, &fusebox_ir::text::PrintOptions::default());
        assert_eq!(counts(&new), wanted, "{what}, dynamic {dynamic}:\n{text}");
        assert_same(&graph, &new, what);
    }
}

#[test]
fn activations() {
    for spelling in Gelu::ALL {
        let op = if *spelling == Gelu::Sigmoid { "Swish" } else { "Gelu" };
        becomes(&format!("{spelling:?}"), &[2, 3, 8], &[(op, 1)], |s, x| gelu(s, x, *spelling));
    }
    for spelling in Silu::ALL {
        becomes(&format!("{spelling:?}"), &[2, 8], &[("Swish", 1)], |s, x| silu(s, x, *spelling));
    }
    for spelling in HardSwish::ALL {
        becomes(&format!("{spelling:?}"), &[2, 8], &[("HardSwish", 1)], |s, x| hard_swish(s, x, *spelling));
    }
}

#[test]
fn norms() {
    for form in Affine::ALL {
        for spelling in LayerNorm::ALL {
            let what = format!("{spelling:?} {form:?}");
            becomes(&what, &[2, 3, 8], &[("LayerNormalization", 1)], |s, x| {
                layer_norm(s, x, *spelling, *form)
            });
        }
        for spelling in RmsNorm::ALL {
            let what = format!("{spelling:?} {form:?}");
            becomes(&what, &[2, 3, 8], &[("RMSNormalization", 1)], |s, x| rms_norm(s, x, *spelling, *form));
        }
    }
}

#[test]
fn linear_layers() {
    for shape in [&[3usize, 8][..], &[2, 3, 8]] {
        for spelling in Linear::ALL {
            becomes(&format!("{spelling:?}"), shape, &[("ai.fusebox.Linear", 1)], |s, x| {
                linear(s, x, 4, *spelling)
            });
            for activation in Gelu::ALL {
                let what = format!("{spelling:?} {activation:?}");
                becomes(&what, shape, &[("ai.fusebox.Linear", 1)], |s, x| {
                    let y = linear(s, x, 4, *spelling);
                    gelu(s, &y, *activation)
                });
            }
        }
    }
}

#[test]
fn norms_before_linear_layers() {
    for spelling in LayerNorm::ALL {
        becomes(&format!("{spelling:?}"), &[2, 3, 8], &[("ai.fusebox.NormLinear", 1)], |s, x| {
            let y = layer_norm(s, x, *spelling, Affine::ScaleShift);
            linear(s, &y, 4, Linear::MatMulAdd)
        });
    }
    becomes("rms", &[2, 3, 8], &[("ai.fusebox.NormLinear", 1)], |s, x| {
        let y = rms_norm(s, x, RmsNorm::Reciprocal, Affine::Scale);
        linear(s, &y, 4, Linear::MatMul)
    });
}

#[test]
fn attention_blocks() {
    for how in Attention::variations() {
        let mut expected = vec![("ai.fusebox.Attention", 1), ("ai.fusebox.Linear", 2)];
        let extra = extra(&how);
        expected.extend(extra.iter().map(|op| (*op, 1)));
        becomes(&format!("{how:?}"), &[2, 5, 8], &expected, |s, x| self_attention(s, x, &how));
    }
}

/// Operators that a mask leaves beside the attention.
fn extra(how: &Attention) -> Vec<&'static str> {
    match how.mask {
        Mask::Where => vec!["Where"],
        _ => vec![],
    }
}

#[test]
fn convolutions() {
    for how in Conv::variations(4) {
        becomes(&format!("{how:?}"), &[2, 4, 6, 6], &[("ai.fusebox.Conv", 1)], |s, x| conv(s, x, &how));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_compositions_compute_the_same(plan in plans()) {
        let graph = plan.build();
        let mut new = graph.clone();
        let options = Options { threads: 2, ..Options::default() };
        let report = optimize(&mut new, &[], &RuleSet::builtin(), &options).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(report.after.picoseconds <= report.before.picoseconds);
        let inputs = inputs_for(&graph, plan.seed);
        let expected = evaluate(&graph, &inputs).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let found = evaluate(&new, &inputs).map_err(|e| TestCaseError::fail(e.to_string()))?;
        for (expected, found) in expected.iter().zip(&found) {
            let agreement = compare(expected, found).map_err(|e| TestCaseError::fail(format!("{e:?}")))?;
            prop_assert!(agreement.max_rel <= 1e-3 || agreement.max_abs <= 1e-5, "{agreement:?}");
        }
    }
}
