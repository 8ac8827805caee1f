//! One thing varied at a time.

use std::sync::Arc;

use clap::ValueEnum;
use recsys::layers::AttentionWeights;
use recsys::metrics::{Funnel, ablate, evaluate};
use recsys::models::ranking::DinConfig;
use recsys::models::recall::SasrecConfig;
use recsys::models::reranking::Mmr;
use recsys::pipeline::{Channel, Fusion, PipelineBuilder};
use recsys::prelude::*;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::channels::{Channels, fit_sasrec, recalls};
use crate::common::sasrec;
use crate::rankers::{LEARNING_RATE, Lessons, Measured, Trained};
use crate::table::{Table, estimate};
use crate::{N_PRERANKED, N_RANKED, N_RECALLED, N_SHOWN, measure, ranked};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Study {
    /// Every method of fusion, and the fusion without each of its channels
    Fusion,
    /// Maximal marginal relevance from diversity alone to relevance alone, over more and fewer candidates
    Mmr,
    /// The films that the sequence channel reads
    HistoryLength,
    /// The width of the sequence channel
    EmbeddingDim,
    /// The attention of DIN: what is made of its weights, its activation, and positions
    Attention,
    /// Each channel, the fusion and the funnel for users with short and with long histories
    ColdHot,
}

impl Study {
    /// Its name in options and reports.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it fits the sequence channel again.
    pub fn trains_sequences(self) -> bool {
        matches!(self, Self::HistoryLength | Self::EmbeddingDim)
    }
}

/// What is varied.
pub struct Studied<'a> {
    pub bench: &'a Bench,
    pub channels: &'a Channels,
    pub fusion: Fusion,
    /// The fusion by every method, where one was chosen of them.
    pub by_method: Option<Vec<(&'static str, Fusion)>>,
    pub recalled: PipelineBuilder,
    pub rankers: Vec<Trained>,
    pub pipeline: Pipeline,
    /// Where there are rankers.
    pub lessons: Option<Lessons>,
}

