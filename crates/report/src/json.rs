//! The frame around every JSON answer: schema version, command, then the answer's own fields.
//!
//! A field may be added within a version; removing or changing one raises [`SCHEMA_VERSION`].

use serde::Serialize;
use serde_json::{Map, Value};

/// Version of the schema of JSON answers.
pub const SCHEMA_VERSION: u32 = 1;

/// `{"version": …, "command": …}` and the fields of `answer`. An answer that is not an object goes under `result`.
///
/// # Errors
/// When the answer cannot be written as JSON (a map whose keys are not strings).
pub fn envelope(command: &str, answer: &impl Serialize) -> Result<Value, serde_json::Error> {
    let mut fields = Map::new();
    fields.insert("version".into(), SCHEMA_VERSION.into());
    fields.insert("command".into(), command.into());
    match serde_json::to_value(answer)? {
        Value::Object(own) => fields.extend(own),
        other => {
            fields.insert("result".into(), other);
        }
    }
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_merged_and_lists_wrapped() {
        let object = envelope("run", &serde_json::json!({ "outputs": 2 })).unwrap();
        assert_eq!(object, serde_json::json!({ "version": 1, "command": "run", "outputs": 2 }));
        let list = envelope("rules", &[1, 2]).unwrap();
        assert_eq!(list["result"], serde_json::json!([1, 2]));
    }
}
