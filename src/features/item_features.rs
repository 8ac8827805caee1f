use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::text_terms::{normalized, words};
use crate::data::{Interactions, ItemTable};
use crate::error::{Error, ErrorKind, Location, Result, check_id_count};
use crate::features::ItemVectors;
use crate::ids::ItemId;

/// What is known of each item beside its id: categories (genres, tags, brands, …), a list of lists, stored flat; and
/// one vector each, if there are any. It also says which items are *cold*: those of which nothing can be learned from
/// interactions.
///
/// ```
/// use recsys::features::ItemVectors;
/// use recsys::prelude::*;
///
/// let row = |user, item| Interaction { user: UserId(user), item: ItemId(item), value: 1.0, timestamp: 0 };
/// let train = Interactions::from_rows(2, 3, [row(0, 0), row(1, 0), row(1, 2)])?;
/// let colours = ItemVectors::new(3, vec![1., 0., 0.,  0., 1., 0.,  0., 0., 1.])?;
/// let items = ItemFeatures::none(3).with_vectors(colours)?.with_cold(&train)?;
/// assert_eq!(items.cold(), [ItemId(1)]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct ItemFeatures {
    n_features: usize,
    /// The categories of item `i` are `features[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
    features: Vec<u32>,
    vectors: Option<ItemVectors>,
    /// In ascending order.
    cold: Vec<ItemId>,
}

/// How many categories beyond the number of all items' categories a file may have.
const MAX_UNUSED: usize = 1 << 24;

/// What was written, before it is checked.
#[derive(Deserialize)]
struct Saved {
    n_features: usize,
    offsets: Vec<usize>,
    features: Vec<u32>,
    #[serde(default)]
    vectors: Option<ItemVectors>,
    #[serde(default)]
    cold: Vec<ItemId>,
}

impl ItemFeatures {
    /// One list of categories, each in `0..n_features`, per item.
    ///
    /// # Errors
    /// 2^32 categories or more; a category outside its range, with the item's number (counted from 1).
    pub fn new<L: AsRef<[u32]>>(n_features: usize, items: impl IntoIterator<Item = L>) -> Result<Self> {
        check_id_count("ItemFeatures::n_features", n_features)?;
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
        Ok(Self { n_features, offsets, features, vectors: None, cold: Vec::new() })
    }

    /// The genres of the items of a table.
    pub fn genres(table: &ItemTable) -> Self {
        let genres = table.genres();
        Self {
            n_features: table.genre_names().len(),
            offsets: genres.offsets().to_vec(),
            features: genres.entries().to_vec(),
            vectors: None,
            cold: Vec::new(),
        }
    }

    /// The words of each item's text: of its title and genres ([`item_texts`](crate::features::item_texts)), its tags, a
    /// description. They are found as [`TextEncoder`](super::TextEncoder#words) finds them; an item has one as often as
    /// its text, and words are numbered as they first come.
    ///
    /// ```
    /// use recsys::prelude::*;
    ///
    /// let words = ItemFeatures::words(&["Alien 1979", "Aliens 1986", "Alien vs. Alien"]);
    /// assert_eq!(words.n_features(), 5);
    /// assert_eq!(words.get(ItemId(2)), Some(&[0, 4, 0][..]));
    /// ```
    pub fn words<S: AsRef<str>>(texts: &[S]) -> Self {
        let mut ids = HashMap::new();
        let mut items = Self::none(0);
        for text in texts {
            words(&normalized(text.as_ref()), |word| {
                let new = ids.len() as u32;
                items.features.push(*ids.entry(word.to_owned()).or_insert(new));
            });
            items.offsets.push(items.features.len());
        }
        Self { n_features: ids.len(), ..items }
    }

    /// `n_items` items of which nothing is known.
    pub fn none(n_items: usize) -> Self {
        let offsets = vec![0; n_items + 1];
        Self { n_features: 0, offsets, features: Vec::new(), vectors: None, cold: Vec::new() }
    }

    /// With a vector for each item.
    ///
    /// # Errors
    /// Vectors of another number of items.
    pub fn with_vectors(mut self, vectors: ItemVectors) -> Result<Self> {
        check_length("number of items with a vector", self.n_items(), vectors.n_items())?;
        self.vectors = Some(vectors);
        Ok(self)
    }

