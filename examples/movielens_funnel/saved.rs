//! A pipeline in a folder: written after everything is fitted, and asked without fitting anything.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use recsys::persistence::{PipelineBundle, Registry};
use recsys::prelude::*;

use crate::bench::Bench;
use crate::common::run;
use crate::rankers::{self, Lessons};

/// Writes the pipeline with the keys of users and films, and what makes the rows of its rankers.
pub fn save(folder: &Path, pipeline: &Pipeline, lessons: Option<&Lessons>, bench: &Bench) -> Result<()> {
    let (users, items) = (bench.data.dataset.users().clone(), bench.data.dataset.items().clone());
    let mut bundle = PipelineBundle::new(pipeline.clone(), users, items);
    if let Some(lessons) = lessons {
        for stage in rankers::STAGES {
            bundle = bundle.with_features(stage, lessons.features().clone());
        }
    }
    bundle.save(folder, &Registry::default())?;
    println!("Saved the pipeline to {}.\n", folder.display());
    Ok(())
}

/// Opens a pipeline of the same users and films.
pub fn load(folder: &Path, bench: &Bench) -> std::result::Result<Pipeline, Box<dyn Error>> {
    let start = Instant::now();
    let PipelineBundle { pipeline, users, items, .. } =
        PipelineBundle::load(folder, &Registry::default(), &bench.device)?;
    println!("Loaded the pipeline from {} in {:.3} s.", folder.display(), start.elapsed().as_secs_f64());
    let dataset = &bench.data.dataset;
    if (&users, &items) != (dataset.users(), dataset.items()) {
        return Err(format!("{} holds a pipeline of another data set", folder.display()).into());
    }
    Ok(pipeline)
}

/// Answers a user from a saved pipeline.
pub fn answer(folder: &Path, user: UserId, bench: &Bench) -> std::result::Result<(), Box<dyn Error>> {
    let pipeline = load(folder, bench)?;
    let Some(held_out) = bench.test.users().iter().find(|held_out| held_out.user == user) else {
        return Err("nothing of this user is held out".into());
    };
    let answer = pipeline.recommend(&held_out.query())?;
    println!("Recommended to user {}:", run::key(&bench.data, user));
    for candidate in &answer.items {
        println!("  {}: {:.4}", run::title(&bench.data, candidate.item), candidate.score);
    }
    for stage in &answer.stages {
        println!("{}: {} kept in {:.2} ms", stage.name, stage.n_kept, 1_000.0 * stage.time.as_secs_f64());
    }
    bench.time_requests(&pipeline)?;
    Ok(())
}
