use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::delimited::{Format, Record, Records};
use super::fields;
use super::source;
use super::{
    ColumnMap, Dataset, DelimitedReader, Encoding, Interactions, ItemTable, Key, Split, UserTable, Vocab,
};
use crate::error::{Error, Location, Result};

/// The environment variable that names a folder of data sets.
const DATA_DIR: &str = "RECSYS_DATA_DIR";

/// The stable releases of MovieLens (F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and
/// Context", ACM TiiS 5(4), 2015), and the small one that changes.
///
/// ```no_run
/// use recsys::data::MovieLens;
///
/// let films = MovieLens::Ml1m.read("data/ml-1m")?;
/// let titles = films.item_table().map(|table| table.titles());
/// # Ok::<(), recsys::error::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MovieLens {
    /// 100,000 ratings of 1,682 films by 943 users, with ages, genders, occupations and postal codes.
    Ml100k,
    /// 1,000,209 ratings of 3,706 films by 6,040 users, with age groups, genders, occupations and postal
    /// codes.
    Ml1m,
    /// 10,000,054 ratings of 10,677 films by 69,878 users.
    Ml10m,
    /// 20,000,263 ratings of 26,744 films by 138,493 users.
    Ml20m,
    /// 25,000,095 ratings of 59,047 films by 162,541 users.
    Ml25m,
    /// 32,000,204 ratings of 84,432 films by 200,948 users.
    Ml32m,
    /// 100,836 ratings of 9,724 films by 610 users (of September 2018).
    LatestSmall,
}

/// The files of a release.
struct Files {
    ratings: &'static str,
    ratings_delimiter: &'static str,
    items: &'static str,
    users: Option<&'static str>,
    /// Of the item and user tables.
    delimiter: &'static str,
    encoding: Encoding,
    header: bool,
}

const ITEM_COLUMNS: [&str; 3] = ["movieId", "title", "genres"];
const NO_GENRES: &str = "(no genres listed)";

/// The genres of all releases but 100K, which lists its own.
const GENRES: [&str; 19] = [
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];

impl MovieLens {
    /// All releases, the smallest first.
    pub const ALL: [Self; 7] =
        [Self::Ml100k, Self::LatestSmall, Self::Ml1m, Self::Ml10m, Self::Ml20m, Self::Ml25m, Self::Ml32m];

