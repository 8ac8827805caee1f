use std::array::from_fn;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ItemId;
use crate::metrics::{HeldOut, HeldOutUser};
use crate::pipeline::{Candidate, Channel, Fusion, Pool, Query};

/// How many questions the channels answer at a time.
const BLOCK: usize = 512;

/// What one step multiplies a weight by.
const FACTORS: [f32; 9] = [0.0, 0.25, 0.5, 0.75, 0.9, 1.1, 1.33, 2.0, 4.0];

/// Finds the weights of a [`Fusion`] that recall most of what was held out.
///
/// A coordinate search: from equal weights on, each channel in turn takes the multiple of its weight (0, ¼, ½, ¾, 0.9,
/// 1.1, 1.33, 2, 4) with the highest mean Recall@k, over users and the cut-offs k, as long as that is an improvement; this for
/// all channels until none improves. The measure itself is maximised, not a smooth stand-in such as the likelihood of a logistic regression,
/// whose weights are right for the order of all candidates and not for the cut at k; with few weights and
/// thousands of users there is little to over-fit. A channel that adds nothing ends with weight 0 and is no longer asked.
///
/// The channels are asked once; every candidate that they name takes 20 bytes until the search is over.
///
/// | setting | default | purpose | range |
/// |---|---|---|---|
/// | `ks` | 10, 100, 200 | cut-offs of the recall: where the list is cut, and where it should be good already | each ≥ 1, one at least |
/// | `max_rounds` | 10 | how often each weight is visited at most | ≥ 1 |
///
/// ```
/// use recsys::metrics::HeldOut;
/// use recsys::models::recall::{ItemKnnConfig, ItemKnnRecaller, PopularityRecaller};
/// use recsys::pipeline::{Channel, ChannelConfig, Fusion, FusionMethod};
/// use recsys::prelude::*;
/// use recsys::training::FusionWeightsConfig;
///
/// let data = SyntheticConfig::new(200, 100, 4_000, 1).generate()?;
/// let split = Split::leave_one_out(data.interactions());
/// let popularity = Box::new(PopularityRecaller::fit(&split.train));
/// let knn = Box::new(ItemKnnRecaller::fit(&split.train, &ItemKnnConfig::default())?);
/// let channels = vec![
///     Channel::new(ChannelConfig::new("popularity", 20), popularity),
///     Channel::new(ChannelConfig::new("item_knn", 50), knn),
/// ];
/// let held_out = HeldOut::validation(&split)?;
/// let config = FusionWeightsConfig { ks: vec![20], ..FusionWeightsConfig::default() };
/// let fusion = config.fit(Fusion::new(FusionMethod::default(), channels)?, &held_out)?;
/// let sum: f32 = fusion.channels().iter().map(|channel| channel.config().weight).sum();
/// assert!((sum - 1.0).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FusionWeightsConfig {
    /// The cut-offs of the recall.
    pub ks: Vec<usize>,
    /// How often each weight is visited at most.
    pub max_rounds: usize,
}

impl Default for FusionWeightsConfig {
    fn default() -> Self {
        Self { ks: vec![10, 100, 200], max_rounds: 10 }
    }
}

impl FusionWeightsConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.ks.is_empty() || self.ks.contains(&0) {
            let expected = "cut-offs of at least 1";
            return Err(Error::config("FusionWeightsConfig::ks", expected, format!("{:?}", self.ks)));
        }
        match self.max_rounds {
            0 => Err(Error::config("FusionWeightsConfig::max_rounds", "at least 1", 0)),
            _ => Ok(()),
        }
    }

    /// The fusion with the weights found, which sum to 1.
    ///
    /// # Errors
    /// A setting outside its range, nobody to ask, or a channel that fails.
    pub fn fit(&self, fusion: Fusion, held_out: &HeldOut) -> Result<Fusion> {
        self.validate()?;
        held_out.check_some()?;
        let questions = ask(&fusion, held_out)?;
        let weights = self.search(&questions, fusion.channels().len());
        fusion.with_weights(&weights)
    }

    fn search(&self, questions: &[Question], n_channels: usize) -> Vec<f32> {
        let mut weights = vec![1.0 / n_channels as f32; n_channels];
        let [mut best] = self.recalls(questions, [&weights]);
        for _ in 0..self.max_rounds {
            let before = best;
            for channel in 0..n_channels {
                let trials = trials(&weights, channel);
                for (found, trial) in self.recalls(questions, trials.each_ref()).into_iter().zip(trials) {
                    if found > best {
                        (best, weights) = (found, trial);
                    }
                }
            }
            if best == before {
                break;
            }
        }
        weights
    }

    /// Σ of the users' mean Recall@k, with each of these weights. All of them are tried as the candidates go by once.
    fn recalls<const N: usize>(&self, questions: &[Question], trials: [&Vec<f32>; N]) -> [f64; N] {
        let of_channel = |channel| trials.map(|weights| weights[channel]);
        let weights: Vec<[f32; N]> = (0..trials[0].len()).map(of_channel).collect();
        let recalls: Vec<[f64; N]> =
            questions.par_iter().map(|question| question.mean_recalls(&weights, &self.ks)).collect();
        from_fn(|trial| recalls.iter().map(|of_question| of_question[trial]).sum())
    }
}

