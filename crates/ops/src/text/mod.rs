//! Text as numbers: n-grams. Strings themselves are carried through models, not computed with.

mod tf_idf_vectorizer;

use crate::Op;

/// The operators of this family.
pub(crate) const OPS: &[&dyn Op] = &[&tf_idf_vectorizer::TfIdfVectorizer];
