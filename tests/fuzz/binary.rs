//! Readers of binary files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int64Array, ListArray, ListBuilder,
    RecordBatch, StringArray, StringBuilder, StructArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use recsys::data::read_parquet;
use recsys::features::{ItemVectors, MissingItems, ParquetTables};
use recsys::index;
use recsys::models::recall::{Sasrec, SasrecConfig};
use recsys::persistence::{WeightLayout, load_safetensors, save_safetensors};
use recsys::prelude::*;
use recsys::rng::Rng;

use crate::damage::{damaged, damaged_and_sealed, one_in};
use crate::target::{Reader, Target, Told, damaged_seed, on_disk, told};

fn data_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    fs::read(path).expect("a file of the repository")
}

/// A reader of a file, whatever its settings are.
fn reader(
    folder: &Path,
    file: &str,
    seeds: Vec<Vec<u8>>,
    n_variants: usize,
    read: impl Fn(usize, &Path) -> Told + 'static,
) -> Reader {
    Reader {
        seeds: vec![seeds],
        n_variants,
        file: folder.join(file),
        damage: damaged_seed,
        read: Box::new(move |variant, bytes, file| read(variant, on_disk(file, bytes))),
    }
}

fn parquet_file(columns: Vec<(&str, ArrayRef)>, compression: Compression, dictionary: bool) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(dictionary)
        .set_max_row_group_row_count(Some(5))
        .build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a good schema");
    writer.write(&batch).expect("memory can be written");
    writer.close().expect("memory can be written");
    bytes
}

const N_ROWS: usize = 7;

fn numbers() -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..N_ROWS as i64).map(|n| n * n % 5)))
}

fn lists() -> ArrayRef {
    let rows = (0..N_ROWS as i64).map(|n| (n != 3).then(|| (0..n % 3).map(Some).collect::<Vec<_>>()));
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows))
}

fn bytes() -> ArrayRef {
    Arc::new(BinaryArray::from_iter(texts().iter().map(|text| (text != "film 2").then_some(text.as_bytes()))))
}

fn digests() -> ArrayRef {
    let values = (0..N_ROWS as u8).map(|n| [n, 0xab, 7 * n, n / 2]);
    Arc::new(FixedSizeBinaryArray::try_from_iter(values).expect("values of one size"))
}

fn dates() -> ArrayRef {
    Arc::new(Date32Array::from_iter_values((0..N_ROWS as i32).map(|n| 19_000 + n)))
}

fn decimals() -> ArrayRef {
    let values = Decimal128Array::from_iter_values((0..N_ROWS as i128).map(|n| 100 * n));
    Arc::new(values.with_precision_and_scale(12, 2).expect("numbers of five digits"))
}

/// Lists of texts, as long as those of [`lists`].
fn text_lists() -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for n in 0..N_ROWS {
        (0..n % 3).for_each(|item| lists.values().append_value(format!("film {item}")));
        lists.append(n != 3);
    }
    Arc::new(lists.finish())
}

/// A folder whose file `r.parquet` is to be damaged, beside another.
fn table_folder(folder: &Path, other: &[u8]) -> PathBuf {
    let path = folder.join("table");
    for part in ["day=2024-01-03", "day=2024-01-04"] {
        fs::create_dir_all(path.join(part)).expect("the scratch folder can be written");
    }
    fs::write(path.join("day=2024-01-04/other.parquet"), other).expect("the scratch folder can be written");
    path
}

fn vectors() -> ArrayRef {
    let rows = (0..N_ROWS).map(|n| Some([Some(n as f32), Some(0.5), Some(-1.0)]));
    Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, 3))
}

fn texts() -> Vec<String> {
    (0..N_ROWS).map(|n| format!("film {}", n % 4)).collect()
}

fn categories() -> ArrayRef {
    Arc::new(texts().iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>())
}

