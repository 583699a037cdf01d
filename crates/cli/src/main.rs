//! The fusebox command line.

fn main() {}
