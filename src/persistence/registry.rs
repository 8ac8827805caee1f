use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Location, Result};
#[cfg(feature = "gbdt")]
use crate::models::ranking::Gbdt;
use crate::models::ranking::{
    BiasedMf, Bst, Dcn, DeepFm, Din, Esmm, FeatureRanker, FinalMlp, Fm, InteractionMlp, Logistic, Mmoe,
    NeuMf, Ple, WideDeep,
};
use crate::models::recall::{
    BprMf, CoVisitationRecaller, ContentRecaller, EaseRecaller, EmbeddingRecaller, FavouriteGenresRecaller,
    Ials, ItemKnnRecaller, PopularityRecaller, Sasrec, SessionKnnRecaller, SlimRecaller, TwoTower,
};
use crate::models::reranking::{Blend, Calibration, Dpp, Mmr, PopularityDebias, Rules};
use crate::persistence::{Part, PartReader, PartWriter};
use crate::pipeline::{AnyStage, ExhaustiveRecaller, Fusion, Ranker, Recaller, Reranker};

const KIND: &str = "kind.json";

/// What the types of stages are called in a bundle, and how they are read again.
///
/// The default knows every recaller, ranker and re-ranker of the crate; types of one's own are added. A name is written into
/// bundles, so it must stay what it is for as long as these are to be read.
///
/// ```
/// use recsys::persistence::Registry;
/// use recsys::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// /// Scores an item by its number.
/// #[derive(Debug, Serialize, Deserialize)]
/// struct ById;
///
/// impl Ranker for ById {
///     fn score(&self, _: &Query<'_>, items: &[ItemId]) -> Result<Vec<f32>> {
///         Ok(items.iter().map(|item| item.0 as f32).collect())
///     }
/// }
///
/// let registry = Registry::default().with_ranker::<ById>("by_id")?;
/// assert!(registry.with_ranker::<ById>("another_name").is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Registry {
    recallers: Kinds<dyn Recaller>,
    rankers: Kinds<dyn Ranker>,
    rerankers: Kinds<dyn Reranker>,
}

/// The [`Kind`] of a type; for which trait, follows from where it stands.
macro_rules! kind {
    ($stage:ty, $name:expr) => {
        Kind {
            name: $name.into(),
            type_name: std::any::type_name::<$stage>(),
            part: |stage: &dyn Any| stage.downcast_ref::<$stage>().map(|part| part as &dyn Part),
            read: |reader| Ok(Box::new(<$stage>::read(reader)?)),
        }
    };
}

impl Default for Registry {
    fn default() -> Self {
        let recallers: Vec<Kind<dyn Recaller>> = vec![
            kind!(BprMf, "bpr_mf"),
            kind!(CoVisitationRecaller, "co_visitation"),
            kind!(ContentRecaller, "content"),
            kind!(EaseRecaller, "ease"),
            kind!(ExhaustiveRecaller<Arc<dyn Ranker>>, "exhaustive"),
            kind!(FavouriteGenresRecaller, "favourite_genres"),
            kind!(Fusion, "fusion"),
            kind!(Ials, "ials"),
            kind!(EmbeddingRecaller<Ials>, "ials_index"),
            kind!(ItemKnnRecaller, "item_knn"),
            kind!(PopularityRecaller, "popularity"),
            kind!(EmbeddingRecaller<Sasrec>, "sasrec"),
            kind!(SessionKnnRecaller, "session_knn"),
            kind!(SlimRecaller, "slim"),
            kind!(EmbeddingRecaller<TwoTower>, "two_tower"),
        ];
        let rankers: Vec<Kind<dyn Ranker>> = vec![
            kind!(BiasedMf, "biased_mf"),
            kind!(FeatureRanker<Bst>, "bst"),
            kind!(FeatureRanker<Dcn>, "dcn"),
            kind!(FeatureRanker<DeepFm>, "deep_fm"),
            kind!(FeatureRanker<Din>, "din"),
            kind!(FeatureRanker<Esmm>, "esmm"),
            kind!(FeatureRanker<FinalMlp>, "final_mlp"),
            kind!(FeatureRanker<Fm>, "fm"),
            #[cfg(feature = "gbdt")]
            kind!(FeatureRanker<Gbdt>, "gbdt"),
            kind!(FeatureRanker<InteractionMlp>, "interaction_mlp"),
            kind!(FeatureRanker<Logistic>, "logistic"),
            kind!(FeatureRanker<Mmoe>, "mmoe"),
            kind!(FeatureRanker<NeuMf>, "neu_mf"),
            kind!(FeatureRanker<Ple>, "ple"),
            kind!(FeatureRanker<WideDeep>, "wide_deep"),
        ];
        let rerankers: Vec<Kind<dyn Reranker>> = vec![
            kind!(Blend<Arc<dyn Ranker>>, "blend"),
            kind!(Calibration, "calibration"),
            kind!(Dpp, "dpp"),
            kind!(Mmr, "mmr"),
            kind!(PopularityDebias, "popularity_debias"),
            kind!(Rules, "rules"),
        ];
        Self {
            recallers: Kinds { role: "recaller", kinds: recallers },
            rankers: Kinds { role: "ranker", kinds: rankers },
            rerankers: Kinds { role: "re-ranker", kinds: rerankers },
        }
    }
}

