//! The command line as a user sees it: answers on small models, and every kind of bad input with its message and exit
//! code, as snapshots in `snapshots/cli/`.

mod answers;
mod bad_input;
mod desk;
mod wire;
