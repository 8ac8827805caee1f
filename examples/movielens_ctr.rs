//! Trains ranking models on MovieLens 1M under P4.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use recsys::data::MovieLens;
use recsys::features::{EncodedRow, EncodedRows, FeatureSpace};
use recsys::layers::{Cross, MlpConfig};
use recsys::metrics::{auc, gauc, log_loss};
use recsys::models::ranking::*;
use recsys::prelude::*;
use recsys::training::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser, Debug)]
struct Args {
    #[arg(long, default_value = "deepfm")]
    model: String,
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    #[arg(long, default_value_t = 0.0)]
    l2: f64,
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
    #[arg(long, default_value_t = 0.0)]
    mlp_dropout: f64,
    #[arg(long, default_value_t = 16)]
    d: usize,
    #[arg(long, default_value_t = 4096)]
    batch_size: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long)]
    by_time: bool,
    #[arg(long)]
    cosine: bool,
    #[arg(long, default_value_t = 0)]
    max_rows: usize,
}

fn ids<T: Ord + Clone>(values: &[T]) -> (Vec<u32>, usize) {
    let mut distinct = values.to_vec();
    distinct.sort();
    distinct.dedup();
    (values.iter().map(|v| distinct.binary_search(v).unwrap() as u32).collect(), distinct.len())
}

fn load(args: &Args) -> Result<(EncodedRows, Interactions)> {
    let data = MovieLens::Ml1m.read(MovieLens::Ml1m.find(args.data_dir.as_deref()).expect("data"))?;
    let (users, items) = (data.user_table().unwrap().clone(), data.item_table().unwrap().clone());
    let rows = data.interactions().clone().retain(|row| row.value != 3.0);
    let mut space = FeatureSpace::default();
    let mut user_columns = vec![];
    let zip: Vec<String> = users.zip_codes().to_vec();
    for (name, (column, n)) in [
        ("gender", ids(users.genders())),
        ("age", ids(users.ages())),
        ("occupation", ids(users.occupations())),
        ("zip", ids(&zip)),
    ] {
        space = space.with_field(name, n)?;
        user_columns.push(column);
    }
    space = space.with_field("user", data.n_users())?;
    space = space.with_field("item", data.n_items())?;
    let (years, n_years) = ids(items.years());
    space = space.with_field("year", n_years)?;
    space = space.with_field("genres", items.genre_names().len())?;
    space = space.with_history("liked", "item", 50)?;
    let offset = |field: usize| space.ids(field).start;
    let offsets: Vec<u32> = (0..8).map(offset).collect();
    let mut encoded = EncodedRows::new(space, 1);
    // Liked films of each user in time order.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&r| (rows.users()[r], rows.timestamps()[r]));
    let mut histories = vec![[0u32; 2]; rows.len()];
    let mut at = 0;
    while at < order.len() {
        let user = rows.users()[order[at]];
        let end = at + order[at..].iter().take_while(|&&r| rows.users()[r] == user).count();
        let liked: Vec<(i64, u32)> = order[at..end]
            .iter()
            .filter(|&&r| rows.values()[r] >= 4.0)
            .map(|&r| (rows.timestamps()[r], rows.items()[r].0 + offsets[5]))
            .collect();
        let events: Vec<u32> = liked.iter().map(|x| x.1).collect();
        let [start, _] = encoded.push_events(&events)?;
        for &r in &order[at..end] {
            let n = liked.partition_point(|x| x.0 < rows.timestamps()[r]) as u32;
            histories[r] = [start, start + n];
        }
        at = end;
    }
    for r in 0..rows.len() {
        let row = rows.row(r);
        let (u, i) = (row.user.index(), row.item.index());
        let genres = items.genres().row(row.item);
        let genre_bag: Vec<(u32, f32)> =
            genres.iter().map(|g| (g + offsets[7], 1.0 / genres.len() as f32)).collect();
        let single: Vec<[(u32, f32); 1]> = (0..4)
            .map(|f| [(user_columns[f][u] + offsets[f], 1.0)])
            .chain([
                [(u as u32 + offsets[4], 1.0)],
                [(i as u32 + offsets[5], 1.0)],
                [(years[i] + offsets[6], 1.0)],
            ])
            .collect();
        let mut bags: Vec<&[(u32, f32)]> = single.iter().map(|b| &b[..]).collect();
        bags.push(&genre_bag);
        let labels = [f32::from(row.value >= 4.0)];
        encoded.push(EncodedRow {
            bags: &bags,
            vectors: &[],
            history: histories[r],
            labels: &labels,
            group: row.user.0,
        })?;
    }
    Ok((encoded, rows))
}

