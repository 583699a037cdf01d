//! Tables, Markdown and JSON from measurements.
