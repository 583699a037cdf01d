//! Wire messages that onnx-ir does not let us name: key-value entries and opset imports, through macros that leave
//! the types to inference; and parts that are carried as bytes.

use fusebox_ir::Carried;
use onnx_ir::Message;

/// Key-value entries of a message as pairs.
macro_rules! pairs {
    ($entries:expr) => {
        $entries.iter().map(|e| (e.key.clone(), e.value.clone())).collect::<Vec<(String, String)>>()
    };
}

/// Opset imports of a message.
macro_rules! opset_imports {
    ($entries:expr) => {
        $entries
            .iter()
            .map(|e| fusebox_ir::OpsetImport { domain: e.domain.clone(), version: e.version })
            .collect::<Vec<_>>()
    };
}

/// Appends a key-value entry to a message.
macro_rules! push_pair {
    ($entries:expr, $key:expr, $value:expr) => {{
        $entries.push(Default::default());
        let entry = $entries.last_mut().expect("pushed above");
        (entry.key, entry.value) = ($key.into(), $value.into());
    }};
}

/// Appends opset imports to a message.
macro_rules! push_opsets {
    ($entries:expr, $opsets:expr) => {
        for opset in $opsets {
            $entries.push(Default::default());
            let entry = $entries.last_mut().expect("pushed above");
            (entry.domain, entry.version) = (opset.domain.clone(), opset.version);
        }
    };
}

pub(crate) use {opset_imports, pairs, push_opsets, push_pair};

/// Field name under which fields unknown to this version of ONNX are carried.
pub(crate) const UNKNOWN: &str = "unknown";

/// Carries one message.
pub(crate) fn carry<M: Message>(field: &str, message: &M) -> Carried {
    let bytes =
        message.write_to_bytes().expect("writing to memory cannot fail below 2 GiB, which the file is");
    Carried { field: field.into(), bytes }
}

/// Carries the fields of a message that its type does not know.
pub(crate) fn carry_unknown<M: Message>(message: &M) -> Option<Carried> {
    message.special_fields().unknown_fields().iter().next()?;
    let mut alone = M::default();
    *alone.mut_special_fields() = message.special_fields().clone();
    Some(carry(UNKNOWN, &alone))
}