    /// The release's name, as `ml-1m`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ml100k => "ml-100k",
            Self::Ml1m => "ml-1m",
            Self::Ml10m => "ml-10m",
            Self::Ml20m => "ml-20m",
            Self::Ml25m => "ml-25m",
            Self::Ml32m => "ml-32m",
            Self::LatestSmall => "ml-latest-small",
        }
    }

    /// The folder that the release's archive unpacks to: its name, but for 10M.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Ml10m => "ml-10M100K",
            _ => self.name(),
        }
    }

    fn files(self) -> Files {
        let csv = Files {
            ratings: "ratings.csv",
            ratings_delimiter: ",",
            items: "movies.csv",
            users: None,
            delimiter: ",",
            encoding: Encoding::Utf8,
            header: true,
        };
        let dat = Files {
            ratings: "ratings.dat",
            ratings_delimiter: "::",
            items: "movies.dat",
            delimiter: "::",
            header: false,
            ..csv
        };
        match self {
            Self::Ml100k => Files {
                ratings: "u.data",
                ratings_delimiter: "\t",
                items: "u.item",
                users: Some("u.user"),
                delimiter: "|",
                encoding: Encoding::Latin1,
                header: false,
            },
            Self::Ml1m => Files { users: Some("users.dat"), encoding: Encoding::Latin1, ..dat },
            Self::Ml10m => dat,
            Self::Ml20m | Self::Ml25m | Self::Ml32m | Self::LatestSmall => csv,
        }
    }

    /// The release's folder, if it is there: in `data_dir` or, if none is given, in the folder that the
    /// environment variable `RECSYS_DATA_DIR` names.
    pub fn find(self, data_dir: Option<&Path>) -> Option<PathBuf> {
        match data_dir {
            Some(parent) => self.folder_in(parent),
            None => self.folder_in(&PathBuf::from(std::env::var_os(DATA_DIR)?)),
        }
    }

    /// The release's folder in `parent`, if its ratings are there.
    pub(super) fn folder_in(self, parent: &Path) -> Option<PathBuf> {
        let folder = parent.join(self.folder());
        folder.join(self.files().ratings).is_file().then_some(folder)
    }

    /// Reads the release from its own folder.
    ///
    /// Users and items get ids in the order of their first rating. Films without a rating are left out:
    /// they are no items here. Titles are those of the file; the year is the last one in parentheses.
    ///
    /// # Errors
    /// A file that is missing or not of the release's format, a rated film or a user without a row in
    /// its table, an unknown genre; each names the file, the line and the column.
    pub fn read(self, folder: impl AsRef<Path>) -> Result<Dataset> {
        let folder = folder.as_ref();
        let files = self.files();
        let ratings = self.ratings_reader().read(folder.join(files.ratings))?;
        let items = self.item_table(folder, ratings.items())?;
        let users =
            files.users.map(|users| self.user_table(&folder.join(users), ratings.users())).transpose()?;
        let dataset = ratings.with_item_table(items)?;
        match users {
            Some(users) => dataset.with_user_table(users),
            None => Ok(dataset),
        }
    }

    /// Reads MovieLens 100K and one of its five published splits into 80,000 ratings to learn from and
    /// 20,000 to measure by, `u1` to `u5`; there is no validation part.
    ///
    /// # Errors
    /// As [`read`](Self::read); a fold other than 1 to 5; a fold that names a user or an item that the
    /// full data does not.
    pub fn read_fold(folder: impl AsRef<Path>, fold: usize) -> Result<(Dataset, Split)> {
        let folder = folder.as_ref();
        if !(1..=5).contains(&fold) {
            return Err(Error::config("MovieLens::read_fold", "a fold from 1 to 5", fold));
        }
        let all = Self::Ml100k.read(folder)?;
        let part = |end: &str| {
            let path = folder.join(format!("u{fold}.{end}"));
            let rows = Self::Ml100k.ratings_reader().read(&path)?;
            over_ids_of(&all, &rows, &path)
        };
        let split = Split {
            train: part("base")?,
            validation: all.interactions().select(&[]),
            test: part("test")?,
            dropped: None,
        };
        Ok((all, split))
    }

    fn ratings_reader(self) -> DelimitedReader {
        let files = self.files();
        if files.header {
            let columns = ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp");
            return DelimitedReader::new(columns);
        }
        DelimitedReader::new(ColumnMap::new(1, 2).value(3).timestamp(4))
            .delimiter(files.ratings_delimiter)
            .without_header()
            .without_quoting()
    }

    fn item_table(self, folder: &Path, items: &Vocab) -> Result<ItemTable> {
        let files = self.files();
        let path = folder.join(files.items);
        let genre_names = self.genre_names(folder)?;
        let mut rows = Slots::new(items, &path);
        self.each_row(&path, self.item_columns(&genre_names), |row| {
            let genres = match self {
                Self::Ml100k => row.flags(5, &genre_names)?,
                _ => row.genres(2, &genre_names)?,
            };
            rows.put(row, (row.text(1)?, genres))
        })?;
        let (titles, genres): (Vec<String>, Vec<Vec<u32>>) = rows.finish()?.into_iter().unzip();
        let years = titles.iter().map(|title| year(title)).collect();
        ItemTable::new(titles, years, genre_names, genres)
    }

    fn item_columns(self, genre_names: &[String]) -> Vec<&str> {
        match self {
            Self::Ml100k => {
                let columns = ["movie id", "movie title", "release date", "video release date", "IMDb URL"];
                columns.into_iter().chain(genre_names.iter().map(String::as_str)).collect()
            }
            _ => ITEM_COLUMNS.to_vec(),
        }
    }

    /// The genres in the order of their ids.
    fn genre_names(self, folder: &Path) -> Result<Vec<String>> {
        match self {
            Self::Ml100k => {
                let mut names = Vec::new();
                self.each_row(&folder.join("u.genre"), vec!["genre", "number"], |row| {
                    if row.int(1)? != names.len() as u64 {
                        return Err(row.invalid(1, format!("the number {}", names.len())));
                    }
                    names.push(row.text(0)?);
                    Ok(())
                })?;
                Ok(names)
            }
            Self::Ml1m => Ok((GENRES.iter().filter(|&&name| name != "IMAX"))
                .map(|&name| if name == "Children" { "Children's" } else { name }.to_owned())
                .collect()),
            _ => Ok(GENRES.map(String::from).to_vec()),
        }
    }

    fn user_table(self, path: &Path, users: &Vocab) -> Result<UserTable> {
        let (columns, gender, age) = match self {
            Self::Ml100k => (["user id", "age", "gender", "occupation", "zip code"], 2, 1),
            _ => (["UserID", "Gender", "Age", "Occupation", "Zip-code"], 1, 2),
        };
        let mut rows = Slots::new(users, path);
        self.each_row(path, columns.to_vec(), |row| {
            let years = row.int(age)?;
            let years = u32::try_from(years).map_err(|_| row.invalid(age, "an age".to_owned()))?;
            rows.put(row, (row.text(gender)?, years, row.text(3)?, row.text(4)?))
        })?;
        let (mut genders, mut ages, mut occupations, mut zip_codes) = (vec![], vec![], vec![], vec![]);
        for (gender, age, occupation, zip_code) in rows.finish()? {
            genders.push(gender);
            ages.push(Some(age));
            occupations.push(occupation);
            zip_codes.push(zip_code);
        }
        UserTable::new(genders, ages, occupations, zip_codes)
    }

    /// Calls `f` with each row of an item or user table.
    fn each_row(
        self,
        path: &Path,
        columns: Vec<&str>,
        mut f: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let Files { delimiter, encoding, header, .. } = self.files();
        let format = Format { delimiter: delimiter.into(), quoting: header, escape: None };
        source::with_file(path, None, |bytes, origin| {
            let mut records = Records::new(bytes, &format, 0, origin);
            let mut record = Record::default();
            let mut is_header = header;
            while records.next(&mut record)? {
                let place = records.place(&record);
                if record.len() != columns.len() {
                    return Err(Error::input(
                        place,
                        format!("{} fields", columns.len()),
                        record.len().to_string(),
                    ));
                }
                let row = Row { record: &record, encoding, place, columns: &columns };
                if std::mem::take(&mut is_header) { row.check_header()? } else { f(&row)? }
            }
            Ok(())
        })
    }
}

