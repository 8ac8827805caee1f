//! From a CSV to recommendations: `cargo run --release --example quickstart -- ratings.csv`.
use recsys::index::{ExactIndex, Similarity};
use recsys::models::recall::{EmbeddingRecaller, PopularityRecaller, TwoTowerConfig};
use recsys::prelude::*;
use recsys::training::{RetrievalBatches, Trainer, TrainingConfig};

fn main() -> Result<()> {
    // A CSV with the columns userId, movieId, rating, timestamp; without one, made-up interactions.
    let data = match std::env::args().nth(1) {
        Some(path) => {
            DelimitedReader::new(ColumnMap::new("userId", "movieId").value("rating").timestamp("timestamp"))
                .read(path)?
        }
        None => SyntheticConfig::new(500, 400, 30_000, 1).generate()?,
    };
    let data = data.filter(|rows| rows.min_value(4.0).min_per_user(2))?.compact();
    let train = data.interactions();

    let config = TwoTowerConfig::default();
    let batches = RetrievalBatches::new(train, config.loss, config.max_len)?;
    let model = config.init(data.n_users(), &ItemFeatures::none(data.n_items()), 1, &Device::flex())?;
    let training = TrainingConfig::default().with_epochs(5).with_progress(true);
    let model = Trainer::new(training)?.fit(model, &batches, |_| Ok(vec![]))?.model;

    let index = ExactIndex::new(Similarity::InnerProduct, model.dim(), model.item_vectors()?)?;
    let popularity = PopularityRecaller::fit(train);
    let recaller = EmbeddingRecaller::new(model, Box::new(index), Box::new(popularity))?;

    let sequences = Sequences::new(train);
    let history = sequences.items(UserId(0));
    for candidate in recaller.recall(&Query::new(history).excluding(history.to_vec()), 10)? {
        println!("{:?} {:.3}", data.items().key(candidate.item.0), candidate.score);
    }
    Ok(())
}
