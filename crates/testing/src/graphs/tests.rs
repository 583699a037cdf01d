//! Every plan is a valid graph, and building it again gives the same one.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_plan_is_a_valid_graph(plan in plans()) {
        let graph = plan.build();
        prop_assert_eq!(graph.verify(), Ok(()));
        prop_assert_eq!(&plan.build(), &graph);
        prop_assert_eq!(crate::inputs_for(&graph, plan.seed).len(), graph.inputs.len());
    }
}