fn nested() -> ArrayRef {
    let field = |name: &str, of: DataType| Arc::new(Field::new(name, of, true));
    Arc::new(StructArray::from(vec![
        (field("a", DataType::Int64), numbers()),
        (field("b", lists().data_type().clone()), lists()),
    ]))
}

/// Files of interactions: plain numbers, texts in a dictionary, other types, columns within columns beside them; lists of
/// items; bytes, decimals and dates.
fn interaction_files() -> Vec<Vec<u8>> {
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..N_ROWS).map(|n| n as f64 / 2.0)));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(0..N_ROWS as i64));
    let nulls: ArrayRef = Arc::new(UInt64Array::from_iter((0..N_ROWS as u64).map(|n| (n != 4).then_some(n))));
    let names: ArrayRef = Arc::new(StringArray::from(texts()));
    let plain = vec![("user", numbers()), ("item", names), ("rating", values.clone()), ("time", numbers())];
    let other = vec![("user", nulls), ("item", categories()), ("rating", values), ("time", times)];
    let more = vec![("user", numbers()), ("item", numbers()), ("nested", nested()), ("lists", lists())];
    let of_lists = vec![("user", numbers()), ("item", text_lists()), ("rating", lists()), ("time", dates())];
    let of_bytes = vec![("user", bytes()), ("item", digests()), ("rating", decimals()), ("time", dates())];
    vec![
        parquet_file(plain.clone(), Compression::UNCOMPRESSED, false),
        parquet_file(plain, Compression::SNAPPY, true),
        parquet_file(other, Compression::GZIP(Default::default()), true),
        parquet_file(more, Compression::UNCOMPRESSED, true),
        data_file("pyarrow.parquet"),
        parquet_file(of_lists.clone(), Compression::UNCOMPRESSED, true),
        parquet_file(of_lists, Compression::LZ4_RAW, false),
        parquet_file(of_bytes.clone(), Compression::UNCOMPRESSED, true),
        parquet_file(of_bytes, Compression::LZ4, false),
        data_file("uuid_int96.parquet"),
    ]
}

pub fn parquet(folder: &Path) -> Box<dyn Target> {
    let maps = [
        ColumnMap::new("user", "item").value("rating").timestamp("time").text_items(),
        ColumnMap::new("user", "item").text_users().text_items(),
        ColumnMap::new("user", "item"),
        ColumnMap::new(2, 1).value(3).text_users(),
        ColumnMap::new("user", "item")
            .value("rating")
            .timestamp("time")
            .text_users()
            .text_items()
            .skip_missing(),
        ColumnMap::new("user", "items").timestamp("time").text_users().text_items().missing_words(["film 1"]),
        // Of a folder.
        ColumnMap::new("user", "item").timestamp("day").text_items().skip_missing(),
    ];
    let n_variants = maps.len();
    let all = interaction_files();
    let table = table_folder(folder, &all[0]);
    let file = table.join("day=2024-01-03/r.parquet");
    let read = move |variant: usize, file: &Path| {
        let path = if variant + 1 == n_variants { &table } else { file };
        told(read_parquet(path, &maps[variant]).map(drop))
    };
    let of = |files: &[usize]| files.iter().map(|&file| all[file].clone()).collect();
    // Those that have the columns; the third has a null among the keys.
    let seeds = vec![
        of(&[0, 1, 4]),
        of(&[0, 1, 2, 4, 5, 7]),
        of(&[3]),
        of(&[0, 1, 4]),
        of(&[5, 6, 7, 8]),
        of(&[9]),
        of(&[0, 5, 6]),
    ];
    Box::new(Reader { seeds, file, ..reader(folder, "r.parquet", Vec::new(), n_variants, read) })
}

