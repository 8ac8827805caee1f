//! Files that appear complete or not at all.

use std::path::Path;

/// Writes a file that appears complete or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let scratch = path.with_extension("json.partial");
    std::fs::write(&scratch, bytes)?;
    std::fs::rename(scratch, path)
}
