//! Packed weights, shared by all plans of a session.

use fusebox_ir::Tensor;
use fusebox_kernels::SpecError;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Where the bytes of a constant are, and what they were packed for. The cache keeps the constants alive, so an address
/// names its content.
type Key = (usize, usize, String);

struct Packed {
    form: Arc<dyn Any + Send + Sync>,
    _source: Tensor,
}

/// Cache of packed weights.
#[derive(Default)]
pub struct Weights {
    packed: Mutex<BTreeMap<Key, Packed>>,
}

impl Weights {
    /// The packed form of a constant, made on first use. `form` names precision, sizes and orientation.
    ///
    /// # Errors
    /// What `pack` reports.
    pub fn get<T: Any + Send + Sync>(
        &self,
        tensor: &Tensor,
        form: &str,
        pack: impl FnOnce(&Tensor) -> Result<T, SpecError>,
    ) -> Result<Arc<T>, SpecError> {
        let key = (tensor.data().as_ptr() as usize, tensor.data().len(), form.to_owned());
        let poisoned = || SpecError { reason: "an earlier packing panicked".into() };
        let found = self.packed.lock().map_err(|_| poisoned())?.get(&key).map(|p| p.form.clone());
        if let Some(found) = found
            && let Ok(found) = found.downcast::<T>()
        {
            return Ok(found);
        }
        let fresh = Arc::new(pack(tensor)?);
        // The packed form is what runs: the file's pages need not stay beside it.
        fusebox_kernels::mapped::release(tensor.data());
        let packed = Packed { form: fresh.clone(), _source: tensor.clone() };
        self.packed.lock().map_err(|_| poisoned())?.insert(key, packed);
        Ok(fresh)
    }
}