pub fn parquet_tables(folder: &Path) -> Box<dyn Target> {
    let flags: ArrayRef = Arc::new(BooleanArray::from_iter((0..N_ROWS).map(|n| (n > 1).then_some(n > 3))));
    let small: ArrayRef = Arc::new(Int8Array::from_iter_values(0..N_ROWS as i8));
    let columns = vec![("a", numbers()), ("b", lists()), ("c", categories())];
    let others = vec![("a", flags), ("b", vectors()), ("c", nested())];
    let more = vec![("a", small), ("b", lists()), ("c", categories())];
    let bytes = vec![("a", bytes()), ("b", text_lists()), ("c", digests())];
    let numbers = vec![("a", decimals()), ("b", dates()), ("c", numbers())];
    let seeds = vec![
        parquet_file(columns.clone(), Compression::UNCOMPRESSED, true),
        parquet_file(columns, Compression::SNAPPY, false),
        parquet_file(others, Compression::UNCOMPRESSED, true),
        parquet_file(more, Compression::UNCOMPRESSED, false),
        parquet_file(bytes.clone(), Compression::UNCOMPRESSED, true),
        parquet_file(bytes, Compression::LZ4_RAW, false),
        parquet_file(numbers, Compression::UNCOMPRESSED, true),
    ];
    let table = table_folder(folder, &seeds[0]);
    let file = table.join("day=2024-01-03/r.parquet");
    let read = move |variant: usize, file: &Path| {
        let columns: &[&str] = [&["a", "b"][..], &["b"], &["c", "a"], &["day", "a"]][variant];
        let path = if columns[0] == "day" { &table } else { file };
        for table in told(ParquetTables::open(path, columns))? {
            let table = told(table)?;
            let column = table.column(columns[0]).expect("a column that was asked for");
            assert_eq!(column.len(), table.n_rows());
            if table.n_rows() > 0 {
                let _ = (column.is_missing(0), table.select(&[table.n_rows() - 1]));
            }
        }
        Ok(())
    };
    Box::new(Reader { file, ..reader(folder, "t.parquet", seeds, 4, read) })
}

pub fn parquet_vectors(folder: &Path) -> Box<dyn Target> {
    let width: ArrayRef = Arc::new(Float32Array::from_iter_values((0..N_ROWS).map(|n| n as f32)));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..N_ROWS as i64));
    let of_one_length: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
        (0..N_ROWS).map(|n| Some(vec![Some(n as f32), Some(1.0)])),
    ));
    let fixed = vec![("key", keys.clone()), ("x", vectors()), ("y", width.clone())];
    let lists = vec![("key", keys), ("x", of_one_length), ("y", width)];
    let seeds = vec![
        parquet_file(fixed, Compression::UNCOMPRESSED, false),
        parquet_file(lists.clone(), Compression::UNCOMPRESSED, true),
        parquet_file(lists, Compression::SNAPPY, false),
    ];
    let items = Vocab::from_ints((0..5).collect()).expect("distinct keys");
    let read = move |variant: usize, file: &Path| {
        let (columns, missing): (&[&str], _) = [
            (&["x"][..], MissingItems::Refuse),
            (&["x", "y"], MissingItems::Zeros),
            (&["y"], MissingItems::Zeros),
        ][variant];
        told(ItemVectors::read_parquet(file, "key", columns, &items, missing)).map(use_vectors)
    };
    Box::new(reader(folder, "v.parquet", seeds, 3, read))
}

fn use_vectors(vectors: ItemVectors) {
    for item in (0..vectors.n_items().min(3) as u32).map(ItemId) {
        assert_eq!(vectors.row(item).len(), vectors.dim());
    }
    vectors.l2_normalized();
}

pub fn npy(folder: &Path) -> Box<dyn Target> {
    let names = ["big_endian_f4", "c_f4", "fortran_f8", "integers", "three_axes"];
    let seeds = names.map(|name| data_file(&format!("item_vectors/{name}.npy"))).to_vec();
    let read = |_: usize, file: &Path| told(ItemVectors::read_npy(file)).map(use_vectors);
    Box::new(reader(folder, "v.npy", seeds, 1, read))
}

