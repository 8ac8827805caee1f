use serde::{Deserialize, Serialize};

use crate::data::ItemTable;
use crate::error::{Error, Location, Result};

/// The categories of each item: genres, tags, brands, … A list of lists, stored flat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFeatures {
    n_features: usize,
    /// The categories of item `i` are `features[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
    features: Vec<u32>,
}

impl ItemFeatures {
    /// One list of categories, each in `0..n_features`, per item.
    ///
    /// # Errors
    /// A category outside its range, with the item's number (counted from 1).
    pub fn new<L: AsRef<[u32]>>(n_features: usize, items: impl IntoIterator<Item = L>) -> Result<Self> {
        let (mut offsets, mut features) = (vec![0], Vec::new());
        for list in items {
            let list = list.as_ref();
            if let Some(feature) = list.iter().find(|&&feature| feature as usize >= n_features) {
                let location = Location::memory().line(offsets.len() as u64);
                let expected = format!("a feature below {n_features}");
                return Err(Error::input(location, expected, feature.to_string()));
            }
            features.extend_from_slice(list);
            offsets.push(features.len());
        }
        Ok(Self { n_features, offsets, features })
    }

    /// The genres of the items of a table.
    pub fn genres(table: &ItemTable) -> Self {
        let genres = table.genres();
        Self {
            n_features: table.genre_names().len(),
            offsets: genres.offsets().to_vec(),
            features: genres.entries().to_vec(),
        }
    }

    /// `n_items` items of which nothing is known.
    pub fn none(n_items: usize) -> Self {
        Self { n_features: 0, offsets: vec![0; n_items + 1], features: Vec::new() }
    }

    /// The number of items.
    pub fn n_items(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The number of categories.
    pub fn n_features(&self) -> usize {
        self.n_features
    }

    /// The categories of every item, in the order of the ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.offsets.windows(2).map(|bounds| &self.features[bounds[0]..bounds[1]])
    }
}
