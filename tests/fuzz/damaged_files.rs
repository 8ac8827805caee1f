//! Files that once did more than be refused; `tests/data/damaged/README.md` says what each shows.

use std::fs;
use std::path::Path;

use crate::runner;

/// Files that may as well be read, as long as it takes no more memory than they have bytes for.
const MAY_BE_READ: &[&str] = &[
    "csv-0-return-before-an-empty-field.csv",
    "json_data-2-billions-of-items.json",
    "json_data-2-billions-of-users.json",
    "json_features-1-items-of-billions-of-categories.json",
    "json_stages-15-rules-for-billions-of-items.json",
    "json_stages-3-sessions-over-billions-of-items.json",
    "json_stages-8-content-of-billions-of-terms.json",
    "json_stages-9-billions-of-genres.json",
];

/// A file's name is that of its target, the number of the setting and what it shows, with dashes between.
#[test]
fn damaged_files_are_typed_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/damaged");
    let scratch = runner::scratch();
    for entry in fs::read_dir(&folder).expect("a folder of the repository") {
        let path = entry.expect("a folder of the repository").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        if name == "README.md" {
            continue;
        }
        let mut parts = name.splitn(3, '-');
        let (target, variant) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let variant = variant.parse().unwrap_or_else(|_| panic!("{name}: no number of a setting"));
        assert!(fs::metadata(&path).is_ok_and(|file| file.len() < 4096), "{name} is large");
        let report = runner::read_file(target, variant, &path, scratch.path());
        let is_told = report.refused == 1 || report.accepted == 1 && MAY_BE_READ.contains(&name);
        assert!(is_told, "{name}: {report}");
    }
}
