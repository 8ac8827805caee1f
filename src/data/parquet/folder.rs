//! The files of a table, which is one file or all those below a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Location, Result};

/// How the names of Parquet files end.
const ENDINGS: [&str; 3] = ["parquet", "parq", "pq"];

/// What stands in the name of a Hive partition for a missing value.
const MISSING: &str = "__HIVE_DEFAULT_PARTITION__";

/// Columns that the names of folders give, and their value; `None` where it is missing.
type Values = Vec<(String, Option<String>)>;

/// A file of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    pub(crate) values: Values,
}

/// The files of a table: `path` itself, or, in the order of their paths, those below the folder `path` whose names end
/// as those of Parquet files do. Files and folders are left out if their names begin with `.`, or with `_` and have no
/// `=`: other programs put there what is no data.
///
/// # Errors
/// A folder that cannot be read, has no such file, or has a link to a folder around it.
pub(crate) fn parts(path: &Path) -> Result<Vec<Part>> {
    let kind = fs::metadata(path).map_err(Error::io(path))?;
    if !kind.is_dir() {
        return Ok(vec![Part { path: path.to_path_buf(), values: Values::new() }]);
    }
    let mut walk = Walk::default();
    walk.folder(path, &[])?;
    walk.parts.sort_by(|a, b| a.path.cmp(&b.path));
    match walk.parts.is_empty() {
        false => Ok(walk.parts),
        true => {
            let expected = "a folder of files named *.parquet, *.parq or *.pq";
            let found = match walk.n_others {
                0 => "no file".to_owned(),
                n => format!("none among {n} files"),
            };
            Err(Error::input(Location::file(path), expected, found))
        }
    }
}

#[derive(Default)]
struct Walk {
    parts: Vec<Part>,
    /// The files of other names.
    n_others: usize,
    /// The folders around the place, without links.
    around: Vec<PathBuf>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, values: &[(String, Option<String>)]) -> Result<()> {
        let own = folder.canonicalize().map_err(Error::io(folder))?;
        if self.around.contains(&own) {
            return Err(Error::input(Location::file(folder), "a tree of folders", "a link to one around it"));
        }
        self.around.push(own);
        for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
            let path = entry.map_err(Error::io(folder))?.path();
            self.entry(path, values)?;
        }
        self.around.pop();
        Ok(())
    }

    fn entry(&mut self, path: PathBuf, values: &[(String, Option<String>)]) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || (name.starts_with('_') && !name.contains('=')) {
            return Ok(());
        }
        if !fs::metadata(&path).map_err(Error::io(&path))?.is_dir() {
            let ending = path.extension().and_then(|ending| ending.to_str());
            match ending.is_some_and(|ending| ENDINGS.iter().any(|own| own.eq_ignore_ascii_case(ending))) {
                true => self.parts.push(Part { path, values: values.to_vec() }),
                false => self.n_others += 1,
            }
            return Ok(());
        }
        let mut values = values.to_vec();
        values.extend(partition(&name, &path)?);
        self.folder(&path, &values)
    }
}

/// The column and the value that the name of a folder gives, if it is that of a Hive partition.
fn partition(name: &str, path: &Path) -> Result<Option<(String, Option<String>)>> {
    let Some((column, value)) = name.split_once('=').filter(|(column, _)| !column.is_empty()) else {
        return Ok(None);
    };
    let decode = |text: &str| {
        percent_decoded(text).ok_or_else(|| {
            Error::input(
                Location::file(path),
                "a name that is UTF-8 behind its percent signs",
                format!("{text:?}"),
            )
        })
    };
    let value = if value == MISSING { None } else { Some(decode(value)?) };
    Ok(Some((decode(column)?, value)))
}

/// A text whose `%41` are `A`; `None` if it is not UTF-8 then. A percent sign without two such digits is itself.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits =
            behind.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(folder: &Path, name: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn the_files_of_a_folder_come_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b.parquet",
            "a/2.PARQ",
            "a/1.snappy.parquet",
            "day=2024-01-03/shop=a%2Fb%C3%A9/x.pq",
            "day=__HIVE_DEFAULT_PARTITION__/_k=50%/x.parquet",
            "_SUCCESS",
            ".b.parquet.crc",
            "_temporary/0/c.parquet",
            ".hidden/c.parquet",
            "readme.txt",
        ] {
            touch(folder.path(), name);
        }
        let found: Vec<(String, Values)> = (parts(folder.path()).unwrap().into_iter())
            .map(|part| {
                let path =
                    part.path.strip_prefix(folder.path()).unwrap().to_str().unwrap().replace('\\', "/");
                (path, part.values)
            })
            .collect();
        let value = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(
            found,
            [
                ("a/1.snappy.parquet".to_owned(), vec![]),
                ("a/2.PARQ".to_owned(), vec![]),
                ("b.parquet".to_owned(), vec![]),
                (
                    "day=2024-01-03/shop=a%2Fb%C3%A9/x.pq".to_owned(),
                    vec![value("day", Some("2024-01-03")), value("shop", Some("a/bé"))]
                ),
                (
                    "day=__HIVE_DEFAULT_PARTITION__/_k=50%/x.parquet".to_owned(),
                    vec![value("day", None), value("_k", Some("50%"))]
                ),
            ]
        );
    }

    #[test]
    fn a_folder_without_such_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = || parts(folder.path()).unwrap_err().to_string();
        let expected = "expected a folder of files named *.parquet, *.parq or *.pq, found";
        assert!(error().ends_with(&format!("{expected} no file")), "{}", error());
        touch(folder.path(), "x/000000_0");
        touch(folder.path(), "_SUCCESS");
        assert!(error().ends_with(&format!("{expected} none among 1 files")), "{}", error());
        touch(folder.path(), "x=%FF/1.parquet");
        assert!(
            error().ends_with("a name that is UTF-8 behind its percent signs, found \"%FF\""),
            "{}",
            error()
        );
        assert!(parts(&folder.path().join("nothing")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_holds_itself_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), "a/1.parquet");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("a/again")).unwrap();
        let error = parts(folder.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("again: expected a tree of folders, found a link to one around it"),
            "{error}"
        );
        fs::remove_file(folder.path().join("a/again")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert_eq!(parts(folder.path()).unwrap().len(), 2);
    }
}