impl fmt::Display for MovieLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MovieLens {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|release| release.name() == name).ok_or_else(|| {
            let expected = format!("one of {}", Self::ALL.map(Self::name).join(", "));
            Error::config("MovieLens", expected, name)
        })
    }
}

/// The year of a title: the last four digits that stand in parentheses, as in "Brazil (1985)".
fn year(title: &str) -> Option<u16> {
    title.rsplit('(').find_map(|part| {
        let (digits, _) = part.split_once(')')?;
        (digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse().ok())?
    })
}

/// The rows of `part` over the ids of `all`.
fn over_ids_of(all: &Dataset, part: &Dataset, path: &Path) -> Result<Interactions> {
    let translate = |from: &Vocab, to: &Vocab, column: &str| -> Result<Vec<u32>> {
        from.keys()
            .map(|key| {
                let place = Location::file(path).column(column);
                to.id(key).ok_or_else(|| Error::input(place, "a key of the full data", key.to_string()))
            })
            .collect()
    };
    let users = translate(part.users(), all.users(), "1")?;
    let items = translate(part.items(), all.items(), "2")?;
    let rows = part.interactions().iter().map(|row| super::Interaction {
        user: users[row.user.index()].into(),
        item: items[row.item.index()].into(),
        ..row
    });
    Interactions::from_rows(all.n_users(), all.n_items(), rows)
}

/// A row of an item or user table; its first field is the key.
struct Row<'a> {
    record: &'a Record,
    encoding: Encoding,
    place: Location,
    columns: &'a [&'a str],
}

