//! What was compiled, by the sizes that it was compiled for: a few entries, the one used longest ago goes first.

use fusebox_ir::DType;
use fusebox_ops::Datum;
use std::sync::{Arc, Mutex, PoisonError};

/// What compilation depends on, for one value: element type and sizes of a tensor; `None` for what is no tensor or is
/// left to its default.
pub type Signature = Vec<Option<(DType, Vec<usize>)>>;

/// Signature of values.
pub fn signature<'a>(values: impl IntoIterator<Item = Option<&'a Datum>>) -> Signature {
    let of = |datum: Option<&Datum>| match datum {
        Some(Datum::Tensor(tensor)) => Some((tensor.dtype(), tensor.shape().to_vec())),
        _ => None,
    };
    values.into_iter().map(of).collect()
}

/// A bounded cache, ordered by last use.
pub struct Cache<V> {
    /// The entry used last is at the end.
    entries: Mutex<Vec<(Signature, Arc<V>)>>,
    limit: usize,
}

impl<V> Cache<V> {
    /// A cache of at most `limit` entries.
    pub fn new(limit: usize) -> Self {
        Self { entries: Mutex::default(), limit }
    }

    /// The entry of a signature, made when it is missing.
    ///
    /// # Errors
    /// What `make` reports; nothing is kept then.
    pub fn get<E>(&self, signature: &Signature, make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = entries.iter().rposition(|(known, _)| known == signature) {
                let entry = entries.remove(at);
                let found = entry.1.clone();
                entries.push(entry);
                return Ok(found);
            }
        }
        let fresh = Arc::new(make()?);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Two threads may have made the same entry: the later one counts.
        entries.retain(|(known, _)| known != signature);
        if entries.len() >= self.limit {
            entries.remove(0);
        }
        entries.push((signature.clone(), fresh.clone()));
        Ok(fresh)
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize) -> Signature {
        vec![Some((DType::F32, vec![size]))]
    }

    #[test]
    fn the_entry_used_longest_ago_goes_first() {
        let cache = Cache::new(2);
        let get = |size: usize| *cache.get(&of(size), || Ok::<_, ()>(size)).unwrap();
        let cached = |size: usize| cache.get(&of(size), || Err(())).is_ok();
        get(1);
        get(2);
        get(1);
        get(3);
        assert!(cached(1) && cached(3) && !cached(2));
        assert_eq!(cache.count(), 2);
    }
}
