//! Files that once did more than be refused; `tests/data/damaged/README.md` says what each shows.

use std::fs;
use std::path::Path;

use crate::runner;
use crate::target::{self, Input};

/// Files that are not yet refused; each is read again once its cause is gone.
const KNOWN_FAILING: &[&str] = &[];

/// A file's name is that of its target, the number of the setting and what it shows, with dashes between.
#[test]
fn damaged_files_are_typed_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/damaged");
    let mut n_read = 0;
    for entry in fs::read_dir(&folder).expect("a folder of the repository") {
        let path = entry.expect("a folder of the repository").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        if name == "README.md" || KNOWN_FAILING.contains(&name) {
            continue;
        }
        let mut parts = name.splitn(3, '-');
        let (target, variant) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let variant = variant.parse().unwrap_or_else(|_| panic!("{name}: no number of a setting"));
        let scratch = runner::scratch();
        let target = target::make(target, scratch.path());
        let bytes = fs::read(&path).expect("a file of the repository");
        assert!(bytes.len() < 4096, "{name} is large");
        assert!(target.read(&Input::bytes(variant, bytes)).is_err(), "{name} is accepted");
        n_read += 1;
    }
    println!("{n_read} files");
}
