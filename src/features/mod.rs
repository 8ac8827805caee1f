//! What do we know? What is known of items beside their ids, categories and vectors of any origin; statistics of
//! users and items as of each moment; and rows of many fields as rankers take them.

mod aggregate_features;
mod candidate_rows;
mod channel_features;
mod delimited_tables;
mod encoded_rows;
mod feature_encoder;
mod feature_space;
mod feature_store;
mod field_encoder;
mod history_events;
mod id_encoder;
mod item_columns;
mod item_features;
mod item_vectors;
mod json_tables;
mod keyed_rows;
mod libfm;
mod moments;
mod npy;
mod numeric_encoder;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parquet_tables;
mod running_statistics;
#[cfg(feature = "safetensors")]
mod safetensors;
mod schema;
mod source_column;
mod table;
mod text_encoder;
mod text_tables;
mod text_terms;
mod unseen_share;
mod user_columns;

pub use aggregate_features::{AggregateConfig, AggregateFeatures};
pub use candidate_rows::CandidateRows;
pub use channel_features::ChannelFeatures;
pub use delimited_tables::DelimitedTables;
pub use encoded_rows::{EncodedRow, EncodedRows};
pub use feature_encoder::FeatureEncoder;
pub use feature_space::FeatureSpace;
pub use feature_store::FeatureStore;
pub use id_encoder::hash_collision_rate;
pub use item_columns::ItemColumns;
pub use item_features::ItemFeatures;
pub use item_vectors::ItemVectors;
pub use json_tables::JsonTables;
pub use keyed_rows::Known;
pub use libfm::Libfm;
#[cfg(feature = "parquet")]
pub use parquet::MissingItems;
#[cfg(feature = "parquet")]
pub use parquet_tables::{ParquetTables, table_from_record_batch};
pub use schema::{Field, FieldKind, Ids, Label, Numeric, Pooling, Schema, Unseen};
pub use table::{Column, Table};
pub use text_encoder::{TextEncoder, TextEncoderConfig, item_texts};
pub use text_tables::TextTables;
pub use unseen_share::UnseenShare;
pub use user_columns::UserColumns;