fn report(name: &str, model: &impl RankingModel, rows: &EncodedRows) -> Result<f64> {
    let p = predict(model, rows)?;
    let labels: Vec<bool> = rows.labels().iter().map(|&y| y > 0.5).collect();
    let users: Vec<UserId> = rows.groups().iter().map(|&g| UserId(g)).collect();
    let a = auc(&labels, &p)?.unwrap();
    println!(
        "{name}: AUC {a:.5} GAUC {:.5} log loss {:.5}",
        gauc(&users, &labels, &p)?.value.unwrap(),
        log_loss(&labels, &p)?
    );
    Ok(a)
}

fn run<M: RankingModel + Trainable<Batch = RankingBatch>>(
    args: &Args,
    model: M,
    parts: &[EncodedRows; 3],
) -> Result<()> {
    let batches = RankingBatches::new(parts[0].clone(), args.batch_size, args.seed)?;
    let mut config = TrainingConfig::default()
        .with_epochs(args.epochs)
        .with_learning_rate(args.learning_rate)
        .with_patience(3)
        .with_seed(args.seed);
    if args.cosine {
        config = config.with_schedule(LearningRateSchedule::CosineDecay { warmup_steps: 0 });
    }
    let start = Instant::now();
    let fitted = Trainer::new(config)?.fit(model, &batches, |model: &M| {
        let auc = report("  validation", model, &parts[1])?;
        Ok(vec![("auc".to_string(), auc)])
    })?;
    println!("{}", fitted.history);
    println!("{:.1} s", start.elapsed().as_secs_f64());
    report("test", &fitted.model, &parts[2])?;
    Ok(())
}

fn try_run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let (rows, interactions) = load(args)?;
    println!(
        "{} rows, {} ids, encoded in {:.2} s",
        rows.n_rows(),
        rows.space().n_ids(),
        start.elapsed().as_secs_f64()
    );
    let parts: [EncodedRows; 3] = if args.by_time {
        let mut order: Vec<usize> = (0..rows.n_rows()).collect();
        order.sort_by_key(|&r| interactions.timestamps()[r]);
        let n = order.len();
        [&order[..n * 8 / 10], &order[n * 8 / 10..n * 9 / 10], &order[n * 9 / 10..]]
            .map(|part| rows.select(part))
    } else {
        let mut order: Vec<usize> = (0..rows.n_rows()).collect();
        recsys::rng::Rng::new(7).shuffle(&mut order);
        let n = order.len();
        [&order[..n * 8 / 10], &order[n * 8 / 10..n * 9 / 10], &order[n * 9 / 10..]]
            .map(|part| rows.select(part))
    };
    let (space, device) = (rows.space().clone(), Device::flex());
    let objective = RankingObjective { l2: args.l2, ..RankingObjective::default() };
    let hidden = |n: usize| MlpConfig::new(n).with_dropout(args.mlp_dropout);
    match args.model.as_str() {
        "logistic" => run(
            args,
            LogisticConfig { objective, ..Default::default() }.init(&space, args.seed, &device)?,
            &parts,
        ),
        "fm" => run(
            args,
            FmConfig { d_embedding: args.d, objective, ..Default::default() }
                .init(&space, args.seed, &device)?,
            &parts,
        ),
        "deepfm" => run(
            args,
            DeepFmConfig {
                d_embedding: args.d,
                mlp: hidden(1).with_hidden([256, 128]),
                dropout: args.dropout,
                objective,
                ..Default::default()
            }
            .init(&space, args.seed, &device)?,
            &parts,
        ),
        "dcn" | "dcn-v2" => run(
            args,
            DcnConfig {
                d_embedding: args.d,
                cross: if args.model == "dcn" { Cross::Vector } else { Cross::Matrix },
                mlp: hidden(128).with_hidden([256]),
                dropout: args.dropout,
                objective,
                ..Default::default()
            }
            .init(&space, args.seed, &device)?,
            &parts,
        ),
        "din" => run(
            args,
            DinConfig {
                d_embedding: args.d,
                mlp: hidden(128).with_hidden([256]),
                dropout: args.dropout,
                objective,
                ..Default::default()
            }
            .init(&space, args.seed, &device)?,
            &parts,
        ),
        _ => panic!("model"),
    }
}

fn main() -> ExitCode {
    match try_run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
