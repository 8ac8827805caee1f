use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::keyed_rows::{FoundRows, KeyedRows, Known};
use super::schema::{check_separator, distinct};
use super::table::Table;
use crate::data::{ItemTable, Vocab};
use crate::error::Result;

/// Which columns of tables hold the key, the title, the year and the genres of an item: from them it makes the
/// [`ItemTable`] of a data set. The tables may come from CSV, JSON lines, Parquet or a program.
///
/// Rows stand in any order. They are found by their keys as [`Vocab::id`] finds them: where the data set has whole numbers,
/// `7.0` is `7`, and a text key is taken as it stands. A column that is not named leaves its part of the table empty, and so
/// does a missing or blank value. Of rows of other items only the key is read.
///
/// Titles and genres are taken as they stand. Genres are a list, or a text with a [separator](Self::separator); they get ids in
/// the order in which they first come, an empty one is none, and one that a row names again counts once.
///
/// ```
/// use recsys::features::{DelimitedTables, ItemColumns};
/// use recsys::prelude::*;
///
/// let ratings = "userId,movieId,rating\n1,10,5\n1,30,4\n2,20,3\n";
/// let data = DelimitedReader::new(ColumnMap::new("userId", "movieId").value("rating"));
/// let data = data.read_from(ratings.as_bytes())?;
///
/// let movies = "movieId,title,genres\n10,Alien (1979),Horror|Sci-Fi\n20,Brazil (1985),(no genres listed)\n40,Up,Drama\n";
/// let columns = ItemColumns::new("movieId").title("title").genres("genres").separator("|");
/// let csv = DelimitedTables::default().missing_words(["(no genres listed)"]);
/// let movies = columns.read(csv.read_from(movies.as_bytes(), &columns.columns())?, data.items())?;
/// assert_eq!((movies.n_without_row, movies.n_left_out), (1, 1));
///
/// let data = data.with_item_table(movies.table)?;
/// let table = data.item_table().expect("the table that was added");
/// assert_eq!(table.titles(), ["Alien (1979)", "", "Brazil (1985)"]);
/// assert_eq!(table.genre_names(), ["Horror", "Sci-Fi"]);
/// # Ok::<(), Error>(())
/// ```
///
/// From JSON lines, where genres are an array:
///
/// ```
/// use recsys::features::{ItemColumns, JsonTables};
/// use recsys::prelude::*;
///
/// let items = Vocab::from_texts(vec!["B01".into(), "B02".into()])?;
/// let meta = r#"{"asin": "B02", "title": "Brazil", "details": {"year": 1985, "tags": ["Sci-Fi", "Satire"]}}
/// {"asin": "B01", "title": "Alien", "details": {"year": "1979", "tags": null}}"#;
/// let columns = ItemColumns::new("asin").title("title").year("details.year").genres("details.tags");
/// let json = JsonTables::default().lists(["details.tags"]);
/// let known = columns.read(json.read_from(meta.as_bytes(), &columns.columns())?, &items)?;
/// assert_eq!(known.table.years(), [Some(1979), Some(1985)]);
/// assert_eq!(known.table.genres().row(ItemId(1)), [0, 1]);
/// # Ok::<(), Error>(())
/// ```
///
/// From the `.item` file of RecBole, whose lists have blanks between their words:
///
/// ```
/// use recsys::features::{DelimitedTables, ItemColumns};
/// use recsys::prelude::*;
///
/// let items = Vocab::from_ints(vec![20, 10])?;
/// let file = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n\
///             10\tAlien\t1979\tHorror Sci-Fi\n20\tBrazil\t1985\tSci-Fi\n";
/// let columns = ItemColumns::new("item_id").title("movie_title").year("release_year").genres("class").separator(" ");
/// let tables = DelimitedTables::default().delimiter(b'\t').read_from(file.as_bytes(), &columns.columns())?;
/// let known = columns.read(tables, &items)?;
/// assert_eq!(known.table.titles(), ["Brazil", "Alien"]);
/// assert_eq!(known.table.genres().row(ItemId(1)), [0, 1]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemColumns {
    key: String,
    title: Option<String>,
    year: Option<String>,
    genres: Option<String>,
    separator: Option<String>,
}

