//! Readers of tables, and what is made of them.

use std::path::Path;

use recsys::features::{DelimitedTables, ItemColumns, JsonTables, Libfm, TextTables, UserColumns};
use recsys::prelude::*;

use crate::target::{Reader, Target, Told, damaged_seed, on_disk, told};
use crate::text::{MULTILINE, NOTES, QUOTED, RATINGS, TEXTS, damaged_objects, gzipped, texts};

pub fn tables(folder: &Path) -> Box<dyn Target> {
    let formats = [
        DelimitedTables::default(),
        DelimitedTables::default().without_quoting(),
        DelimitedTables::default().delimiter(b'\t').without_header(["userId", "movieId"]),
        DelimitedTables::default().escape(b'\\').missing_words(["1", "\\N"]),
    ];
    const ESCAPED: &str = "userId,movieId\r1,\"a \\\"b\\\"\"\r\\N,c\\,d\r";
    let csv = [texts(&[RATINGS, NOTES, QUOTED, MULTILINE, TEXTS]), vec![gzipped(TEXTS.as_bytes())]].concat();
    let seeds = vec![
        csv,
        texts(&[RATINGS, NOTES]),
        texts(&["1\t2\n3\t4\n", "\"a\tb\"\t\r\n"]),
        texts(&[ESCAPED, RATINGS]),
    ];
    let read = move |variant: usize, bytes: &[u8], file: &Path| {
        let format = &formats[variant % formats.len()];
        let columns = ["movieId", "userId"];
        let tables = match variant / formats.len() {
            0 => told(format.read_from(bytes, &columns))?,
            _ => told(format.read(on_disk(file, bytes), &columns))?,
        };
        use_tables(tables, "userId")
    };
    Box::new(Reader {
        seeds,
        n_variants: 8,
        file: folder.join("t.csv"),
        damage: damaged_seed,
        read: Box::new(read),
    })
}

/// Reads all tables and looks at a column.
fn use_tables(tables: TextTables<'_>, column: &str) -> Told {
    for table in tables {
        let table = told(table)?;
        let column = table.column(column).expect("a column that was asked for");
        assert_eq!(column.len(), table.n_rows());
        let _ = (column.is_missing(0), table.select(&[0, table.n_rows() - 1]));
    }
    Ok(())
}

const META: &str = "{\"id\": 1, \"about\": {\"title\": \"Up\", \"year\": 2009.0}, \"tags\": [\"War\", 3, true, \"War\"]}\n\n\
                    {\"id\": \"2\", \"tags\": [], \"about\": null}\r\n{\"id\": 30, \"about\": {\"title\": \"\\u00e9\"}, \"tags\": null}\n";

pub fn json_tables(folder: &Path) -> Box<dyn Target> {
    let read = |variant: usize, bytes: &[u8], file: &Path| {
        let columns = ["about.title", "tags", "id", "about.year"];
        let json = JsonTables::default().lists(["tags"]);
        let tables = match variant {
            0 => told(json.read_from(bytes, &columns))?,
            1 => told(json.read(on_disk(file, bytes), &columns))?,
            _ => told(JsonTables::default().read_from(bytes, &["id"]))?,
        };
        use_tables(tables, "id")
    };
    Box::new(Reader {
        seeds: vec![texts(&[META])],
        n_variants: 3,
        file: folder.join("t.jsonl"),
        damage: damaged_objects,
        read: Box::new(read),
    })
}

/// What tables say of the items and users of a data set.
pub fn known(folder: &Path) -> Box<dyn Target> {
    let films = "id,title,year,genres\n1,\"A, b\",1979,Drama|War||War\n2.0,,,\n40,x,y,z\n";
    let atomic =
        "id:token\ttitle:token_seq\tyear:token\tgenres:token_seq\n2\tUp again\t2009\tWar Drama\n1\t\t\t\n";
    let people = "id,sex,age,job,zip\n1,F,35,writer,02139\n2,,,,\n3,M,18.0,4,x\n";
    let [ints, names] = [Vocab::from_ints(vec![2, 1]), Vocab::from_texts(vec!["1".into(), "2".into()])]
        .map(|keys| keys.expect("distinct keys"));
    let items = ItemColumns::new("id").title("title").year("year").genres("genres");
    let of_json = ItemColumns::new("id").title("about.title").year("about.year").genres("tags");
    let users = UserColumns::new("id").gender("sex").age("age").occupation("job").zip_code("zip");
    let read = move |variant: usize, bytes: &[u8], _: &Path| {
        let keys = if variant < 4 { &ints } else { &names };
        let csv = DelimitedTables::default();
        let item_table = |columns: ItemColumns, tables: Result<TextTables<'_>>| {
            let known = told(tables.and_then(|tables| columns.read(tables, keys)))?;
            assert_eq!((known.table.len(), known.n_without_row < 2), (2, true));
            let _ = ItemFeatures::genres(&known.table);
            Ok(())
        };
        match variant % 4 {
            0 => item_table(items.clone().separator("|"), csv.read_from(bytes, &items.columns())),
            1 => {
                let csv = csv.delimiter(b'\t').missing_words(["Up"]);
                item_table(items.clone().separator(" "), csv.read_from(bytes, &items.columns()))
            }
            2 => {
                let json = JsonTables::default().lists(["tags"]);
                item_table(of_json.clone(), json.read_from(bytes, &of_json.columns()))
            }
            _ => {
                let tables = told(csv.read_from(bytes, &users.columns()))?;
                let known = told(users.read(tables, keys))?;
                assert_eq!((known.table.len(), known.n_without_row < 2), (2, true));
                Ok(())
            }
        }
    };
    let seeds = [films, atomic, META, people];
    for variant in 0..8 {
        read(variant, seeds[variant % 4].as_bytes(), folder).expect("a good text");
    }
    Box::new(Reader {
        seeds: seeds.iter().map(|seed| texts(&[seed])).collect(),
        n_variants: 8,
        file: folder.join("unused"),
        damage: damaged_objects,
        read: Box::new(read),
    })
}

pub fn libfm(folder: &Path) -> Box<dyn Target> {
    let rows = "1 7:1 20:0.5\n-1 7:1 30:-2e0 3:10\n\n0.5 20:1\n";
    let fitted = Libfm::fit_from(rows.as_bytes()).expect("a good text");
    let read = move |variant: usize, bytes: &[u8], file: &Path| match variant {
        0 => told(fitted.read_from(bytes).map(drop)),
        1 => told(fitted.read(on_disk(file, bytes)).map(drop)),
        2 => told(Libfm::fit_from(bytes).and_then(|libfm| libfm.read_from(bytes)).map(drop)),
        _ => told(Libfm::fit(on_disk(file, bytes)).map(drop)),
    };
    Box::new(Reader {
        seeds: vec![[texts(&[rows, "1\n", "0 4294967295:1 0:3\n"]), vec![gzipped(rows.as_bytes())]].concat()],
        n_variants: 4,
        file: folder.join("rows.libfm"),
        damage: damaged_seed,
        read: Box::new(read),
    })
}