impl Registry {
    /// Knows one more type of recaller.
    ///
    /// # Errors
    /// A name or a type that is already known, or a name that is not made of letters, digits and underscores.
    pub fn with_recaller<R: Recaller + Part + 'static>(mut self, name: &str) -> Result<Self> {
        self.recallers.add(kind!(R, name))?;
        Ok(self)
    }

    /// Knows one more type of ranker.
    ///
    /// # Errors
    /// As [`with_recaller`](Self::with_recaller).
    pub fn with_ranker<R: Ranker + Part + 'static>(mut self, name: &str) -> Result<Self> {
        self.rankers.add(kind!(R, name))?;
        Ok(self)
    }

    /// Knows one more type of re-ranker.
    ///
    /// # Errors
    /// As [`with_recaller`](Self::with_recaller).
    pub fn with_reranker<R: Reranker + Part + 'static>(mut self, name: &str) -> Result<Self> {
        self.rerankers.add(kind!(R, name))?;
        Ok(self)
    }

    pub(super) fn recallers(&self) -> &Kinds<dyn Recaller> {
        &self.recallers
    }

    pub(super) fn rankers(&self) -> &Kinds<dyn Ranker> {
        &self.rankers
    }

    pub(super) fn rerankers(&self) -> &Kinds<dyn Reranker> {
        &self.rerankers
    }
}

/// The types of one trait.
pub(super) struct Kinds<S: ?Sized> {
    role: &'static str,
    kinds: Vec<Kind<S>>,
}

/// One type of stage.
struct Kind<S: ?Sized> {
    name: String,
    type_name: &'static str,
    /// The stage as a part, if it is of this type.
    part: fn(&dyn Any) -> Option<&dyn Part>,
    read: fn(&PartReader<'_>) -> Result<Box<S>>,
}

impl<S: ?Sized> fmt::Debug for Kinds<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.kinds.iter().map(|kind| (&kind.name, kind.type_name))).finish()
    }
}

impl<S: ?Sized> Kinds<S> {
    fn add(&mut self, kind: Kind<S>) -> Result<()> {
        let is_word = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if kind.name.is_empty() || !is_word(&kind.name) {
            let expected = "a name of letters, digits and underscores";
            return Err(Error::config("Registry::name", expected, format!("{:?}", kind.name)));
        }
        let is_taken = |other: &&Kind<S>| other.name == kind.name || other.type_name == kind.type_name;
        if let Some(other) = self.kinds.iter().find(is_taken) {
            let expected = format!("one name for each type of {}", self.role);
            let found =
                format!("{} for {} beside {} for {}", kind.name, kind.type_name, other.name, other.type_name);
            return Err(Error::config("Registry::name", expected, found));
        }
        self.kinds.push(kind);
        Ok(())
    }

    /// The name of a stage's type, and the stage as what is saved of it; `place` tells of the stage in the error of a type
    /// that is not known. A ranker that several stages share is saved with each of them.
    pub(super) fn part<'a>(
        &'a self,
        place: &str,
        stage: &'a dyn AnyStage,
    ) -> Result<(&'a str, &'a dyn Part)> {
        if let Some(shared) = stage.as_any().downcast_ref::<Arc<dyn Ranker>>() {
            return self.part(place, shared.as_ref());
        }
        let known = |kind: &'a Kind<S>| Some((kind.name.as_str(), (kind.part)(stage.as_any())?));
        self.kinds.iter().find_map(known).ok_or_else(|| {
            let expected = format!("a registered type of {} at {place}", self.role);
            Error::config("Registry", expected, stage.type_name())
        })
    }

    /// Writes a stage and the name of its type into a folder of its own.
    pub(super) fn write(&self, folder: &str, stage: &dyn AnyStage, parent: &PartWriter<'_>) -> Result<()> {
        let (kind, part) = self.part(folder, stage)?;
        let writer = parent.within(folder)?;
        writer.files().write_json(KIND, kind)?;
        part.write(&writer)
    }

    /// Reads the stage in a folder.
    pub(super) fn read(&self, folder: &str, parent: &PartReader<'_>) -> Result<Box<S>> {
        let reader = &parent.within(folder);
        let name: String = reader.files().read_json(KIND)?;
        match self.kinds.iter().find(|kind| kind.name == name) {
            Some(kind) => (kind.read)(reader),
            None => {
                let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name.as_str()).collect();
                let expected = format!("a registered {}: {}", self.role, names.join(", "));
                Err(Error::input(Location::file(reader.files().path(KIND)), expected, name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_names_every_type_once() {
        fn check<S: ?Sized>(Kinds { role, kinds }: Kinds<S>) {
            let mut once = Kinds { role, kinds: Vec::new() };
            kinds.into_iter().for_each(|kind| once.add(kind).unwrap());
        }
        let Registry { recallers, rankers, rerankers } = Registry::default();
        check(recallers);
        check(rankers);
        check(rerankers);
    }
}
