//! A model with the file that it came from.

use crate::Error;
use fusebox_onnx::LoadOptions;
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// A model; it derefs to the [`fusebox_ir::Model`] inside. Cloning is cheap: weights are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model(fusebox_ir::Model);

impl Model {
    /// Opens a model file. Weights stay in the mapped file; those that a skeleton describes by a seed are made.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a valid model.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &LoadOptions::default())
    }

    /// Opens a model file under other limits. Sizes that the file declares of computed values and that its operators
    /// contradict are replaced by what they compute, as other runtimes do.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let at = |source| Error::Open { path: path.to_owned(), source: Box::new(source) };
        let mut model = fusebox_onnx::load(path, options).map_err(at)?;
        if options.upgrade {
            fusebox_ops::reconcile(&mut model.graph, &model.functions);
        }
        Ok(Self(model))
    }

    /// Takes the weights that lie in a mapped file out of memory. They are read again when they are looked at.
    pub(crate) fn release_pages(&self) {
        let constants = self.graph.values().filter_map(|(id, _)| self.graph.constant(id));
        constants.for_each(|tensor| fusebox_kernels::mapped::release(tensor.data()));
    }

    /// The model inside.
    pub fn into_inner(self) -> fusebox_ir::Model {
        self.0
    }
}

impl Deref for Model {
    type Target = fusebox_ir::Model;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Model {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl From<fusebox_ir::Model> for Model {
    fn from(model: fusebox_ir::Model) -> Self {
        Self(model)
    }
}
