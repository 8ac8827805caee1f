use rayon::prelude::*;

use crate::error::{ErrorKind, Result};
use crate::features::EncodedRows;
use crate::ids::ItemId;
use crate::layers::check_ids;
use crate::pipeline::{Query, Ranker};
use crate::training::RowScorer;

/// A [`RowScorer`] behind the [`Ranker`] trait: it knows the fields of every user and item, encoded as its training
/// data were, and scores a user's candidates in one pass.
///
/// Scores are logits of the first label. A user who is not known is answered as the row behind those of all users says:
/// encode it from missing or unseen values.
#[derive(Debug)]
pub struct FeatureRanker<M> {
    model: M,
    users: EncodedRows,
    items: EncodedRows,
    user_fields: Vec<String>,
}

impl<M: RowScorer> FeatureRanker<M> {
    /// Joins a model with what is known of users (one row each, and one more for strangers) and items (one row each), both
    /// in the model's space. Of a user's row the fields `user_fields` are read, of an item's row all others.
    ///
    /// # Errors
    /// Rows of another space, no row for strangers, or a name that is no field.
    pub fn new(model: M, users: EncodedRows, items: EncodedRows, user_fields: &[&str]) -> Result<Self> {
        let ranker = Self {
            model,
            users,
            items,
            user_fields: user_fields.iter().map(|&name| name.to_owned()).collect(),
        };
        if ranker.users.n_rows() == 0 {
            let what = "number of users' rows, with one for strangers";
            return Err(ErrorKind::LengthMismatch { what, expected: 1, found: 0 }.into());
        }
        ranker.users.check_space(ranker.model.space())?;
        ranker.users.join(0, &ranker.user_fields, &ranker.items, &[], &[])?;
        Ok(ranker)
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// What is known of users: a row each, and one for strangers.
    pub fn users(&self) -> &EncodedRows {
        &self.users
    }

    /// What is known of items: a row each.
    pub fn items(&self) -> &EncodedRows {
        &self.items
    }

    /// The fields that are read of a user's row.
    pub fn user_fields(&self) -> impl Iterator<Item = &str> {
        self.user_fields.iter().map(String::as_str)
    }

    /// The number of users it knows.
    pub fn n_users(&self) -> usize {
        self.users.n_rows() - 1
    }

    /// The number of items it knows.
    pub fn n_items(&self) -> usize {
        self.items.n_rows()
    }

    /// The rows that the model scores for these candidates of a query.
    ///
    /// # Errors
    /// An id outside the catalogue; a user that is none of those known.
    pub fn rows(&self, query: &Query<'_>, items: &[ItemId]) -> Result<EncodedRows> {
        query.check_items(self.n_items())?;
        check_ids("item", items.iter().map(|item| item.0), self.n_items())?;
        check_ids("user", query.user().map(|user| user.0), self.n_users())?;
        let user = query.user().map_or(self.n_users(), |user| user.index());
        let history: Vec<u32> = match self.users.space().history() {
            Some((field, max_len)) => {
                let recent = &query.history()[query.history().len().saturating_sub(max_len)..];
                recent
                    .iter()
                    .filter_map(|item| self.items.bag(item.index(), field).0.first().copied())
                    .collect()
            }
            None => Vec::new(),
        };
        let items: Vec<usize> = items.iter().map(|item| item.index()).collect();
        self.users.join(user, &self.user_fields, &self.items, &items, &history)
    }
}

impl<M: RowScorer> Ranker for FeatureRanker<M> {
    fn score(&self, query: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
        let score = |items: &[ItemId]| self.model.score_rows(&self.rows(query, items)?);
        match self.model.n_rows_at_once() {
            Some(n) if n < items.len() => {
                let scores: Vec<Vec<f32>> = items.par_chunks(n).map(score).collect::<Result<_>>()?;
                Ok(scores.concat())
            }
            _ => score(items),
        }
    }

    /// On the CPU request beside request, elsewhere all rows in one pass.
    fn score_batch(&self, requests: &[(Query<'_>, &[ItemId])]) -> Result<Vec<Vec<f32>>> {
        if self.model.n_rows_at_once().is_some() {
            return requests.par_iter().map(|(query, items)| self.score(query, items)).collect();
        }
        let mut rows = EncodedRows::new(self.model.space().clone(), 0);
        for (query, items) in requests {
            rows.append(&self.rows(query, items)?)?;
        }
        let mut scores = self.model.score_rows(&rows)?.into_iter();
        Ok(requests.iter().map(|(_, items)| scores.by_ref().take(items.len()).collect()).collect())
    }
}
