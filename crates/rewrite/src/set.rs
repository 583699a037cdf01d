//! Sets of rules: the built-in ones, files named at run time, and what is switched off.

use crate::error::RewriteError;
use crate::lang::ast::Kind;
use crate::lang::diag::{RuleError, Source};
use crate::lang::{MAX_TEXT, load};
use crate::rule::Rule;
use crate::{instance, trial};
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

/// `(file, text)` of every file in `rules/`.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/rules.rs"));

static BUILTIN: LazyLock<RuleSet> = LazyLock::new(|| {
    let mut set = RuleSet::default();
    for (name, text) in FILES {
        let source = Source::new(*name, *text);
        set.add(&source).unwrap_or_else(|error| panic!("the built-in rules are tested: {error}"));
    }
    set
});

/// Rules, sorted by name: the order in which they are searched and applied, whatever the order of files.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// No rules.
    pub fn empty() -> Self {
        Self::default()
    }

    /// One rule.
    pub(crate) fn of(rule: Rule) -> Self {
        Self { rules: vec![rule] }
    }

    /// The rules of `rules/` as they were when this was built.
    pub fn builtin() -> Self {
        BUILTIN.clone()
    }

    /// The built-in rules and those of files, which are checked on their examples.
    ///
    /// # Errors
    /// A file that cannot be read, and the first rule that is refused.
    pub fn load(files: &[impl AsRef<Path>]) -> Result<Self, RewriteError> {
        let mut set = Self::builtin();
        for file in files {
            set.load_file(file.as_ref())?;
        }
        Ok(set)
    }

    /// Adds the rules of a file, checked on their examples.
    ///
    /// # Errors
    /// The file cannot be read, or a rule is refused.
    pub fn load_file(&mut self, file: &Path) -> Result<(), RewriteError> {
        let path = file.display().to_string();
        let mut bytes = Vec::new();
        // One byte more than a file may have, so that a longer one is refused for its length.
        let limit = MAX_TEXT as u64 + 1;
        let read = std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        read.map_err(|source| RewriteError::Read { path: path.clone(), source })?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(self.load_text(&path, &text)?),
            Err(error) if error.as_bytes().len() > MAX_TEXT => {
                Ok(self.load_text(&path, &String::from_utf8_lossy(error.as_bytes()))?)
            }
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let source = Source::new(path, String::from_utf8_lossy(error.as_bytes()));
                let refused = RuleError::new(&source, at..at + 1, "this is not UTF-8 text");
                Err(refused.help("rule files are plain text; was another file meant?").into())
            }
        }
    }

    /// Adds rules from text, checked on their examples. `name` is what messages call it.
    ///
    /// # Errors
    /// The first rule that is refused.
    pub fn load_text(&mut self, name: &str, text: &str) -> Result<(), Box<RuleError>> {
        let source = Source::new(name, text);
        let added = self.add(&source)?;
        for name in added {
            let rule = self.get(&name).expect("added above");
            instance::check(rule)?;
            trial::check(rule)?;
        }
        Ok(())
    }

    fn add(&mut self, source: &Source) -> Result<Vec<String>, Box<RuleError>> {
        let rules = load(source)?;
        for rule in &rules {
            if let Some(other) = self.get(&rule.name) {
                let at = other.at();
                let span = source.text.find(&rule.text).unwrap_or(0);
                let span = span..span + rule.text.lines().next().map_or(1, str::len);
                let reason = format!("a rule named {} exists already, at {at}", rule.name);
                return Err(RuleError::new(source, span, reason).help("rule names are unique over all files"));
            }
        }
        let names = rules.iter().map(|r| r.name.clone()).collect();
        self.rules.extend(rules);
        self.rules.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Switches rules off: one by its name, or a family by `family.*`.
    ///
    /// # Errors
    /// No rule has the name.
    pub fn disable(&mut self, name: &str) -> Result<(), RewriteError> {
        let before = self.rules.len();
        match name.strip_suffix('*') {
            Some(prefix) => self.rules.retain(|r| !r.name.starts_with(prefix)),
            None => self.rules.retain(|r| r.name != name),
        }
        if self.rules.len() == before { Err(RewriteError::NoSuchRule { name: name.into() }) } else { Ok(()) }
    }

    /// Keeps only the rules that a predicate likes.
    pub fn retain(&mut self, keep: impl FnMut(&Rule) -> bool) {
        self.rules.retain(keep);
    }

    /// A rule by name.
    pub fn get(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|r| r.name == name)
    }

    /// Checks every rule on its examples: it fires on them, both sides have the same types.
    ///
    /// # Errors
    /// The first rule that fails.
    pub fn check(&self) -> Result<(), Box<RuleError>> {
        self.rules.iter().filter(|r| r.kind != Kind::Impl).try_for_each(|rule| {
            instance::check(rule)?;
            trial::check(rule).map(drop)
        })
    }
}

impl std::ops::Deref for RuleSet {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.rules
    }
}