impl Studied<'_> {
    /// Makes a study, prints its table, and gives it for the report.
    pub fn run(&self, study: Study) -> Result<Value> {
        match study {
            Study::Fusion => return self.fusion(),
            Study::Mmr => self.mmr(),
            Study::HistoryLength => {
                self.sequence_channel("films read", [10, 20, 50, 100], |config, max_len| SasrecConfig {
                    max_len,
                    ..config
                })
            }
            Study::EmbeddingDim => self.sequence_channel("width", [16, 32, 64, 128], |config, d_model| {
                SasrecConfig { d_model, d_hidden: d_model, ..config }
            }),
            Study::Attention => self.attention(),
            Study::ColdHot => self.cold_and_hot(),
        }
        .map(|table| {
            println!("{table}");
            table.to_json()
        })
    }

    /// A table of recalls at every cut-off.
    fn of_recalls(&self, title: &str, first: &str) -> Table {
        let recalls = self.bench.data.protocol.cutoffs().iter().map(|k| format!("recall@{k}"));
        Table::new(title, [first.to_owned()].into_iter().chain(recalls))
    }

    fn push_recalls(&self, table: &mut Table, name: String, recaller: &dyn Recaller) -> Result<()> {
        let evaluation = evaluate(recaller, &self.bench.test, self.bench.data.protocol.cutoffs())?;
        table.push([name].into_iter().chain(recalls(&evaluation).map(|recall| format!("{recall:.4}"))));
        Ok(())
    }

    fn fusion(&self) -> Result<Value> {
        let mut table = self.of_recalls("Methods of fusion, each with weights of its own", "method");
        let by_method = match &self.by_method {
            Some(by_method) => by_method.clone(),
            None => self.channels.fuse_by_all(self.bench)?,
        };
        for (name, fusion) in &by_method {
            self.push_recalls(&mut table, (*name).into(), fusion)?;
        }
        println!("{table}");
        let Self { bench, fusion, .. } = self;
        let ablation = ablate(fusion, &bench.test, bench.data.protocol.cutoffs(), bench.args.seed)?;
        println!("{ablation}");
        Ok(json!({ "methods": table.to_json(), "ablation": ablation }))
    }

    fn mmr(&self) -> Result<Table> {
        let header = ["chosen from", "lambda", "recall@10", "coverage@10", "similarity@10", "novelty@10"];
        let mut table = Table::new("Maximal marginal relevance", header);
        let pools = if self.rankers.is_empty() { &[N_RECALLED][..] } else { &[N_RANKED, 50, N_PRERANKED] };
        let lambdas = [0.0, 0.3, 0.5, 0.7, 0.9, 1.0];
        for (&pool, lambda) in pools.iter().flat_map(|pool| lambdas.map(|lambda| (pool, lambda))) {
            let mmr = Mmr::new(lambda, self.channels.vectors.clone())?;
            let pipeline = ranked(&self.recalled, &self.rankers, pool).rerank("mmr", mmr, N_SHOWN).build()?;
            let funnel = measure(&pipeline, self.bench, self.channels)?;
            table.push(funnel.stages.iter().skip(1).next_back().into_iter().flat_map(|stage| {
                [
                    pool.min(self.bench.data.dataset.n_items()).to_string(),
                    format!("{lambda:.1}"),
                    estimate(&stage.recall),
                    format!("{:.4}", stage.coverage),
                    stage.similarity.map_or_else(String::new, |similarity| format!("{similarity:.4}")),
                    format!("{:.2}", stage.novelty),
                ]
            }));
        }
        Ok(table)
    }

    fn sequence_channel(
        &self,
        what: &str,
        values: [usize; 4],
        with: impl Fn(SasrecConfig, usize) -> SasrecConfig,
    ) -> Result<Table> {
        let mut table = self.of_recalls("The sequence channel, SASRec", what);
        for value in values {
            let config = with(sasrec::config(&self.bench.data), value);
            self.push_recalls(&mut table, value.to_string(), &fit_sasrec(self.bench, &config)?)?;
        }
        Ok(table)
    }

    fn attention(&self) -> Result<Table> {
        let mut table =
            Table::new("DIN as the only ranker behind recall, by its attention", ["attention", "recall@10"]);
        let Some((lessons, (_, as_it_is))) = self.lessons.as_ref().zip(self.rankers.last()) else {
            return Ok(table);
        };
        let mut push = |name: &str, ranker: &Arc<dyn Ranker>| -> Result<()> {
            let measured = Measured::new("din", ranker, &self.recalled, self.bench)?;
            table.push([name.to_owned(), estimate(&measured.stage().recall)]);
            Ok(())
        };
        push("as in the funnel: a sum, ReLU, positions", as_it_is)?;
        let din = lessons.din();
        for (name, config) in [
            ("softmax", DinConfig { weights: AttentionWeights::Softmax, ..din.clone() }),
            ("Dice", din.clone().with_dice()),
            ("no positions", DinConfig { positions: false, ..din }),
        ] {
            push(name, &lessons.fit(&config, LEARNING_RATE, self.bench)?)?;
        }
        Ok(table)
    }

    fn cold_and_hot(&self) -> Result<Table> {
        let mut table: Option<Table> = None;
        let mut push = |name: &str, funnel: &Funnel| {
            let header = funnel.segments.iter().map(|segment| {
                let [shortest, longest] = segment.history;
                format!("{}: {shortest} to {longest} films", segment.name)
            });
            let title = "Recall@10 by the length of histories";
            table
                .get_or_insert_with(|| Table::new(title, [String::new()].into_iter().chain(header)))
                .push([name.into()].into_iter().chain(funnel.segments.iter().map(|s| estimate(&s.recall))));
        };
        let alone = |channels: Vec<Channel>| -> Result<Funnel> {
            let pipeline = Pipeline::of(Fusion::new(self.fusion.method(), channels)?, N_SHOWN).build()?;
            measure(&pipeline, self.bench, self.channels)
        };
        for channel in &self.channels.all {
            push(&channel.config().name, &alone(vec![channel.clone()])?);
        }
        push("fusion", &alone(self.fusion.channels().to_vec())?);
        push("funnel", &measure(&self.pipeline, self.bench, self.channels)?);
        Ok(table.unwrap_or_else(|| Table::new("", [""])))
    }
}
