//! Every snapshot of the workspace and the tests that make them.
