use std::iter;
use std::num::NonZeroUsize;
use std::sync::Arc;

use hessboost::metric::CustomMetric;
use hessboost::objective::{CustomLoss, GradPair};
use hessboost::prelude::{
    BoostedModel, DMatrix, HessboostError, Iterations, Objective, RegLoss, Trainer, TrainingParams,
    TreeMethod, train,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};
use crate::features::{EncodedRows, FeatureSpace};
use crate::losses::RankingLoss;
use crate::rng::Rng;
use crate::training::RowScorer;

/// The settings of a [`Gbdt`].
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `n_trees` | 300 | trees at most, each grown on what those before it left | ≥ 1 |
/// | `learning_rate` | 0.1 | share of a tree that is added | (0, 1] |
/// | `max_depth` | 6 | splits from the root to a leaf | ≥ 1 |
/// | `min_child_weight` | 1 | least Σ w p (1 − p) over the rows of a leaf, with their weights w | ≥ 0 |
/// | `subsample` | 1 | share of the rows, drawn anew, that a tree is grown on | (0, 1] |
/// | `colsample_bytree` | 1 | share of the columns, drawn anew, that a tree may split on | (0, 1] |
/// | `max_one_hot` | 32 | ids up to which a field has a column for each of them | |
/// | `prior` | 10 | rows a that the mean of all labels counts in the statistic of an id | > 0 |
/// | `patience` | 30 | trees that may do no good on held-out groups before growing ends | ≥ 1 |
/// | `seed` | 1 | the order of the rows in the statistics, and the shares of rows and columns | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GbdtConfig {
    /// Trees at most, each grown on what those before it left.
    pub n_trees: usize,
    /// The share of a tree that is added.
    pub learning_rate: f64,
    /// Splits from the root to a leaf.
    pub max_depth: usize,
    /// The least Σ w p (1 − p) over the rows of a leaf.
    pub min_child_weight: f64,
    /// The share of the rows that a tree is grown on.
    pub subsample: f64,
    /// The share of the columns that a tree may split on.
    pub colsample_bytree: f64,
    /// Ids up to which a field has a column for each.
    pub max_one_hot: usize,
    /// Rows that the mean of all labels counts in the statistic of an id.
    pub prior: f64,
    /// Trees that may do no good on held-out groups before growing ends.
    pub patience: usize,
    /// Seeds the order of the rows in the statistics, and the shares of rows and columns.
    pub seed: u64,
}

impl Default for GbdtConfig {
    fn default() -> Self {
        Self {
            n_trees: 300,
            learning_rate: 0.1,
            max_depth: 6,
            min_child_weight: 1.0,
            subsample: 1.0,
            colsample_bytree: 1.0,
            max_one_hot: 32,
            prior: 10.0,
            patience: 30,
            seed: 1,
        }
    }
}

impl GbdtConfig {
    /// Trees that tell the rows whose first label is above ½ from the others.
    ///
    /// # Errors
    /// A setting outside its range; rows without a label, or with one class only, or that differ in nothing.
    pub fn fit(&self, rows: &EncodedRows) -> Result<Gbdt> {
        self.fit_weighted(rows, &vec![1.0; rows.n_rows()])
    }

    /// As [`fit`](Self::fit) of rows that each count for so many as their weight says. Target statistics count rows.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); another number of weights than rows, or one that is negative or not finite.
    pub fn fit_weighted(&self, rows: &EncodedRows, weights: &[f32]) -> Result<Gbdt> {
        if weights.len() != rows.n_rows() {
            let (expected, found) = (rows.n_rows(), weights.len());
            return Err(ErrorKind::LengthMismatch { what: "number of weights", expected, found }.into());
        }
        if let Some(weight) = weights.iter().find(|&&weight| !(weight.is_finite() && weight >= 0.0)) {
            return Err(Error::config("Gbdt::weights", "numbers of at least 0", weight));
        }
        self.validate()?;
        if rows.n_labels() == 0 {
            let what = "number of labels of a row";
            return Err(ErrorKind::LengthMismatch { what, expected: 1, found: 0 }.into());
        }
        let labels: Vec<f32> =
            rows.labels().iter().step_by(rows.n_labels()).map(|&y| f32::from(y > 0.5)).collect();
        let n_positive = labels.iter().filter(|&&y| y > 0.5).count();
        if n_positive == 0 || n_positive == labels.len() {
            return Err(Error::config("Gbdt::rows", "rows of both classes", "one class"));
        }
        let (columns, values) = self.columns(rows, &labels)?;
        let grow = || {
            let params = self.params(Objective::BinaryLogistic(RegLoss::default()))?;
            train(&params, &matrix(&values, &labels)?.with_weights(weights)?, self.n_trees)
        };
        let trees = grow().map_err(|error| Error::config("Gbdt::rows", "rows to grow trees on", error))?;
        Ok(Gbdt { space: rows.space().clone(), columns, trees })
    }

