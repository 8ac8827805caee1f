use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Csr;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ids::ItemId;

/// What is known of each item, by [`ItemId`]: title, year and genres.
/// [`ItemColumns`](crate::features::ItemColumns) reads it from a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub struct ItemTable {
    titles: Vec<String>,
    years: Vec<Option<u16>>,
    genre_names: Vec<String>,
    genres: Csr<ItemId, u32>,
}

#[derive(Serialize, Deserialize)]
struct Columns {
    titles: Vec<String>,
    years: Vec<Option<u16>>,
    genre_names: Vec<String>,
    genres: Vec<Vec<u32>>,
}

impl ItemTable {
    /// The table of these columns, each with one value per item. An item of which nothing is known has
    /// an empty title, no year and no genre. A genre is given by its place in `genre_names`.
    ///
    /// # Errors
    /// Columns of different lengths, a genre name that comes twice, a genre outside `genre_names`, an
    /// item that names a genre twice.
    pub fn new(
        titles: Vec<String>,
        years: Vec<Option<u16>>,
        genre_names: Vec<String>,
        genres: Vec<Vec<u32>>,
    ) -> Result<Self> {
        Columns { titles, years, genre_names, genres }.try_into()
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.titles.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.titles.is_empty()
    }

    /// The title of each item, empty where it is not known.
    pub fn titles(&self) -> &[String] {
        &self.titles
    }

    /// The year of each item, where it is known.
    pub fn years(&self) -> &[Option<u16>] {
        &self.years
    }

    /// The names of the genres, by genre id.
    pub fn genre_names(&self) -> &[String] {
        &self.genre_names
    }

    /// The genre ids of each item.
    pub fn genres(&self) -> &Csr<ItemId, u32> {
        &self.genres
    }

    /// The rows of these items, in this order, over the same genres.
    pub(super) fn select(&self, items: &[ItemId]) -> Self {
        Self {
            titles: items.iter().map(|item| self.titles[item.index()].clone()).collect(),
            years: items.iter().map(|item| self.years[item.index()]).collect(),
            genre_names: self.genre_names.clone(),
            genres: Csr::from_rows(items.iter().map(|&item| self.genres.row(item).iter().copied())),
        }
    }
}

impl TryFrom<Columns> for ItemTable {
    type Error = Error;

    fn try_from(columns: Columns) -> Result<Self> {
        let Columns { titles, years, genre_names, genres } = columns;
        for (what, found) in
            [("length of the year column", years.len()), ("length of the genre column", genres.len())]
        {
            if found != titles.len() {
                return Err(ErrorKind::LengthMismatch { what, expected: titles.len(), found }.into());
            }
        }
        let mut names = HashSet::new();
        if let Some(name) = genre_names.iter().find(|name| !names.insert(name.as_str())) {
            let location = Location::memory().column("genre names");
            return Err(Error::input(location, "distinct names", format!("{name} again")));
        }
        check_genres(&genres, &genre_names)?;
        Ok(Self { titles, years, genre_names, genres: Csr::from_rows(genres) })
    }
}

/// Whether each genre has a name, and no item names one twice.
fn check_genres(genres: &[Vec<u32>], names: &[String]) -> Result<()> {
    // Of each genre the latest item that names it, counted from 1.
    let mut latest = vec![0; names.len()];
    for (line, row) in (1..).zip(genres) {
        for &genre in row {
            let Some(latest) = latest.get_mut(genre as usize) else {
                let bound = names.len() as u64;
                return Err(ErrorKind::IdOutOfRange { what: "genre", id: genre.into(), bound }.into());
            };
            if std::mem::replace(latest, line) == line {
                let location = Location::memory().line(line).column("genres");
                let found = format!("{} again", names[genre as usize]);
                return Err(Error::input(location, "distinct genres", found));
            }
        }
    }
    Ok(())
}

impl From<ItemTable> for Columns {
    fn from(table: ItemTable) -> Self {
        let genres = table.genres.rows().map(<[u32]>::to_vec).collect();
        Self { titles: table.titles, years: table.years, genre_names: table.genre_names, genres }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        Columns {
            titles: vec!["Alien".into(), String::new()],
            years: vec![Some(1979), None],
            genre_names: vec!["Horror".into(), "Sci-Fi".into()],
            genres: vec![vec![1, 0], vec![]],
        }
    }

    #[test]
    fn what_went_in_comes_out() {
        let table = ItemTable::try_from(columns()).unwrap();
        assert_eq!((table.len(), table.titles()[0].as_str(), table.years()[0]), (2, "Alien", Some(1979)));
        assert_eq!(table.genres().row(ItemId(0)), [1, 0]);
        let swapped = table.select(&[ItemId(1), ItemId(0)]);
        assert_eq!((swapped.titles()[1].as_str(), swapped.years()[0]), ("Alien", None));
        assert_eq!(swapped.genres().row(ItemId(1)), [1, 0]);
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<ItemTable>(&json).unwrap(), table);
        assert!(serde_json::from_str::<ItemTable>(&json.replace("[1,0]", "[1,2]")).is_err());
    }

    #[test]
    fn bad_columns_are_refused() {
        let spoil = |spoil: fn(&mut Columns)| {
            let mut columns = columns();
            spoil(&mut columns);
            ItemTable::try_from(columns).unwrap_err().to_string()
        };
        assert_eq!(spoil(|c| c.years.truncate(1)), "length of the year column: expected 2, found 1");
        assert_eq!(spoil(|c| c.genres.truncate(0)), "length of the genre column: expected 2, found 0");
        assert_eq!(spoil(|c| c.genres[1].push(2)), "genre id 2 is not below 2");
        assert_eq!(
            spoil(|c| c.genres[1] = vec![1, 1]),
            "input, line 2, column genres: expected distinct genres, found Sci-Fi again"
        );
        assert_eq!(
            spoil(|c| c.genre_names[1] = "Horror".into()),
            "input, column genre names: expected distinct names, found Horror again"
        );
    }
}
