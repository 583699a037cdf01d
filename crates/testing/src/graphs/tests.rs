//! Every fragment, in every spelling, is a valid graph that the reference evaluates, and spellings of one thing agree.

use super::activation::*;
use super::attention::*;
use super::conv::*;
use super::elementwise::*;
use super::linear::*;
use super::movement::*;
use super::norm::*;
use super::*;
use crate::{Limits, assert_close, evaluate, inputs_for};
use proptest::prelude::*;

/// Builds a graph of one fragment and evaluates it; the result must have the flow's shape.
fn run(shape: &[usize], fragment: impl Fn(&mut Sketch, &Flow) -> Flow, what: &str) -> Tensor {
    let mut results = Vec::new();
    for mut s in [Sketch::new(3), Sketch::dynamic(3)] {
        let dynamic = s.dynamic;
        let x = s.input(shape);
        let y = fragment(&mut s, &x);
        let graph = s.finish(&[&y]);
        assert_eq!(graph.verify(), Ok(()), "{what}");
        let inputs = inputs_for(&graph, 5);
        let result = evaluate(&graph, &inputs).unwrap_or_else(|e| panic!("{what}: {e}\n{graph}")).remove(0);
        assert_eq!(result.shape()[1..], y.shape[1..], "{what}\n{graph}");
        assert!(result.floats().unwrap().iter().all(|v| v.abs() < 1e3), "{what} is badly scaled");
        let batch = inputs[0].shape()[0];
        assert_eq!(result.shape()[0], if dynamic { batch } else { y.shape[0] }, "{what}\n{graph}");
        results.push(result);
    }
    results.remove(0)
}

/// All results are one function: they agree with the first.
fn agree(results: &[Tensor], limits: &Limits) {
    results.iter().for_each(|result| assert_close(&results[0], result, limits));
}

#[test]
fn linear_layers_evaluate() {
    for shape in [&[2, 5][..], &[2, 3, 5], &[1, 2, 3, 5]] {
        for spelling in Linear::ALL {
            run(shape, |s, x| linear(s, x, 8, *spelling), &format!("{spelling:?}"));
        }
    }
}

#[test]
fn activations_agree_across_spellings() {
    let gelus: Vec<Tensor> =
        Gelu::ALL.iter().map(|how| run(&[2, 8], |s, x| gelu(s, x, *how), &format!("{how:?}"))).collect();
    agree(&[&gelus[..4], &gelus[8..9]].concat(), &Limits::f32());
    agree(&[&gelus[4..7], &gelus[9..]].concat(), &Limits::f32());
    // The approximations are near the exact form but are not it.
    for approximation in &gelus[4..8] {
        assert_close(&gelus[0], approximation, &Limits { max_abs: 0.021, max_rel: 0.0, cosine: 0.99 });
    }
    let silus = Silu::ALL.iter().map(|how| run(&[2, 8], |s, x| silu(s, x, *how), &format!("{how:?}")));
    agree(&silus.collect::<Vec<_>>(), &Limits::f32());
    let swishes =
        HardSwish::ALL.iter().map(|how| run(&[2, 8], |s, x| hard_swish(s, x, *how), &format!("{how:?}")));
    agree(&swishes.collect::<Vec<_>>(), &Limits::f32());
    for which in Plain::ALL {
        run(&[2, 8], |s, x| plain(s, x, *which), &format!("{which:?}"));
    }
}

#[test]
fn norms_agree_across_spellings() {
    // Spellings draw their parameters first, so equal seeds give equal parameters.
    for form in Affine::ALL {
        let results = LayerNorm::ALL
            .iter()
            .map(|how| run(&[2, 3, 8], |s, x| layer_norm(s, x, *how, *form), &format!("{how:?} {form:?}")));
        agree(&results.collect::<Vec<_>>(), &Limits::f32());
        let results = RmsNorm::ALL
            .iter()
            .map(|how| run(&[2, 3, 8], |s, x| rms_norm(s, x, *how, *form), &format!("{how:?} {form:?}")));
        agree(&results.collect::<Vec<_>>(), &Limits::f32());
    }
}