/// The weights with another one for a channel, scaled to sum to 1. A channel that has lost its weight begins again from
/// the mean. The only channel that has a weight keeps it.
fn trials(weights: &[f32], channel: usize) -> [Vec<f32>; FACTORS.len()] {
    let mean = 1.0 / weights.len() as f32;
    let own = if weights[channel] > 0.0 { weights[channel] } else { mean };
    FACTORS.map(|factor| {
        let mut trial = weights.to_vec();
        trial[channel] = own * factor;
        match trial.iter().sum::<f32>() {
            0.0 => weights.to_vec(),
            sum => trial.iter().map(|weight| weight / sum).collect(),
        }
    })
}

/// What the channels answer to a user, and what they should.
struct Question {
    pool: Pool,
    relevant: Vec<ItemId>,
}

impl Question {
    fn mean_recalls<const N: usize>(&self, weights: &[[f32; N]], ks: &[usize]) -> [f64; N] {
        let scores = self.pool.scores(weights);
        let mut hits = [0; N];
        let places = self.relevant.iter().map(|item| scores.binary_search_by_key(item, |&(item, _)| item));
        for place in places.flatten() {
            let (own, mut n_better) = (scores[place].1, [0; N]);
            // They lie by id, and of equal scores the smaller id is better.
            for (_, other) in &scores[..place] {
                n_better = from_fn(|i| n_better[i] + u32::from(other[i].total_cmp(&own[i]).is_ge()));
            }
            for (_, other) in &scores[place + 1..] {
                n_better = from_fn(|i| n_better[i] + u32::from(other[i].total_cmp(&own[i]).is_gt()));
            }
            hits = from_fn(|i| hits[i] + ks.iter().filter(|&&k| (n_better[i] as usize) < k).count());
        }
        hits.map(|hits| hits as f64 / (self.relevant.len() * ks.len()) as f64)
    }
}

