//! Writing files that must not be there yet.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::names::ProjectionName;

/// The files of a projection: where each goes, its folder or file being `projection_name`, and its template.
pub(super) const PROJECTION: [(&str, &str); 7] = [
    ("projection_name.rs", include_str!("../../../templates/projection/projection.rs")),
    ("projection_name/schema.sql", include_str!("../../../templates/projection/schema.sql")),
    ("projection_name/indexes.sql", include_str!("../../../templates/projection/indexes.sql")),
    ("projection_name/fold.rs", include_str!("../../../templates/projection/fold.rs")),
    ("projection_name/flush.rs", include_str!("../../../templates/projection/flush.rs")),
    ("projection_name/reads.rs", include_str!("../../../templates/projection/reads.rs")),
    ("projection_name/tests.rs", include_str!("../../../templates/projection/tests.rs")),
];

/// A template with its names put in; `projections` is the crate that has the runner.
pub(super) fn fill(template: &str, name: &ProjectionName, projections: &str) -> String {
    template
        .replace("projection_name", name.snake())
        .replace("ProjectionName", &name.pascal())
        .replace("projection-name", &name.dashed())
        .replace("crate_path", projections)
}

/// Writes files under `folder`. Refuses, before anything is written, if one of them is there.
pub(super) fn write_new(folder: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    for (path, _) in files {
        let path = folder.join(path);
        anyhow::ensure!(!path.exists(), "{} is there already", path.display());
    }
    for (path, text) in files {
        let path = folder.join(path);
        let parent = path.parent().context("a file has a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
        let mut file = File::create_new(&path).with_context(|| format!("failed to make {}", path.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// Formats Rust files, where there is a rustfmt: lines and imports fall otherwise with other names.
pub(super) fn format(files: &[PathBuf]) {
    let formatted = Command::new("rustfmt").args(["--edition", "2024"]).args(files).stderr(Stdio::null()).status();
    if !formatted.is_ok_and(|status| status.success()) {
        eprintln!("pulsegate: rustfmt could not be run; `cargo fmt` puts the lines in order");
    }
}