impl ItemColumns {
    /// The column of the items' keys.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), title: None, year: None, genres: None, separator: None }
    }

    /// The column of the titles.
    pub fn title(mut self, column: impl Into<String>) -> Self {
        self.title = Some(column.into());
        self
    }

    /// The column of the years, whole numbers up to 65,535.
    pub fn year(mut self, column: impl Into<String>) -> Self {
        self.year = Some(column.into());
        self
    }

    /// The column of the genres, tags or categories.
    pub fn genres(mut self, column: impl Into<String>) -> Self {
        self.genres = Some(column.into());
        self
    }

    /// What stands between the genres of a text such as `Drama|War`. Must be given where genres are texts, also where each
    /// is a single genre; lists do not need it.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = Some(separator.into());
        self
    }

    /// The columns that are named, each once: what a reader of tables is asked for.
    pub fn columns(&self) -> Vec<&str> {
        let others = [&self.title, &self.year, &self.genres];
        distinct([self.key.as_str()].into_iter().chain(others.into_iter().flatten().map(String::as_str)))
    }

    /// The table of the items of a data set ([`Dataset::items`](crate::data::Dataset::items)), and how far it is known.
    ///
    /// # Errors
    /// Those of the tables; a separator without a character; a table without one of the columns, or with lists in the place of
    /// values or the reverse; a key that is missing; an item that comes twice; a year that is none; no row of any of the
    /// items, with a key of either side. Each names the file, and the line and column where there is one.
    pub fn read(
        &self,
        tables: impl IntoIterator<Item = Result<Table>>,
        items: &Vocab,
    ) -> Result<Known<ItemTable>> {
        check_separator("ItemColumns::separator", self.separator.as_deref())?;
        let mut found = Items::new(items.len());
        let rows = KeyedRows::new(&self.key, items).read(tables, |rows| found.add(self, rows))?;
        let Items { titles, years, genres, genre_names } = found;
        Ok(rows.known(ItemTable::new(titles, years, genre_names.names, genres)?))
    }
}

/// What is known of the items so far.
struct Items {
    titles: Vec<String>,
    years: Vec<Option<u16>>,
    genres: Vec<Vec<u32>>,
    genre_names: GenreNames,
}

impl Items {
    fn new(n: usize) -> Self {
        let (titles, years, genres) = (vec![String::new(); n], vec![None; n], vec![Vec::new(); n]);
        Self { titles, years, genres, genre_names: GenreNames::default() }
    }

    fn add(&mut self, columns: &ItemColumns, rows: &FoundRows<'_>) -> Result<()> {
        let Self { titles, years, genres, genre_names } = self;
        rows.texts(columns.title.as_deref(), titles)?;
        rows.whole_numbers(columns.year.as_deref(), "a year, as a whole number up to 65535", years)?;
        rows.lists(columns.genres.as_deref(), columns.separator.as_deref(), |item, names| {
            genres[item] = genre_names.ids(names);
        })
    }
}

/// Names of genres, numbered as they come.
#[derive(Default)]
struct GenreNames {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl GenreNames {
    /// The ids of these genres, each once.
    fn ids(&mut self, names: Vec<Cow<'_, str>>) -> Vec<u32> {
        let mut seen = HashSet::new();
        names.into_iter().map(|name| self.id(&name)).filter(|&id| seen.insert(id)).collect()
    }

    fn id(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Column, DelimitedTables, JsonTables};
    use crate::ids::ItemId;

    fn columns() -> ItemColumns {
        ItemColumns::new("id").title("title").year("year").genres("genres").separator("|")
    }

    fn items() -> Vocab {
        Vocab::from_ints(vec![7, 9, 8]).unwrap()
    }

    fn read(csv: &str, items: &Vocab) -> Result<Known<ItemTable>> {
        let tables = DelimitedTables::default().read_from(csv.as_bytes(), &columns().columns())?;
        columns().read(tables, items)
    }

    fn genres(table: &ItemTable, item: u32) -> Vec<&str> {
        let ids = table.genres().row(ItemId(item)).iter();
        ids.map(|&genre| table.genre_names()[genre as usize].as_str()).collect()
    }

    #[test]
    fn rows_follow_the_vocabulary() {
        let csv = "genres,id,year,title\nWar|Drama||War,8.0,1979.0,\" A, b\"\nFun,6,x,y\nDrama, ,,\n"
            .replace(" ,,", "7, ,");
        let known = read(&csv, &items()).unwrap();
        assert_eq!((known.n_without_row, known.n_left_out), (1, 1));
        assert_eq!(known.table.titles(), ["", "", " A, b"]);
        assert_eq!(known.table.years(), [None, None, Some(1979)]);
        assert_eq!(known.table.genre_names(), ["War", "Drama"]);
        assert_eq!(
            [0, 1, 2].map(|item| genres(&known.table, item)),
            [vec!["Drama"], vec![], vec!["War", "Drama"]]
        );
    }