    /// Without vectors.
    pub fn without_vectors(mut self) -> Self {
        self.vectors = None;
        self
    }

    /// Marks the items without an interaction in the training data as cold.
    ///
    /// # Errors
    /// Interactions with another number of items.
    pub fn with_cold(mut self, train: &Interactions) -> Result<Self> {
        check_length("number of items of the interactions", self.n_items(), train.n_items())?;
        let mut seen = vec![false; self.n_items()];
        train.items().iter().for_each(|item| seen[item.index()] = true);
        self.cold = (0..).map(ItemId).zip(seen).filter(|(_, seen)| !seen).map(|(item, _)| item).collect();
        Ok(self)
    }

    /// With more items behind these, all of them cold.
    ///
    /// # Errors
    /// Items with other categories, or vectors of another width or on one side alone.
    pub fn with_cold_items(mut self, more: &Self) -> Result<Self> {
        check_length("number of categories", self.n_features, more.n_features)?;
        let width = |features: &Self| features.vectors.as_ref().map_or(0, ItemVectors::dim);
        check_length("width of the items' vectors", width(&self), width(more))?;
        if let (Some(mine), Some(theirs)) = (&self.vectors, &more.vectors) {
            let values = [mine.values(), theirs.values()].concat();
            self.vectors = Some(ItemVectors::new(mine.dim(), values)?);
        }
        let (n_items, start) = (self.n_items(), self.features.len());
        self.cold.extend((n_items..n_items + more.n_items()).map(|item| ItemId(item as u32)));
        self.offsets.extend(more.offsets[1..].iter().map(|offset| start + offset));
        self.features.extend_from_slice(&more.features);
        Ok(self)
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

    /// The categories of an item; `None` where there is no such item.
    pub fn get(&self, item: ItemId) -> Option<&[u32]> {
        let bounds = self.offsets.get(item.index()..)?.get(..2)?;
        self.features.get(bounds[0]..bounds[1])
    }

    /// Checks that no item has a category twice, for whom that would count double.
    ///
    /// # Errors
    /// The first item that has, by its number (counted from 1).
    pub fn check_distinct(&self) -> Result<()> {
        for (item, list) in self.iter().enumerate() {
            if let Some(place) = (1..list.len()).find(|&place| list[..place].contains(&list[place])) {
                let location = Location::memory().line(item as u64 + 1);
                return Err(Error::input(location, "distinct features", format!("{} again", list[place])));
            }
        }
        Ok(())
    }

    /// The vectors of the items, if there are any.
    pub fn vectors(&self) -> Option<&ItemVectors> {
        self.vectors.as_ref()
    }

    /// The items of which nothing can be learned from interactions, in ascending order.
    pub fn cold(&self) -> &[ItemId] {
        &self.cold
    }

    /// Whether an item is [cold](Self::cold).
    pub fn is_cold(&self, item: ItemId) -> bool {
        self.cold.binary_search(&item).is_ok()
    }
}

impl TryFrom<Saved> for ItemFeatures {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let Saved { n_features, offsets, features, vectors, cold } = saved;
        if offsets.first() != Some(&0) || !offsets.is_sorted() || offsets.last() != Some(&features.len()) {
            let expected = format!("offsets that ascend from 0 to {}", features.len());
            return Err(Error::input(Location::memory().column("offsets"), expected, format!("{offsets:?}")));
        }
        // Models have a list or a number for each category: a number of them that nothing in the file answers for is refused.
        if n_features > features.len().saturating_add(MAX_UNUSED) {
            let expected =
                format!("at most 2^24 categories more than the {} that items have", features.len());
            let place = Location::memory().column("n_features");
            return Err(Error::input(place, expected, n_features.to_string()));
        }
        let lists = Self::new(n_features, offsets.array_windows().map(|&[from, to]| &features[from..to]))?;
        if !cold.is_sorted_by(|a, b| a < b) || cold.last().is_some_and(|item| item.index() >= lists.n_items())
        {
            let expected = format!("ascending items below {}", lists.n_items());
            return Err(Error::input(Location::memory().column("cold"), expected, format!("{cold:?}")));
        }
        let lists = match vectors {
            Some(vectors) => lists.with_vectors(vectors)?,
            None => lists,
        };
        Ok(Self { cold, ..lists })
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(ErrorKind::LengthMismatch { what, expected, found }.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> ItemFeatures {
        let features = ItemFeatures::new(3, [&[0, 2][..], &[]]).unwrap();
        features.with_vectors(ItemVectors::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap()).unwrap()
    }

    #[test]
    fn words_are_the_same_however_they_are_written() {
        let words = ItemFeatures::words(&["Amélie Straße", "STRASSE ame\u{301}lie 3.14", " "]);
        assert_eq!(words.n_features(), 3);
        assert_eq!(words.iter().collect::<Vec<_>>(), [&[0, 1][..], &[1, 0, 2], &[]]);
    }

    #[test]
    fn cold_items_stand_behind_the_others() {
        let new = ItemFeatures::new(3, [&[1][..]]).unwrap();
        let more = new.clone().with_vectors(ItemVectors::new(2, vec![5.0, 6.0]).unwrap()).unwrap();
        let all = items().with_cold_items(&more).unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), [&[0, 2][..], &[], &[1]]);
        assert_eq!([0, 1, 3].map(|item| all.get(ItemId(item))), [Some(&[0, 2][..]), Some(&[]), None]);
        assert_eq!(all.vectors().unwrap().values(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            (all.cold(), all.is_cold(ItemId(2)), all.is_cold(ItemId(1))),
            (&[ItemId(2)][..], true, false)
        );
        let error = items().with_cold_items(&new).unwrap_err();
        assert_eq!(error.to_string(), "width of the items' vectors: expected 2, found 0");
        assert!(items().without_vectors().with_cold_items(&new).is_ok());
        assert!(items().with_cold_items(&ItemFeatures::none(1)).is_err());
    }

