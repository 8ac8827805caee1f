use burn::tensor::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::features::FeatureSpace;
use crate::persistence::{Bundle, BundleWriter, Registry};
use crate::pipeline::Recaller;

const VALUE: &str = "value.cbor";

/// What can be saved as a part of a [`PipelineBundle`](crate::persistence::PipelineBundle), in a folder of its own.
///
/// Whatever serde writes and reads is a part as it is, and stands in one file; check what is read with
/// `#[serde(try_from = …)]`. Parts that hold weights, an index or other recallers say what files they have.
pub trait Part {
    /// Writes everything that [`read`](Self::read) needs.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn write(&self, writer: &PartWriter<'_>) -> Result<()>;

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// A file that is missing or does not hold such a part.
    fn read(reader: &PartReader<'_>) -> Result<Self>
    where
        Self: Sized;

    /// What the rows hold that it scores; nothing for what takes no rows of fields.
    fn row_space(&self) -> Option<&FeatureSpace> {
        None
    }

    /// The recallers within, each with its name; they are saved with the part by [`PartWriter::write_recaller`].
    fn inner(&self) -> Vec<(&str, &dyn Recaller)> {
        Vec::new()
    }
}

impl<T: Serialize + DeserializeOwned> Part for T {
    fn write(&self, writer: &PartWriter<'_>) -> Result<()> {
        writer.files().write_cbor(VALUE, self)
    }

    fn read(reader: &PartReader<'_>) -> Result<Self> {
        reader.files().read_cbor(VALUE)
    }
}

/// Where a [`Part`] is written.
#[derive(Debug)]
pub struct PartWriter<'a> {
    files: BundleWriter,
    registry: &'a Registry,
}

impl<'a> PartWriter<'a> {
    pub(super) fn new(files: BundleWriter, registry: &'a Registry) -> Self {
        Self { files, registry }
    }

    /// The part's folder.
    pub fn files(&self) -> &BundleWriter {
        &self.files
    }

    /// A folder for a part of the part.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn within(&self, folder: &str) -> Result<Self> {
        Ok(Self { files: self.files.within(folder)?, registry: self.registry })
    }

    /// Writes a recaller of any registered type into a folder of its own.
    ///
    /// # Errors
    /// A type that the registry does not know, or a file that cannot be written.
    pub fn write_recaller(&self, folder: &str, recaller: &dyn Recaller) -> Result<()> {
        self.registry.recallers().write(folder, recaller, self)
    }

    pub(super) fn registry(&self) -> &'a Registry {
        self.registry
    }
}

/// Where a [`Part`] is read.
#[derive(Debug)]
pub struct PartReader<'a> {
    files: Bundle,
    registry: &'a Registry,
    device: &'a Device,
}

impl<'a> PartReader<'a> {
    pub(super) fn new(files: Bundle, registry: &'a Registry, device: &'a Device) -> Self {
        Self { files, registry, device }
    }

    /// The part's folder.
    pub fn files(&self) -> &Bundle {
        &self.files
    }

    /// Where weights belong.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// The folder of a part of the part.
    pub fn within(&self, folder: &str) -> Self {
        Self { files: self.files.within(folder), registry: self.registry, device: self.device }
    }

    /// Reads a recaller that [`PartWriter::write_recaller`] wrote.
    ///
    /// # Errors
    /// A kind that the registry does not know, or a file that is missing or damaged.
    pub fn read_recaller(&self, folder: &str) -> Result<Box<dyn Recaller>> {
        self.registry.recallers().read(folder, self)
    }

    pub(super) fn registry(&self) -> &'a Registry {
        self.registry
    }
}