    /// Trees that place the first row of each group before the others, by the loss of
    /// [`RankingLoss::SampledSoftmax`](crate::losses::RankingLoss::SampledSoftmax) with these `log_counts` (in the trees' words:
    /// of a group with the probabilities p of the loss, the gradient is p, less 1 for the first row, and the second derivative
    /// p (1 − p)). Labels are not read. As many trees are kept as do best on the groups `held_out`.
    ///
    /// # Errors
    /// A setting outside its range; rows that differ in nothing; a number of rows that is no multiple of one more than
    /// `log_counts`; none held out; rows held out of another space; a count that is not finite.
    pub fn fit_grouped(
        &self,
        rows: &EncodedRows,
        held_out: &EncodedRows,
        log_counts: &[f32],
    ) -> Result<Gbdt> {
        self.validate()?;
        RankingLoss::SampledSoftmax { log_counts: log_counts.to_vec() }.validate()?;
        held_out.check_space(rows.space())?;
        let group = 1 + log_counts.len();
        for (what, rows) in [("rows of all groups", rows), ("held-out rows of all groups", held_out)] {
            let n_groups = rows.n_rows().div_ceil(group).max(1);
            if rows.n_rows() != n_groups * group {
                let (expected, found) = (n_groups * group, rows.n_rows());
                return Err(ErrorKind::LengthMismatch { what, expected, found }.into());
            }
        }
        let is_first = |rows: &EncodedRows| -> Vec<f32> {
            (0..rows.n_rows()).map(|row| f32::from(row % group == 0)).collect()
        };
        let (columns, values) = self.columns(rows, &is_first(rows))?;
        let held_out_values: Vec<Vec<f32>> = columns.iter().map(|column| column.of_rows(held_out)).collect();
        let shares = Shares { log_counts: log_counts.into() };
        let loss = {
            let shares = shares.clone();
            CustomLoss::new("sampled_softmax", 1, move |scores, _, _, out| {
                for (pair, (share, is_first)) in out.iter_mut().zip(shares.of(scores)) {
                    let second = (share * (1.0 - share)).max(f32::MIN_POSITIVE);
                    *pair = GradPair::new(if is_first { share - 1.0 } else { share }, second);
                }
            })
        };
        let metric = CustomMetric::new("log_likelihood", true, move |scores, _, _| {
            let of_first = shares.of(scores).filter(|&(_, is_first)| is_first);
            of_first.map(|(share, _)| f64::from(share.max(f32::MIN_POSITIVE)).ln()).sum::<f64>()
        });
        let grow = || {
            let params = self.params(Objective::custom(loss))?;
            let learn = matrix(&values, &is_first(rows))?;
            let held_out = matrix(&held_out_values, &is_first(held_out))?;
            let trainer = Trainer::new(&params, &learn, self.n_trees).eval(&held_out, "held_out");
            let patience = NonZeroUsize::new(self.patience).unwrap_or(NonZeroUsize::MIN);
            Ok(trainer.custom_metric(Box::new(metric)).early_stopping_rounds(patience).train()?.model)
        };
        let refused = |error: HessboostError| Error::config("Gbdt::rows", "rows to grow trees on", error);
        Ok(Gbdt { space: rows.space().clone(), columns, trees: grow().map_err(refused)? })
    }

    /// Checks every setting against its range.
    fn validate(&self) -> Result<()> {
        for (field, share) in [
            ("GbdtConfig::learning_rate", self.learning_rate),
            ("GbdtConfig::subsample", self.subsample),
            ("GbdtConfig::colsample_bytree", self.colsample_bytree),
        ] {
            if !(share > 0.0 && share <= 1.0) {
                return Err(Error::config(field, "a number in (0, 1]", share));
            }
        }
        if !(self.prior.is_finite() && self.prior > 0.0) {
            return Err(Error::config("GbdtConfig::prior", "a number above 0", self.prior));
        }
        if !(self.min_child_weight.is_finite() && self.min_child_weight >= 0.0) {
            let (field, found) = ("GbdtConfig::min_child_weight", self.min_child_weight);
            return Err(Error::config(field, "a number of at least 0", found));
        }
        for (field, n) in [
            ("GbdtConfig::n_trees", self.n_trees),
            ("GbdtConfig::max_depth", self.max_depth),
            ("GbdtConfig::patience", self.patience),
        ] {
            if n == 0 {
                return Err(Error::config(field, "at least 1", 0));
            }
        }
        Ok(())
    }

