//! A channel of one's own, beside two of the crate: `cargo run --release --example custom_recaller`.
use recsys::models::recall::{CoVisitationConfig, CoVisitationRecaller, PopularityRecaller};
use recsys::prelude::*;
use recsys::top_k::TopK;

/// Recommends what was chosen most of late: score(item) = Σ 2^(−age / half-life) over its interactions.
#[derive(Debug)]
struct Trending(Vec<f32>);

impl Trending {
    fn fit(train: &Interactions, half_life: f64) -> Self {
        let newest = train.timestamps().iter().max().copied().unwrap_or(0);
        let mut scores = vec![0.0; train.n_items()];
        for row in train.iter() {
            scores[row.item.index()] += (-((newest - row.timestamp) as f64) / half_life).exp2() as f32;
        }
        Self(scores)
    }
}

impl Recaller for Trending {
    fn recall(&self, query: &Query<'_>, k: usize) -> Result<Vec<Candidate>> {
        query.check_items(self.0.len())?; // ids from outside are errors, never panics
        let mut top = TopK::new(k);
        for (item, &score) in (0..).map(ItemId).zip(&self.0).filter(|(item, _)| query.filter().admits(*item))
        {
            top.push(item, score);
        }
        Ok(top.into_sorted().into_iter().map(Candidate::from).collect())
    }
}

fn main() -> Result<()> {
    let data = SyntheticConfig::new(500, 400, 30_000, 1).generate()?;
    let train = data.interactions();
    let pipeline = Pipeline::recall("trending", Trending::fit(train, 30.0 * 86_400.0), 50)
        .and_recall("co_visitation", CoVisitationRecaller::fit(train, &CoVisitationConfig::default())?, 50)
        .and_recall("popularity", PopularityRecaller::fit(train), 50)
        .build()?;
    let sequences = Sequences::new(train);
    let history = sequences.items(UserId(0));
    let answer = pipeline.recommend(&Query::new(history).excluding(history.to_vec()))?;
    for candidate in answer.items.iter().take(10) {
        let told = candidate.channels.iter().map(|told| format!("{} {:.2}", told.channel, told.score));
        let key = data.items().key(candidate.item.0).map(|key| key.to_string()).unwrap_or_default();
        println!("item {key}: {}", told.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
