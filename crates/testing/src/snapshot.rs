//! Where snapshots live: all of the workspace's under `snapshots/`, one folder per kind.

use std::path::PathBuf;

/// Settings under which insta keeps its snapshots in `snapshots/<folder>/`, named by the test alone.
///
/// ```
/// fusebox_testing::snapshot::settings("text").bind(|| { /* insta::assert_snapshot!("name", text); */ });
/// ```
pub fn settings(folder: &str) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder_of(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// The folder itself.
pub fn folder_of(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../snapshots").join(folder)
}

#[cfg(test)]
mod tests {
    #[test]
    fn snapshots_are_kept_in_the_member_package() {
        assert!(super::folder_of("..").join("snapshots/Cargo.toml").is_file());
    }
}