    fn params(&self, objective: Objective) -> std::result::Result<TrainingParams, HessboostError> {
        TrainingParams::builder()
            .objective(objective)
            .tree_method(TreeMethod::Hist)
            .eta(self.learning_rate)
            .max_depth(self.max_depth)
            .min_child_weight(self.min_child_weight)
            .subsample(self.subsample)
            .colsample_bytree(self.colsample_bytree)
            .seed(self.seed)
            .build()
    }

    /// The columns in which rows differ, and the values of these rows in each.
    fn columns(&self, rows: &EncodedRows, labels: &[f32]) -> Result<(Vec<Column>, Vec<Vec<f32>>)> {
        let mean = labels.iter().map(|&y| f64::from(y)).sum::<f64>() / labels.len().max(1) as f64;
        let mut order: Vec<u32> = (0..rows.n_rows() as u32).collect();
        Rng::new(self.seed).shuffle(&mut order);
        let space = rows.space();
        let mut columns = Vec::new();
        let mut values = Vec::new();
        let mut add = |column: Column, of_rows: Vec<f32>| {
            if varies(&of_rows) {
                columns.push(column);
                values.push(of_rows);
            }
        };
        for field in 0..space.n_fields() {
            let ids = space.ids(field);
            if ids.len() <= self.max_one_hot {
                for id in ids {
                    let column = Column::weight(field, id, rows);
                    let of_rows = column.of_rows(rows);
                    add(column, of_rows);
                }
            } else {
                let mut statistic = TargetStatistic::new(mean, self.prior, ids);
                let mut of_rows = vec![f32::NAN; rows.n_rows()];
                for &row in &order {
                    of_rows[row as usize] = statistic.of(rows, row as usize, field);
                    statistic.observe(rows, row as usize, field, labels[row as usize]);
                }
                add(Column::Target { field, statistic }, of_rows);
            }
        }
        for at in 0..space.d_vectors() {
            let column = Column::Number { at };
            let of_rows = column.of_rows(rows);
            add(column, of_rows);
        }
        if columns.is_empty() {
            return Err(Error::config("Gbdt::rows", "rows that differ in some field", "equal rows"));
        }
        Ok((columns, values))
    }
}

/// The matrix of these columns.
fn matrix(columns: &[Vec<f32>], labels: &[f32]) -> std::result::Result<DMatrix, HessboostError> {
    DMatrix::from_dense_vec(row_major(columns), labels.len(), columns.len())?.with_labels(labels)
}

/// What each row has of its group's probability: exp(x_j + ln c_j) over the sum of the group, with ln c = 0 for the first.
#[derive(Clone)]
struct Shares {
    log_counts: Arc<[f32]>,
}

impl Shares {
    /// Of rows with these scores, and whether each is the first of its group.
    fn of<'a>(&'a self, scores: &'a [f32]) -> impl Iterator<Item = (f32, bool)> {
        scores.chunks_exact(1 + self.log_counts.len()).flat_map(|group| {
            let counted =
                || group.iter().zip(iter::once(&0.0).chain(self.log_counts.iter())).map(|(x, c)| x + c);
            let max = counted().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = counted().map(|x| (x - max).exp()).sum();
            counted().enumerate().map(move |(at, x)| ((x - max).exp() / sum, at == 0))
        })
    }
}

/// Gradient-boosted decision trees over the fields of a row, by the crate [`hessboost`]: the baseline of every table of
/// numbers. Friedman 2001, "Greedy function approximation: a gradient boosting machine".
///
/// A field of few ids has a column for the weight of each, missing where a row has none of the field; one of many ids has its
/// target statistic, (Σ y + a p) / (n + a) over the n rows with that id, with the mean p of all labels and a prior a (Prokhorenkova et al. 2018,
/// "CatBoost: unbiased boosting with categorical features", eq. 5). On training rows it is taken over the rows that stand
/// before in a random order, so that no row sees its own label. Numbers of vectors are columns as they are; histories are not
/// read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Gbdt {
    space: FeatureSpace,
    columns: Vec<Column>,
    trees: BoostedModel,
}

impl Serialize for Gbdt {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Gbdt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let trees = Self::deserialize(deserializer)?;
        match trees.columns.iter().find(|column| !column.is_of(&trees.space)) {
            Some(column) => {
                Err(D::Error::custom(format!("a column that the space does not have: {column:?}")))
            }
            None => Ok(trees),
        }
    }
}

