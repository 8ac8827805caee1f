use std::fmt;
use std::time::Instant;

use crate::error::Result;
use crate::ids::ItemId;
use crate::pipeline::pipeline::RECALL;
use crate::pipeline::{Answer, Candidate, ChannelScore, Pipeline, Query, Recaller};

/// A request with the whole order of every stage.
#[derive(Debug)]
pub struct Trace {
    /// What every stage saw, recall first.
    pub orders: Vec<StageOrder>,
    /// The answer.
    pub answer: Answer,
}

/// The order that one stage made.
#[derive(Clone, Debug, PartialEq)]
pub struct StageOrder {
    /// The name of the stage.
    pub name: String,
    /// All candidates, best first.
    pub order: Vec<Candidate>,
    /// How many of them went on.
    pub n_kept: usize,
}

/// Where an item stood in the order of a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Its place, from 1.
    pub rank: usize,
    /// Its score after the stage.
    pub score: f32,
    /// Whether it went on.
    pub is_kept: bool,
}

impl StageOrder {
    /// Where an item stands; `None` where it did not reach the stage, or the stage left it out.
    pub fn place(&self, item: ItemId) -> Option<Place> {
        let at = self.order.iter().position(|candidate| candidate.item == item)?;
        Some(Place { rank: at + 1, score: self.order[at].score, is_kept: at < self.n_kept })
    }
}

/// Why the answer to a request is what it is: each item's channels, and its place and score at every stage. As text it is a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The names of the stages, recall first.
    pub stages: Vec<String>,
    /// Every item that was recalled: first those shown, in their order, then those that came furthest.
    pub items: Vec<ExplainedItem>,
}

/// One item of an [`Explanation`].
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedItem {
    /// The item.
    pub item: ItemId,
    /// What the channels said of it.
    pub channels: Vec<ChannelScore>,
    /// Where it stood at each stage; `None` where it did not reach the stage, or the stage left it out.
    pub places: Vec<Option<Place>>,
}

/// Where in the funnel an item was lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The item.
    pub item: ItemId,
    /// The name of each channel, and the item's place in its answer, from 1.
    pub channels: Vec<(String, Option<usize>)>,
    /// The name of each stage, and where the item stood.
    pub stages: Vec<(String, Option<Place>)>,
    /// How it ended.
    pub fate: Fate,
}

/// How an item fared in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The query's own filter keeps it out.
    Excluded,
    /// No channel that is asked named it.
    NotNamed,
    /// It was lost at this stage: the stage left it out, or did not place it high enough.
    Lost {
        /// The stage.
        stage: String,
    },
    /// It is in the answer.
    Shown {
        /// Its place, from 1.
        rank: usize,
    },
}

impl Pipeline {
    /// Answers a request and keeps the order of every stage.
    ///
    /// # Errors
    /// As [`recommend`](Self::recommend).
    pub fn trace(&self, query: &Query<'_>) -> Result<Trace> {
        let start = Instant::now();
        let recalled = self.fusion.recall(query, self.n_recalled)?;
        let mut orders = Vec::new();
        let answer = self.narrow(query, recalled, start.elapsed(), |order| orders.push(order.to_vec()));
        let named = answer.stages.iter().zip(orders);
        let orders = named
            .map(|(stage, order)| StageOrder { name: stage.name.clone(), order, n_kept: stage.n_kept })
            .collect();
        Ok(Trace { orders, answer })
    }

    /// Shows each recalled item's channels, and its score and place at every stage.
    ///
    /// # Errors
    /// As [`recommend`](Self::recommend).
    pub fn explain(&self, query: &Query<'_>) -> Result<Explanation> {
        let Trace { orders, .. } = self.trace(query)?;
        let explained = |candidate: &Candidate| ExplainedItem {
            item: candidate.item,
            channels: candidate.channels.to_vec(),
            places: orders.iter().map(|order| order.place(candidate.item)).collect(),
        };
        let mut items: Vec<ExplainedItem> = orders[0].order.iter().map(explained).collect();
        items.sort_by_key(ExplainedItem::standing);
        Ok(Explanation { stages: orders.into_iter().map(|order| order.name).collect(), items })
    }

