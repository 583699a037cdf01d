//! Which output of a decoder is the next value of which input, by names and types.
//!
//! Exporters agree on the words past and present and on little else. Where a model has neither, outputs whose names
//! differ from an input's only by words of direction (in, out, new, …) are taken. Refuses to know sizes and steps.

use fusebox_ir::{Graph, TensorType, ValueId};

/// An input that is fed what an output gave one step before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Position among the inputs.
    pub(super) input: usize,
    /// Position among the outputs.
    pub(super) output: usize,
    /// Whether it is computed from the encoder once, and never grows.
    pub(super) is_cross: bool,
}

/// Words that only say which way a value goes.
const DIRECTIONS: &[&str] = &[
    "in", "out", "input", "output", "new", "next", "prev", "previous", "last", "updated", "update", "old",
    "current",
];

/// What the inputs and outputs of a model are to each other.
pub(super) struct Pairing {
    /// Inputs with their outputs.
    pub(super) pairs: Vec<Pair>,
    /// Inputs that are called past of the decoder itself, and that no output continues.
    pub(super) lonely: Vec<String>,
    /// Outputs that are called present, and that no input takes.
    pub(super) unread: Vec<String>,
}

/// Pairs inputs with outputs.
pub(super) fn pair(graph: &Graph, inputs: &[ValueId]) -> Pairing {
    let name = |id: &ValueId| graph.value(*id).name.to_lowercase();
    let is_cache = |id: &ValueId| is_float(graph, *id);
    let past: Vec<usize> = (0..inputs.len()).filter(|i| name(&inputs[*i]).contains("past")).collect();
    let present: Vec<usize> =
        (0..graph.outputs.len()).filter(|i| name(&graph.outputs[*i]).contains("present")).collect();
    let matched = |inputs_of: &[usize], outputs_of: &[usize], stem: &dyn Fn(&str) -> String| -> Vec<Pair> {
        let output = |input: usize| {
            let wanted = stem(&graph.value(inputs[input]).name);
            let fits = |output: &&usize| stem(&graph.value(graph.outputs[**output]).name) == wanted;
            outputs_of.iter().find(fits).copied().filter(|_| !wanted.is_empty())
        };
        let caches = inputs_of.iter().copied().filter(|i| is_cache(&inputs[*i]));
        let pairs = caches.filter_map(|input| Some((input, output(input)?)));
        pairs
            .map(|(input, output)| Pair { input, output, is_cross: is_cross(&name(&inputs[input])) })
            .collect()
    };
    let mut pairs = matched(&past, &present, &stem);
    if pairs.is_empty() {
        // A state has at least the axes batch and width; the same tensor may not be both logits and state.
        let many = |id: &ValueId| tensor(graph, *id).is_none_or(|ty| ty.rank().is_none_or(|rank| rank >= 2));
        let all: Vec<usize> = (0..inputs.len()).filter(|i| many(&inputs[*i])).collect();
        let outputs: Vec<usize> = (0..graph.outputs.len()).filter(|i| many(&graph.outputs[*i])).collect();
        pairs = matched(&all, &outputs, &undirected);
    }
    let has = |input: usize| pairs.iter().any(|pair| pair.input == input);
    let own = past.iter().filter(|i| is_cache(&inputs[**i]) && !has(**i) && !is_cross(&name(&inputs[**i])));
    let lonely = own.map(|i| graph.value(inputs[*i]).name.clone()).collect();
    let taken = |output: usize| pairs.iter().any(|pair| pair.output == output);
    let left = present.iter().filter(|o| !taken(**o));
    let unread = left.map(|o| graph.value(graph.outputs[*o]).name.clone()).collect();
    Pairing { pairs, lonely, unread }
}

fn tensor(graph: &Graph, id: ValueId) -> Option<&TensorType> {
    graph.value(id).ty.tensor()
}

fn is_float(graph: &Graph, id: ValueId) -> bool {
    tensor(graph, id).is_some_and(|ty| ty.dtype.is_float())
}

/// Whether a name is of what is computed from the encoder.
pub(super) fn is_cross(name: &str) -> bool {
    name.contains("encoder") || name.contains("cross")
}

/// A cache's name without past, present and what exporters put beside them.
fn stem(name: &str) -> String {
    let mut name = name.to_lowercase();
    for word in ["past_key_values", "present_key_values", "past_key", "present_key", "past", "present"] {
        // `past_key_0` and `past_value_0` keep what tells them apart.
        let keep = if word.ends_with("_key") { "key" } else { "" };
        if let Some(at) = name.find(word) {
            name.replace_range(at..at + word.len(), keep);
            break;
        }
    }
    parts(&name).join(".")
}

/// A name without the words of direction.
fn undirected(name: &str) -> String {
    let name = name.to_lowercase();
    // A name that is nothing but direction says nothing.
    parts(&name).into_iter().filter(|part| !DIRECTIONS.contains(part)).collect::<Vec<_>>().join(".")
}

fn parts(name: &str) -> Vec<&str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusebox_ir::{Builder, DType};

    #[test]
    fn past_and_present_find_each_other_however_they_are_called() {
        for (past, present) in [
            ("past_key_values.0.key", "present.0.key"),
            ("past_key_values.3.decoder.value", "present.3.decoder.value"),
            ("past_key_values.0.encoder.key", "present.0.encoder.key"),
            ("past_key_0", "present_key_0"),
            ("past_value_1", "present_value_1"),
            ("past_0", "present_0"),
            ("past_key_self_0", "present_key_self_0"),
        ] {
            assert_eq!(stem(past), stem(present), "{past}");
        }
        assert_ne!(stem("past_key_0"), stem("present_value_0"));
        assert_eq!(undirected("input"), "");
        for (input, output) in
            [("k_cache.0", "k_cache.0.out"), ("conv_state_in", "conv_state_out"), ("h0", "new_h0")]
        {
            assert_eq!(undirected(input), undirected(output), "{input}");
        }
    }

    #[test]
    fn what_finds_no_partner_is_named() {
        let mut b = Builder::new();
        let cache = TensorType::known(DType::F32, &[1, 2, 3, 4]);
        let names = ["past_key_values.0.key", "past_key_values.1.key", "past_key_values.0.encoder.key"];
        let inputs: Vec<ValueId> = names.iter().map(|name| b.input(name, cache.clone())).collect();
        let outputs: Vec<ValueId> = inputs.iter().take(2).map(|id| b.op("Neg", &[*id])).collect();
        let mut graph = b.finish(&outputs);
        graph.value_mut(outputs[0]).name = "present.0.key".into();
        graph.value_mut(outputs[1]).name = "present.7.key".into();
        let found = pair(&graph, &inputs);
        assert_eq!(found.pairs, [Pair { input: 0, output: 0, is_cross: false }]);
        assert_eq!(found.lonely, ["past_key_values.1.key"]);
        assert_eq!(found.unread, ["present.7.key"]);
    }
}