impl RowScorer for Gbdt {
    fn space(&self) -> &FeatureSpace {
        &self.space
    }

    fn score_rows(&self, rows: &EncodedRows) -> Result<Vec<f32>> {
        rows.check_space(&self.space)?;
        let values: Vec<Vec<f32>> = self.columns.iter().map(|column| column.of_rows(rows)).collect();
        match self.trees.predict_margin_rows(&row_major(&values), Iterations::Best) {
            Ok(scores) => Ok(scores.into_vec()),
            Err(error) => Err(Error::config("Gbdt::trees", "trees that fit the columns", error)),
        }
    }
}

/// Columns of equal length, row by row.
fn row_major(columns: &[Vec<f32>]) -> Vec<f32> {
    let n_rows = columns.first().map_or(0, Vec::len);
    (0..n_rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
}

/// A column of the matrix that trees are grown on.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Column {
    /// The weight of an id; for a row that has none of the field this number, or not a number.
    Weight {
        field: usize,
        id: u32,
        #[serde(default)]
        of_none: Option<f32>,
    },
    /// The target statistic of a field's ids.
    Target { field: usize, statistic: TargetStatistic },
    /// A number of the vectors.
    Number { at: usize },
}

impl Column {
    /// The column of an id. Where all weights are equal, to have none is another number: trees split between numbers alone.
    fn weight(field: usize, id: u32, rows: &EncodedRows) -> Self {
        let column = Self::Weight { field, id, of_none: None };
        let of_rows = column.of_rows(rows);
        let mut weights = of_rows.iter().copied().filter(|weight| !weight.is_nan());
        match weights.next() {
            Some(first) if weights.all(|weight| weight == first) => {
                Self::Weight { field, id, of_none: Some(if first == 0.0 { -1.0 } else { 0.0 }) }
            }
            _ => column,
        }
    }

    /// Whether rows of this space have the column.
    fn is_of(&self, space: &FeatureSpace) -> bool {
        match self {
            Self::Weight { field, .. } => *field < space.n_fields(),
            Self::Target { field, statistic: TargetStatistic { first, sums, counts, .. } } => {
                *field < space.n_fields()
                    && space.ids(*field).start == *first
                    && [sums.len(), counts.len()] == [space.ids(*field).len(); 2]
            }
            Self::Number { at } => *at < space.d_vectors(),
        }
    }

    fn of_rows(&self, rows: &EncodedRows) -> Vec<f32> {
        let of_row = |row: usize| match self {
            &Self::Weight { field, id, of_none } => match rows.bag(row, field) {
                ([], _) => of_none.unwrap_or(f32::NAN),
                (ids, weights) => {
                    ids.iter().zip(weights).filter(|(other, _)| **other == id).map(|(_, weight)| weight).sum()
                }
            },
            Self::Target { field, statistic } => statistic.of(rows, row, *field),
            &Self::Number { at } => rows.vectors()[row * rows.space().d_vectors() + at],
        };
        (0..rows.n_rows()).map(of_row).collect()
    }
}

/// Sums and counts of the labels of each id of a field.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TargetStatistic {
    first: u32,
    sums: Vec<f64>,
    counts: Vec<u32>,
    mean: f64,
    prior: f64,
}

impl TargetStatistic {
    fn new(mean: f64, prior: f64, ids: std::ops::Range<u32>) -> Self {
        Self { first: ids.start, sums: vec![0.0; ids.len()], counts: vec![0; ids.len()], mean, prior }
    }

    /// The mean over the ids of a row; not a number for none.
    fn of(&self, rows: &EncodedRows, row: usize, field: usize) -> f32 {
        let (ids, _) = rows.bag(row, field);
        let of_id = |&id: &u32| {
            let at = (id - self.first) as usize;
            (self.sums[at] + self.prior * self.mean) / (f64::from(self.counts[at]) + self.prior)
        };
        (ids.iter().map(of_id).sum::<f64>() / ids.len() as f64) as f32
    }

    fn observe(&mut self, rows: &EncodedRows, row: usize, field: usize, label: f32) {
        for &id in rows.bag(row, field).0 {
            let at = (id - self.first) as usize;
            self.sums[at] += f64::from(label);
            self.counts[at] += 1;
        }
    }
}

/// Whether there are two different numbers.
fn varies(values: &[f32]) -> bool {
    let mut known = values.iter().filter(|value| !value.is_nan());
    known.next().is_some_and(|first| known.any(|value| value != first))
}