    #[test]
    fn other_numbers_of_items_are_refused() {
        let vectors = ItemVectors::new(2, vec![1.0, 2.0]).unwrap();
        assert!(ItemFeatures::none(2).with_vectors(vectors).is_err());
        assert!(items().with_cold(&Interactions::from_rows(1, 3, []).unwrap()).is_err());
        let cold = items().with_cold(&Interactions::from_rows(1, 2, []).unwrap()).unwrap();
        assert_eq!(cold.cold(), [ItemId(0), ItemId(1)]);
    }

    #[test]
    fn features_written_without_vectors_are_read() {
        let json = r#"{"n_features": 3, "offsets": [0, 2, 2], "features": [0, 2]}"#;
        assert_eq!(serde_json::from_str::<ItemFeatures>(json).unwrap(), items().without_vectors());
        let json = serde_json::to_string(&items()).unwrap();
        assert_eq!(serde_json::from_str::<ItemFeatures>(&json).unwrap(), items());
    }

    #[test]
    fn altered_files_are_refused() {
        let refused = |offsets: &str, features: &str, cold: &str| {
            let json = format!(
                r#"{{"n_features": 3, "offsets": {offsets}, "features": {features}, "cold": {cold}}}"#
            );
            serde_json::from_str::<ItemFeatures>(&json).is_err()
        };
        assert!(!refused("[0, 1, 2]", "[0, 2]", "[1]"));
        for offsets in ["[]", "[1, 2]", "[0, 2, 1]", "[0, 1]", "[0, 3]"] {
            assert!(refused(offsets, "[0, 2]", "[]"), "{offsets}");
        }
        assert!(
            refused("[0, 1]", "[3]", "[]")
                && refused("[0, 1]", "[2]", "[1]")
                && refused("[0, 0, 0]", "[]", "[1, 0]")
        );
    }

    #[test]
    fn a_category_given_twice_is_found() {
        assert!(items().check_distinct().is_ok());
        let twice = ItemFeatures::new(3, [&[0][..], &[1, 2, 1]]).unwrap();
        let error = twice.check_distinct().unwrap_err();
        assert_eq!(error.to_string(), "input, line 2: expected distinct features, found 1 again");
    }
}