#[test]
fn attention_agrees_across_scales_and_transposes() {
    let plain = Attention::plain();
    for how in Attention::variations() {
        run(&[2, 3, 8], |s, x| self_attention(s, x, &how), &format!("{how:?}"));
    }
    let (absent, scaled): (Vec<_>, Vec<_>) = Attention::variations()
        .into_iter()
        .filter(|how| Attention { scale: plain.scale, key: plain.key, ..*how } == plain)
        .partition(|how| how.scale == Scale::Absent);
    for group in [absent, scaled] {
        let results = group.iter().map(|how| run(&[2, 3, 8], |s, x| self_attention(s, x, how), "scale"));
        agree(&results.collect::<Vec<_>>(), &Limits::f32());
    }
    run(
        &[2, 3, 8],
        |s, x| {
            let memory = s.input(&[x.shape[0], 5, 8]);
            attention(s, x, &memory, &plain)
        },
        "cross attention",
    );
}

#[test]
fn convolution_blocks_evaluate() {
    for how in Conv::variations(4) {
        run(&[2, 4, 5, 5], |s, x| conv(s, x, &how), &format!("{how:?}"));
    }
    for how in Pool::ALL {
        run(&[2, 3, 5, 4], |s, x| pool(s, x, *how), &format!("{how:?}"));
    }
    let averages =
        GlobalAverage::ALL.iter().map(|how| run(&[2, 3, 5, 4], |s, x| to_vector(s, x, *how), "average"));
    agree(&averages.collect::<Vec<_>>(), &Limits::f32());
    for hard in [false, true] {
        run(&[2, 5, 3, 3], |s, x| squeeze_excite(s, x, GlobalAverage::Pool, hard), "squeeze-and-excitation");
    }
    run(&[2, 5, 3, 2], to_sequence, "to sequence");
}

#[test]
fn movements_give_their_input_back() {
    for shape in [&[2, 6][..], &[2, 3, 4], &[2, 3, 4, 5]] {
        let original = run(
            shape,
            |s, x| {
                let value = s.op("Identity", &[x.value]);
                x.with(value)
            },
            "identity",
        );
        for which in Chain::ALL {
            let result = run(shape, |s, x| chain(s, x, *which), &format!("{which:?}"));
            match which {
                Chain::TransposeAround => {}
                Chain::CastNarrow => assert_close(&original, &result, &Limits::half()),
                _ => assert_eq!(original, result, "{which:?}"),
            }
        }
        for how in ShapeChain::ALL {
            assert_eq!(original, run(shape, |s, x| shape_chain(s, x, *how), &format!("{how:?}")), "{how:?}");
        }
    }
}

#[test]
fn noise_and_softmax_evaluate() {
    for which in Noise::ALL {
        run(&[2, 3, 4], |s, x| noise(s, x, *which), &format!("{which:?}"));
    }
    let result = run(&[2, 3, 4], softmax, "softmax");
    assert!(result.floats().unwrap().chunks(4).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-6));
}

proptest! {
    #[test]
    fn every_plan_is_a_graph_that_evaluates(plan in plans(), seed in any::<u64>()) {
        let graph = plan.build();
        prop_assert_eq!(graph.verify(), Ok(()));
        prop_assert_eq!(&plan.build(), &graph);
        let inputs = inputs_for(&graph, seed);
        let results = evaluate(&graph, &inputs);
        let results = results.map_err(|e| TestCaseError::fail(format!("{e}\n{graph}")))?;
        prop_assert_eq!(results.len(), graph.outputs.len());
        // What typing says of the outputs must be what evaluation gives, with the batch as it was drawn.
        let mut typed = graph.clone();
        fusebox_ops::infer_graph(&mut typed, &[]).map_err(|e| TestCaseError::fail(format!("{e}\n{graph}")))?;
        let batch = Dim::known(inputs[0].shape()[0] as i64);
        for (output, result) in typed.outputs.iter().zip(results) {
            let ty = typed.value(*output).ty.tensor().cloned();
            let bound = ty.map(|ty| ty.substitute(&|name| (name == "batch").then(|| batch.clone())));
            let sizes = bound.and_then(|ty| ty.sizes());
            prop_assert_eq!(sizes.as_deref(), Some(result.shape()), "{}", typed);
            prop_assert!(result.floats().unwrap().iter().all(|v| v.abs() < 1e6), "badly scaled\n{}", graph);
        }
    }
}