pub fn safetensors_vectors(folder: &Path) -> Box<dyn Target> {
    let file = |name: &str| vec![data_file(&format!("item_vectors/{name}.safetensors"))];
    let seeds = vec![file("one"), file("all"), file("all"), file("all")];
    let read = |variant: usize, file: &Path| {
        let name = [None, Some("f32"), Some("f16"), Some("bf16")][variant];
        told(ItemVectors::read_safetensors(file, name)).map(use_vectors)
    };
    Box::new(Reader { seeds, ..reader(folder, "v.safetensors", Vec::new(), 4, read) })
}

fn sasrec(seed: u64) -> Sasrec {
    let config =
        SasrecConfig { d_model: 4, d_hidden: 4, max_len: 3, n_blocks: 1, n_heads: 1, ..Default::default() };
    config.init(9, seed, &Device::flex()).expect("good settings")
}

pub fn safetensors_weights(folder: &Path) -> Box<dyn Target> {
    let layouts = [WeightLayout::Burn, WeightLayout::PyTorch];
    let seeds = layouts.map(|layout| {
        let file = folder.join("seed.safetensors");
        save_safetensors(&sasrec(1), &file, layout).expect("the scratch folder can be written");
        fs::read(file).expect("it was written")
    });
    let fresh = sasrec(2);
    let read = move |variant: usize, file: &Path| {
        let model = told(load_safetensors(fresh.clone(), file, layouts[variant]))?;
        told(model.encode(&[&Query::new(&[ItemId(1), ItemId(5)])]).and(model.item_vectors()).map(drop))
    };
    Box::new(reader(folder, "weights.safetensors", seeds.to_vec(), 2, read))
}

/// Files of a scan and of two graphs.
fn index_files(folder: &Path) -> Vec<Vec<u8>> {
    let file = folder.join("seed.index");
    let mut rng = Rng::new(7);
    let mut numbers = |n: usize| (0..n * 3).map(|_| rng.normal() as f32).collect::<Vec<f32>>();
    let exact = ExactIndex::new(Similarity::InnerProduct, 3, numbers(9)).expect("good vectors");
    let config = HnswConfig { min_items_for_graph: 5, min_recall: 0.0, ..HnswConfig::default() };
    let graph = HnswIndex::build(Similarity::Cosine, 3, numbers(60), &config).expect("good vectors");
    let none = HnswIndex::build(Similarity::Cosine, 3, numbers(4), &config).expect("good vectors");
    let indexes: [&dyn VectorIndex; 3] = [&exact, &graph, &none];
    indexes
        .map(|index| {
            index.save(&file).expect("the scratch folder can be written");
            fs::read(&file).expect("it was written")
        })
        .to_vec()
}

fn ask_index(index: &dyn VectorIndex) -> Told {
    let query = vec![0.25; index.dim()];
    for k in [0, 3, index.len() + 2] {
        told(index.search(&query, k, &ItemFilter::default()))?;
    }
    let filter = ItemFilter::default().deny([ItemId(1)]);
    told(index.search_batch(&[query.clone(), query].concat(), 2, &[&filter, &filter]))?;
    if !index.is_empty() {
        told(index.vector(ItemId(index.len() as u32 - 1)))?;
    }
    Ok(())
}

pub fn index(folder: &Path) -> Box<dyn Target> {
    let seeds = index_files(folder);
    let damage = |rng: &mut Rng, seeds: &[Vec<u8>]| {
        // Most often the graph.
        let seed = &seeds[[0, 1, 1, 1, 2][rng.below(5)]];
        match one_in(rng, 10) {
            true => damaged(rng, seed, seeds),
            false => damaged_and_sealed(rng, seed, seeds),
        }
    };
    let read = |variant: usize, file: &Path| match variant {
        0 => told(ExactIndex::load(file)).and_then(|index| ask_index(&index)),
        1 => told(HnswIndex::load(file)).and_then(|index| ask_index(&index)),
        _ => told(index::load(file)).and_then(|index| ask_index(index.as_ref())),
    };
    Box::new(Reader { damage, ..reader(folder, "items.index", seeds, 3, read) })
}