impl Row<'_> {
    fn place(&self, column: usize) -> Location {
        self.place.clone().column(self.columns[column])
    }

    fn text(&self, column: usize) -> Result<String> {
        match self.encoding.decode(self.record.field(column)) {
            Ok(text) => Ok(text.into_owned()),
            Err(mismatch) => Err(mismatch.at(self.place(column))),
        }
    }

    fn int(&self, column: usize) -> Result<u64> {
        fields::int(&self.text(column)?).map_err(|mismatch| mismatch.at(self.place(column)))
    }

    fn invalid(&self, column: usize, expected: String) -> Error {
        let found = String::from_utf8_lossy(self.record.field(column));
        Error::input(self.place(column), expected, format!("{found:?}"))
    }

    fn check_header(&self) -> Result<()> {
        for (column, name) in self.columns.iter().enumerate() {
            if self.text(column)? != *name {
                return Err(self.invalid(column, format!("a column named {name:?}")));
            }
        }
        Ok(())
    }

    /// The genres whose flag is 1, from this column on.
    fn flags(&self, from: usize, names: &[String]) -> Result<Vec<u32>> {
        let mut genres = Vec::new();
        for genre in 0..names.len() {
            match self.record.field(from + genre) {
                b"0" => {}
                b"1" => genres.push(genre as u32),
                _ => return Err(self.invalid(from + genre, "0 or 1".to_owned())),
            }
        }
        Ok(genres)
    }

    /// The genres of a list such as `Drama|War`.
    fn genres(&self, column: usize, names: &[String]) -> Result<Vec<u32>> {
        let text = self.text(column)?;
        if text == NO_GENRES {
            return Ok(Vec::new());
        }
        let mut genres = Vec::new();
        for name in text.split('|') {
            let Some(genre) = names.iter().position(|known| known == name) else {
                return Err(Error::input(self.place(column), "a genre of MovieLens", format!("{name:?}")));
            };
            if genres.contains(&(genre as u32)) {
                return Err(Error::input(self.place(column), "distinct genres", format!("{name} again")));
            }
            genres.push(genre as u32);
        }
        Ok(genres)
    }
}

/// Rows of a table, put in the order of a vocabulary.
struct Slots<'a, T> {
    vocab: &'a Vocab,
    path: &'a Path,
    rows: HashMap<u32, T>,
}

impl<'a, T> Slots<'a, T> {
    fn new(vocab: &'a Vocab, path: &'a Path) -> Self {
        Self { vocab, path, rows: HashMap::with_capacity(vocab.len()) }
    }

    /// Keeps a row if its key is in the vocabulary.
    fn put(&mut self, row: &Row<'_>, value: T) -> Result<()> {
        let Some(id) = self.vocab.id(row.int(0)?) else { return Ok(()) };
        match self.rows.insert(id, value) {
            None => Ok(()),
            Some(_) => Err(row.invalid(0, "a key that did not come before".to_owned())),
        }
    }

    fn finish(mut self) -> Result<Vec<T>> {
        let missing = |key: Key<'_>| {
            Error::input(Location::file(self.path), format!("a row of key {key}, which has a rating"), "none")
        };
        let rows = &mut self.rows;
        (self.vocab.keys().zip(0..)).map(|(key, id)| rows.remove(&id).ok_or_else(|| missing(key))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_stands_in_parentheses() {
        for (title, expected) in [
            ("Brazil (1985)", Some(1985)),
            ("Two Friends (1986) ", Some(1986)),
            ("Shall We Dance? (Shall We Dansu?) (1996)", Some(1996)),
            ("Land Before Time III (1995) (V)", Some(1995)),
            ("1984 (Nineteen Eighty-Four)", None),
            ("Death Note: Desu nôto (2006–2007)", None),
            ("(500) Days of Summer (2009)", Some(2009)),
            ("unknown", None),
        ] {
            assert_eq!(year(title), expected, "{title}");
        }
    }

    #[test]
    fn names_are_parsed_and_printed() {
        for release in MovieLens::ALL {
            assert_eq!(release.to_string().parse::<MovieLens>().unwrap(), release);
        }
        assert!("ml-2m".parse::<MovieLens>().unwrap_err().to_string().contains("ml-100k, ml-latest-small"));
    }
}