    /// Tells where in the funnel an item was lost: one that the user is known to have chosen, for example.
    ///
    /// # Errors
    /// As [`recommend`](Self::recommend), and an item outside the catalogue.
    pub fn inspect(&self, query: &Query<'_>, item: ItemId) -> Result<Inspection> {
        // Recallers refuse what is outside the catalogue.
        self.fusion.channels()[0].recaller().recall(&Query::default().excluding([item]), 1)?;
        let Trace { orders, answer } = self.trace(query)?;
        let place =
            |list: &[Candidate]| list.iter().position(|candidate| candidate.item == item).map(|at| at + 1);
        let channels = self.fusion.channels().iter();
        let channels: Vec<(String, Option<usize>)> = channels
            .map(|channel| Ok((channel.config().name.clone(), place(&channel.recall(query)?))))
            .collect::<Result<_>>()?;
        let stages: Vec<(String, Option<Place>)> =
            orders.iter().map(|order| (order.name.clone(), order.place(item))).collect();
        let lost = stages.iter().find(|(_, place)| place.is_none_or(|place| !place.is_kept));
        let fate = match (place(&answer.items), lost) {
            (Some(rank), _) => Fate::Shown { rank },
            _ if !query.filter().admits(item) => Fate::Excluded,
            (None, Some((stage, None)))
                if stage == RECALL && channels.iter().all(|(_, rank)| rank.is_none()) =>
            {
                Fate::NotNamed
            }
            (None, lost) => {
                Fate::Lost { stage: lost.map_or_else(|| RECALL.into(), |(stage, _)| stage.clone()) }
            }
        };
        Ok(Inspection { item, channels, stages, fate })
    }
}

impl ExplainedItem {
    /// Sorts by the last stage reached, then by the place there.
    fn standing(&self) -> (std::cmp::Reverse<usize>, usize) {
        let kept = self.places.iter().take_while(|place| place.is_some_and(|place| place.is_kept)).count();
        let last = self.places.iter().flatten().last().map_or(usize::MAX, |place| place.rank);
        (std::cmp::Reverse(kept), last)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8}", "item")?;
        self.stages.iter().try_for_each(|stage| write!(f, "  {stage:>20}"))?;
        writeln!(f, "  channels")?;
        for ExplainedItem { item, channels, places } in &self.items {
            write!(f, "{:>8}", item.0)?;
            for place in places {
                let text = place.map_or_else(
                    || "–".into(),
                    |Place { rank, score, is_kept }| {
                        format!("{}{rank} ({score:.4})", if is_kept { "" } else { "↓ " })
                    },
                );
                write!(f, "  {text:>20}")?;
            }
            let told: Vec<String> =
                channels.iter().map(|told| format!("{} {:.4}", told.channel, told.score)).collect();
            writeln!(f, "  {}", told.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "item {}: {}", self.item, self.fate)?;
        let text =
            |rank: Option<usize>| rank.map_or_else(|| "not named".into(), |rank| format!("place {rank}"));
        for (channel, rank) in &self.channels {
            writeln!(f, "  channel {channel}: {}", text(*rank))?;
        }
        for (stage, place) in &self.stages {
            match place {
                Some(Place { rank, score, is_kept }) => {
                    let end = if *is_kept { "" } else { ", not kept" };
                    writeln!(f, "  {stage}: place {rank}, score {score:.4}{end}")?;
                }
                None => writeln!(f, "  {stage}: not there")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Excluded => write!(f, "kept out by the query's filter"),
            Self::NotNamed => write!(f, "named by no channel"),
            Self::Lost { stage } => write!(f, "lost at {stage}"),
            Self::Shown { rank } => write!(f, "shown at place {rank}"),
        }
    }
}
