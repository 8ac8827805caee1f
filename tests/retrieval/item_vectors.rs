//! Vectors of items from the files of NumPy, PyTorch and pyarrow; `tests/data/item_vectors/make.py` wrote them.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use recsys::features::ItemVectors;
use recsys::prelude::*;

const N_ITEMS: usize = 5;
const DIM: usize = 3;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/item_vectors").join(name)
}

/// What every file holds.
fn expected() -> ItemVectors {
    let value = |at: usize| (at / DIM) as f32 * 0.5 - 0.5 + (at % DIM) as f32 * 8.0;
    ItemVectors::new(DIM, (0..N_ITEMS * DIM).map(value).collect()).unwrap()
}

/// The error of a fixture, without the folder's name.
fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let folder = format!("{}{}", fixture("").display(), std::path::MAIN_SEPARATOR);
    result.unwrap_err().to_string().replace(&folder, "").replace(&fixture("").display().to_string(), "")
}

/// Reads a file of these bytes.
fn read_bytes<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors");
    fs::write(&path, bytes).unwrap();
    read(&path)
}

/// Some bytes of a file, replaced; and where it is cut.
fn damages() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)> {
    (
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        any::<Option<prop::sample::Index>>(),
    )
}

fn damaged(name: &str, damage: (Vec<(prop::sample::Index, u8)>, Option<prop::sample::Index>)) -> Vec<u8> {
    let mut bytes = fs::read(fixture(name)).unwrap();
    for (place, byte) in damage.0 {
        let at = place.index(bytes.len());
        bytes[at] = byte;
    }
    if let Some(cut) = damage.1 {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

/// The bytes of a `.npy` file with this header, which gets no padding, and these data.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
}

fn npy_error(bytes: &[u8]) -> String {
    read_bytes(bytes, |path| {
        let error = ItemVectors::read_npy(path).unwrap_err().to_string();
        error.replace(&path.display().to_string(), "vectors")
    })
}

#[test]
fn matrices_of_numpy() {
    for name in ["c_f4.npy", "fortran_f8.npy", "big_endian_f4.npy"] {
        assert_eq!(ItemVectors::read_npy(fixture(name)).unwrap(), expected(), "{name}");
    }
    assert_eq!(
        message(ItemVectors::read_npy(fixture("three_axes.npy"))),
        "three_axes.npy: expected a matrix: an array of two axes, found the shape [5, 3, 1]"
    );
    assert_eq!(
        message(ItemVectors::read_npy(fixture("integers.npy"))),
        "integers.npy: expected numbers of the type float32 or float64, found '<i8'"
    );
    assert!(message(ItemVectors::read_npy(fixture("no.npy"))).starts_with("no.npy: "));
}

#[test]
fn npy_headers_that_lie() {
    let header = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let one = 1f32.to_le_bytes();
    let read = |bytes: &[u8]| read_bytes(bytes, |path| ItemVectors::read_npy(path)).unwrap();
    assert_eq!(read(&npy(&header("(1, 1)"), &one)).values(), [1.0]);
    assert_eq!(read(&npy(&header("(0, 7)"), &[])).dim(), 7);
    assert_eq!(
        npy_error(&npy(&header("(2, 1)"), &one)),
        "vectors: expected 2 × 1 numbers of 4 bytes, found 4 bytes"
    );
    assert_eq!(
        npy_error(&npy(&header("(7, 0)"), &[])),
        "vectors: expected vectors of at least one number, found none"
    );
    for shape in
        ["(18446744073709551615, 2)", "(4611686018427387905, 4)", "(36893488147419103232, 1)", "(-1, 1)"]
    {
        let error = npy_error(&npy(&header(shape), &one));
        assert!(error.starts_with("vectors: expected "), "{error}");
    }
    for bracket in ["{", "(", "["] {
        let error = npy_error(&npy(&bracket.repeat(30_000), &one));
        assert!(error.ends_with("found a header of 30000 bytes with 30000 opening brackets"), "{error}");
    }
    let mut endless = npy(&header("(1, 1)"), &one);
    endless[6] = 2;
    endless[8..12].fill(0xff);
    assert!(npy_error(&endless).contains("found a header of 4294967295 bytes"));
    let mut nan = npy(&header("(2, 2)"), &[0; 16]);
    let place = nan.len() - 8;
    nan[place..place + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(npy_error(&nan), "vectors, line 2, column 1: expected a finite number, found NaN");
}

proptest! {
    #[test]
    fn no_bytes_of_an_npy_file_panic(damage in damages(), name in prop::sample::select(vec!["c_f4.npy", "fortran_f8.npy"])) {
        let _ = read_bytes(&damaged(name, damage), |path| ItemVectors::read_npy(path));
    }
}

#[cfg(feature = "safetensors")]
mod safetensors {
    use super::*;

    #[test]
    fn tensors_of_pytorch() {
        for name in ["f16", "bf16", "f32", "f64"] {
            let read = ItemVectors::read_safetensors(fixture("all.safetensors"), Some(name)).unwrap();
            assert_eq!(read, expected(), "{name}");
        }
        for name in [None, Some("item")] {
            assert_eq!(ItemVectors::read_safetensors(fixture("one.safetensors"), name).unwrap(), expected());
        }
    }

    #[test]
    fn a_tensor_that_does_not_serve_is_named() {
        let error = |name| message(ItemVectors::read_safetensors(fixture("all.safetensors"), name));
        let names = "[bf16, counts, f16, f32, f64, row]";
        assert_eq!(
            error(None),
            format!(
                "all.safetensors: expected a single tensor, or the name of the one to read, found {names}"
            )
        );
        assert_eq!(
            error(Some("items")),
            format!("all.safetensors: expected a tensor named \"items\", found {names}")
        );
        assert_eq!(
            error(Some("row")),
            "all.safetensors, column row: expected a tensor of two axes, found the shape [3]"
        );
        assert_eq!(
            error(Some("counts")),
            "all.safetensors, column counts: expected numbers of the type F32, F64, F16 or BF16, found I64"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(damage in damages()) {
            let bytes = damaged("all.safetensors", damage);
            let _ = read_bytes(&bytes, |path| ItemVectors::read_safetensors(path, Some("bf16")));
        }
    }
}

#[cfg(feature = "parquet")]
mod parquet {
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use arrow::array::{ArrayRef, BinaryArray, ListArray, RecordBatch, UInt64Array};
    use arrow::datatypes::Float64Type;
    use recsys::features::MissingItems;

    use super::*;

    fn read(key: &str, vector: &[&str], items: &Vocab, missing: MissingItems) -> Result<ItemVectors> {
        ItemVectors::read_parquet(fixture("vectors.parquet"), key, vector, items, missing)
    }

    fn items() -> Vocab {
        Vocab::from_ints((1..=N_ITEMS as u64).map(|item| 10 * item).collect()).unwrap()
    }

    #[test]
    fn columns_of_lists_and_of_numbers() {
        let names = Vocab::from_texts((1..=N_ITEMS).map(|item| format!("film {}", 10 * item)).collect());
        for (key, items) in [("item", items()), ("name", names.unwrap())] {
            for vector in [&["list"][..], &["fixed"], &["x0", "x1", "x2"]] {
                let read = read(key, vector, &items, MissingItems::Refuse).unwrap();
                assert_eq!(read, expected(), "{key} {vector:?}");
            }
        }
        let both = read("item", &["x1", "list"], &items(), MissingItems::Refuse).unwrap();
        assert_eq!((both.dim(), both.row(ItemId(1))), (4, &[8.0, 0.0, 8.0, 16.0][..]));
    }

    #[test]
    fn items_without_a_row() {
        let items = Vocab::from_ints(vec![7, 20, 8]).unwrap();
        let read = |missing| read("item", &["fixed"], &items, missing);
        assert_eq!(
            message(read(MissingItems::Refuse)),
            "vectors.parquet, column item: expected a row for every item, found none for 2 of 3, the first 7"
        );
        let zeros = [[0.0; 3], [0.0, 8.0, 16.0], [0.0; 3]].concat();
        assert_eq!(read(MissingItems::Zeros).unwrap().values(), zeros);
    }

    /// The error of a file whose second row group has the keys 30 and `key` and, for the latter, `vector`.
    fn error_of_last_row(key: u64, vector: Option<Vec<Option<f64>>>) -> String {
        let keys = UInt64Array::from(vec![10, 20, 30, key]);
        let list = |values: [f64; 2]| Some(values.map(Some).to_vec());
        let lists = vec![list([1.0, 2.0]), list([3.0, 4.0]), list([5.0, 6.0]), vector];
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
        let columns: [(&str, ArrayRef, bool); 2] =
            [("item", Arc::new(keys), false), ("list", Arc::new(lists), true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        for start in [0, 2] {
            writer.write(&batch.slice(start, 2)).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        read_bytes(&bytes, |path| {
            let read = ItemVectors::read_parquet(path, "item", &["list"], &items(), MissingItems::Zeros);
            read.unwrap_err().to_string().replace(&path.display().to_string(), "v")
        })
    }

    #[test]
    fn rows_that_do_not_serve_are_named() {
        let list = |values: &[f64]| Some(values.iter().copied().map(Some).collect());
        assert_eq!(
            error_of_last_row(20, list(&[7.0, 8.0])),
            "v, line 4, column item: expected distinct items, found 20 again, after row 2"
        );
        let place = "v, line 4, column list: expected ";
        for (vector, expected) in [
            (list(&[7.0]), "2 numbers, as in row 1, found 1"),
            (list(&[7.0, 8.0, 9.0]), "2 numbers, as in row 1, found 3"),
            (list(&[7.0, f64::NAN]), "finite numbers, found NaN"),
            (list(&[1e300, 0.0]), "finite numbers, found inf"),
            (Some(vec![Some(7.0), None]), "2 numbers, found null"),
            (None, "2 numbers, found null"),
        ] {
            assert_eq!(error_of_last_row(40, vector), format!("{place}{expected}"));
        }
    }

    #[test]
    fn columns_that_do_not_serve_are_named() {
        let error = |key, vector: &[&str]| message(read(key, vector, &items(), MissingItems::Refuse));
        assert_eq!(
            error("film", &["x0"]),
            "vectors.parquet, column film: expected a column named \"film\", found item, name, list, fixed, x0, x1, x2"
        );
        assert_eq!(
            error("item", &["name"]),
            "vectors.parquet, column name: expected a column of numbers or of lists of numbers, found Utf8"
        );
        assert_eq!(
            error("list", &["x1"]),
            "vectors.parquet, column list: expected a column of texts or whole numbers, found List(Float64, field: 'element')"
        );
        assert_eq!(
            error("item", &[]),
            "vectors.parquet: expected vectors of at least one number, found none"
        );
    }

    #[test]
    fn files_of_a_folder_have_rows_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let read =
            || ItemVectors::read_parquet(folder.path(), "item", &["list"], &items(), MissingItems::Zeros);
        let write = |name: &str, keys: &[u8]| {
            let n = keys.len();
            let keys: BinaryArray = keys.iter().map(|key| Some(format!("{key}"))).collect();
            let lists = (0..n).map(|row| Some(vec![Some(row as f64)]));
            let columns: [(&str, ArrayRef); 2] = [
                ("item", Arc::new(keys)),
                ("list", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))),
            ];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        };
        write("a.parquet", &[10, 30]);
        write("b.parquet", &[5, 20]);
        assert_eq!(read().unwrap().values()[..3], [0.0, 1.0, 1.0]);
        write("c.parquet", &[7, 8, 30]);
        let error = read().unwrap_err().to_string();
        let expected = "c.parquet, line 3, column item: expected distinct items, found 30 again, after a row of another file";
        assert!(error.ends_with(expected), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(damage in damages()) {
            let bytes = damaged("vectors.parquet", damage);
            let _ = read_bytes(&bytes, |path| {
                ItemVectors::read_parquet(path, "item", &["list"], &items(), MissingItems::Zeros)
            });
        }
    }
}
