//! The rule language, the e-graph, guards, cost, extraction and provenance.