/// Asks every channel every question.
fn ask(fusion: &Fusion, held_out: &HeldOut) -> Result<Vec<Question>> {
    let mut questions = Vec::with_capacity(held_out.users().len());
    for block in held_out.users().chunks(BLOCK) {
        let queries: Vec<Query<'_>> = block.iter().map(HeldOutUser::query).collect();
        let ask = |channel: &Channel| channel.recall_batch(&queries);
        let answers = fusion.channels().iter().map(ask).collect::<Result<Vec<Vec<Vec<Candidate>>>>>()?;
        questions.extend(block.iter().enumerate().map(|(row, user)| {
            let of_row = answers.iter().map(|answers| answers[row].as_slice());
            let configs = fusion.channels().iter().map(Channel::config);
            Question {
                pool: Pool::new(fusion.method(), configs.zip(of_row)),
                relevant: user.relevant.clone(),
            }
        }));
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::metrics::{RankingMetric, evaluate};
    use crate::pipeline::{ChannelConfig, FusionMethod, Recaller};
    use crate::rng::Rng;
    use crate::top_k::by_score;

    const N_ITEMS: u32 = 60;

    /// Scores each item by chance, and the user's own item, (7 · user) mod 60, for a share of the users as best.
    #[derive(Debug)]
    struct Knows {
        share: f64,
        seed: u64,
    }

    impl Recaller for Knows {
        fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
            let user = query.user().unwrap().0;
            let mut rng = Rng::stream(self.seed, &[user.into()]);
            let own = if rng.uniform() < self.share { user * 7 % N_ITEMS } else { N_ITEMS };
            let score = |item| rng.uniform_f32() + if item == own { 0.5 } else { 0.0 };
            let scores: Vec<f32> = (0..N_ITEMS).map(score).collect();
            let mut answer: Vec<_> =
                (0..).map(ItemId).zip(scores).map(|(i, s)| Candidate::new(i, s)).collect();
            answer.sort_by(|a, b| by_score((a.item, a.score), (b.item, b.score)));
            answer.truncate(k);
            Ok(answer)
        }
    }

    fn channel(name: &str, share: f64, seed: u64) -> Channel {
        Channel::new(ChannelConfig::new(name, 60), Box::new(Knows { share, seed }))
    }

    fn fusion() -> Fusion {
        let channels = vec![channel("noise", 0.0, 1), channel("good", 0.9, 2), channel("fair", 0.5, 3)];
        Fusion::new(FusionMethod::MinMax, channels).unwrap()
    }

    fn held_out(users: std::ops::Range<u32>) -> HeldOut {
        let user = |user: u32| HeldOutUser {
            user: UserId(user),
            history: vec![],
            seen: vec![],
            relevant: vec![ItemId(user * 7 % N_ITEMS)],
        };
        HeldOut::new("validation", "nothing", N_ITEMS as usize, users.map(user).collect()).unwrap()
    }

    fn config() -> FusionWeightsConfig {
        FusionWeightsConfig { ks: vec![5, 20], ..FusionWeightsConfig::default() }
    }

    #[test]
    fn weights_follow_what_channels_know_and_hold_for_others() {
        let fitted = config().fit(fusion(), &held_out(0..600)).unwrap();
        let weights: Vec<f32> = fitted.channels().iter().map(|channel| channel.config().weight).collect();
        assert!(weights[0] < weights[2] && weights[2] < weights[1], "{weights:?}");
        let recall = |fusion: &Fusion| {
            let evaluation = evaluate(fusion, &held_out(600..2_000), &[5]).unwrap();
            evaluation.mean(RankingMetric::Recall, 5).unwrap()
        };
        let (before, after) = (recall(&fusion()), recall(&fitted));
        assert!(after > before + 0.05, "{before} with equal weights, {after} with {weights:?}");
    }

    #[test]
    fn the_search_measures_what_an_evaluation_does() {
        let channels = vec![
            Channel::new(
                ChannelConfig::new("good", 9).with_quota(2),
                Box::new(Knows { share: 0.5, seed: 4 }),
            ),
            channel("fair", 0.5, 3),
        ];
        let fusion = Fusion::new(FusionMethod::default(), channels).unwrap();
        let (held_out, weights) = (held_out(0..50), [0.3, 0.7]);
        let asked = ask(&fusion, &held_out).unwrap();
        let [sum, _] = config().recalls(&asked, [&weights.to_vec(), &vec![1.0, 0.0]]);
        let evaluation = evaluate(&fusion.with_weights(&weights).unwrap(), &held_out, &[5, 20]).unwrap();
        let sum_at = |k| evaluation.values(RankingMetric::Recall, k).unwrap().iter().sum::<f64>();
        // Halves of whole numbers: exact in float64.
        assert_eq!(sum, (sum_at(5) + sum_at(20)) / 2.0);
    }

    #[test]
    fn any_number_of_threads_finds_the_same() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let fitted = pool.install(|| config().fit(fusion(), &held_out(0..200))).unwrap();
            fitted.channels().iter().map(|channel| channel.config().weight).collect::<Vec<f32>>()
        };
        assert_eq!(on(1), on(5));
    }

    #[test]
    fn bad_settings_are_named() {
        for config in [
            FusionWeightsConfig { ks: vec![5, 0], ..config() },
            FusionWeightsConfig { ks: vec![], ..config() },
            FusionWeightsConfig { max_rounds: 0, ..config() },
        ] {
            let error = config.fit(fusion(), &held_out(0..1)).unwrap_err();
            assert!(error.to_string().starts_with("FusionWeightsConfig::"), "{error}");
        }
        assert!(config().fit(fusion(), &held_out(0..0)).is_err());
    }
}
