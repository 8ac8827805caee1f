//! What every part of a run needs: the options, the data and the questions.

use std::error::Error;

use recsys::metrics::{Evaluation, Experiment, HeldOut};
use recsys::prelude::*;
use serde_json::{Value, json};

use crate::Args;
use crate::common::{Prepared, Protocol, run};

pub struct Bench {
    pub args: Args,
    pub device: Device,
    pub data: Prepared,
    /// Under p5, the questions that rankers learn from: each next film of the ranking fold, but for each user's last.
    pub learn: Option<HeldOut>,
    /// The questions that settings are chosen by; under p5 the last of each user in the ranking fold.
    pub tune: HeldOut,
    pub test: HeldOut,
}

impl Bench {
    pub fn new(args: Args) -> Result<Self, Box<dyn Error>> {
        let device = args.device.device()?;
        let data = args.data.prepare(None, args.seed)?;
        let (learn, tune) = match data.protocol {
            Protocol::P5 => {
                let (learn, tune) = HeldOut::next_items(&data.split)?.split_last();
                if learn.users().is_empty() {
                    return Err(
                        "the ranking fold: expected two rows of a user or more, found one of each".into()
                    );
                }
                (Some(learn), tune)
            }
            _ => (None, HeldOut::validation(&data.split)?),
        };
        let test = HeldOut::test(&data.split)?;
        Ok(Self { args, device, data, learn, tune, test })
    }

    /// The cut-off by which the best channel is chosen, to stand beside the fusion.
    pub fn last_cutoff(&self) -> usize {
        self.data.protocol.cutoffs().last().copied().unwrap_or(10)
    }

    /// Every metric of a recaller, with intervals.
    pub fn metrics(&self, model: &str, evaluation: &Evaluation) -> recsys::error::Result<Value> {
        let report = evaluation.report(Experiment {
            protocol: self.data.protocol.name().into(),
            dataset: self.data.facts.clone(),
            model: model.into(),
            loss: None,
            seed: self.args.seed,
        })?;
        Ok(json!(report)["metrics"].take())
    }

    /// How long requests take that are asked one at a time, in milliseconds: the median and the 99th percentile.
    pub fn time_requests(&self, pipeline: &Pipeline) -> recsys::error::Result<[f64; 2]> {
        let times = run::latency(&self.test, |query| pipeline.recommend(query).map(drop))?;
        let [p50, p99] = times.map(|time| 1_000.0 * time.as_secs_f64());
        println!("One request at a time, all stages: p50 {p50:.2} ms, p99 {p99:.2} ms.\n");
        Ok([p50, p99])
    }
}
