//! Whether a text may carry colours and box characters, and which colour means what.

/// What the reader of a text can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours.
    pub colour: bool,
    /// Box-drawing characters.
    pub unicode: bool,
}

/// What a piece of text means; shown as a colour where there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paint {
    /// Nothing in particular.
    #[default]
    Plain,
    /// A title.
    Strong,
    /// Of less interest.
    Faint,
    /// Within its limit, or added.
    Good,
    /// Past its limit, or removed.
    Bad,
    /// Worth a look.
    Warn,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
        }
    }
}

impl Style {
    /// The text in its colour, or as it is.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour || paint == Paint::Plain || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code())
    }
}
