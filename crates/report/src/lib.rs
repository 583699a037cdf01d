//! Text tables, Markdown and JSON from measurements.
//!
//! Refuses to know how anything was measured and where the text goes: a caller says whether colours and box characters
//! are wanted. A [`Table`] is rendered as aligned text or as Markdown; [`number`] writes quantities the way people read
//! them; [`Summary`] condenses samples; [`envelope`] is the frame of every JSON answer.

pub mod json;
pub mod number;
pub mod style;
pub mod summary;
pub mod table;

pub use json::{SCHEMA_VERSION, envelope};
pub use style::{Paint, Style};
pub use summary::Summary;
pub use table::{Align, Cell, Table};