    #[test]
    fn every_source_gives_the_same_table() {
        let of_csv = read("id,title,year,genres\n9,1917,2019,War|3\n7,,,\n", &items()).unwrap();
        let json = "{\"id\": 9.0, \"title\": 1917, \"year\": \"2019\", \"genres\": [\"War\", 3, \"\", \"War\"]}\n{\"id\": \"7\"}\n";
        let tables = JsonTables::default().lists(["genres"]);
        let tables = tables.read_from(json.as_bytes(), &columns().columns()).unwrap();
        assert_eq!(columns().read(tables, &items()).unwrap(), of_csv);
        let typed = Table::default()
            .with_column("id", Column::numbers([9.0, 7.0]).unwrap())
            .and_then(|table| table.with_column("title", Column::ints([Some(1917), None])))
            .and_then(|table| table.with_column("year", Column::numbers([Some(2019.0), None])?))
            .and_then(|table| table.with_column("genres", Column::text_lists([Some(vec!["War", "3"]), None])))
            .unwrap();
        assert_eq!(columns().read([Ok(typed.clone())], &items()).unwrap(), of_csv);
        let parts = [Ok(typed.select(&[0])), Ok(typed.select(&[1]))];
        assert_eq!(columns().read(parts, &items()).unwrap(), of_csv);
    }

    #[test]
    fn a_table_may_be_titles_only() {
        let columns = ItemColumns::new("id").title("id");
        assert_eq!(columns.columns(), ["id"]);
        let tables = DelimitedTables::default().read_from(&b"id\nb\n7\n"[..], &columns.columns()).unwrap();
        let names = Vocab::from_texts(vec!["7".into(), "b".into()]).unwrap();
        let known = columns.read(tables, &names).unwrap();
        assert_eq!((known.table.titles(), known.n_without_row), (&["7".to_owned(), "b".to_owned()][..], 0));
        let nobody = Vocab::from_ints(vec![]).unwrap();
        let known = read("id,title,year,genres\n9,x,y,z\n", &nobody).unwrap();
        assert_eq!((known.table.len(), known.n_left_out), (0, 1));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |rows: &str| {
            read(&format!("id,title,year,genres\n9,a,1,b\n{rows}\n"), &items()).unwrap_err().to_string()
        };
        assert_eq!(error("\n,a,1,b"), "input, line 4, column id: expected a key, found nothing");
        assert_eq!(error(" ,a,1,b"), "input, line 3, column id: expected a key, found nothing");
        assert_eq!(
            error("9.0,a,1,b"),
            "input, line 3, column id: expected a key that did not come before, found \"9.0\""
        );
        for year in ["1979?", "65536", "-1", "1979.5", "True"] {
            let expected = "a year, as a whole number up to 65535";
            assert_eq!(
                error(&format!("7,a,{year},b")),
                format!("input, line 3, column year: expected {expected}, found {year:?}")
            );
        }
        assert_eq!(error("7,a"), "input, line 3: expected 4 fields, found 2");
    }

    #[test]
    fn keys_of_which_none_fits_are_shown() {
        let csv = "id,title,year,genres\n7.0,a,1,b\n8.0,a,1,b\n";
        let texts = Vocab::from_texts(vec!["7".into()]).unwrap();
        assert_eq!(
            read(csv, &texts).unwrap_err().to_string(),
            "input, line 2, column id: expected keys of the data set, such as \"7\", found none in 2 rows, but such as \"7.0\""
        );
        let ints = Vocab::from_ints(vec![5]).unwrap();
        let found = read(csv, &ints).unwrap_err().to_string();
        assert!(found.contains("such as 5, found none in 2 rows"), "{found}");
        let found = columns().read([], &ints).unwrap_err().to_string();
        assert_eq!(found, "input: expected at least one row, found none");
    }

    #[test]
    fn columns_of_another_kind_are_refused() {
        let table = Table::default().with_column("id", Column::ints([7])).unwrap();
        let halves = Table::default().with_column("id", Column::numbers([7.0, 8.5]).unwrap()).unwrap();
        assert_eq!(
            ItemColumns::new("id").read([Ok(halves)], &items()).unwrap_err().to_string(),
            "input, line 2, column id: expected a whole number below 2^53, or a text, found 8.5"
        );
        let error = |columns: ItemColumns, column: Column| {
            let table = table.clone().with_column("genres", column).unwrap();
            columns.read([Ok(table)], &items()).unwrap_err().to_string()
        };
        let genres = || ItemColumns::new("id").genres("genres");
        let expected = "expected a column of lists, or of texts with a separator, found";
        assert_eq!(
            error(genres(), Column::texts(["War"])),
            format!("input, column genres: {expected} texts")
        );
        assert_eq!(
            error(genres().separator("|"), Column::ints([3])),
            format!("input, column genres: {expected} whole numbers")
        );
        assert_eq!(
            error(genres().title("genres"), Column::text_lists([vec!["War"]])),
            "input, column genres: expected a column of values, not of lists, found lists of texts"
        );
        assert_eq!(
            error(genres().year("made"), Column::texts(["War"])),
            "input, column made: expected a column named \"made\", found id, genres"
        );
        assert_eq!(
            error(genres().separator(""), Column::texts(["War"])),
            "ItemColumns::separator: expected at least one character, found none"
        );
    }
}
