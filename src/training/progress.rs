use indicatif::{ProgressBar, ProgressStyle};

/// A bar of the current epoch's steps on standard error, invisible where that is not a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    n_epochs: usize,
}

impl Progress {
    pub(super) fn new(visible: bool, n_epochs: usize, n_batches: usize) -> Self {
        let bar = if visible { ProgressBar::new(n_batches as u64) } else { ProgressBar::hidden() };
        let template = "{prefix} {bar:32} {pos}/{len} steps, {per_sec}, loss {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        Self { bar, n_epochs }
    }

    /// Begins an epoch, counted from 1, of which some steps may have been done before.
    pub(super) fn begin_epoch(&self, epoch: usize, steps_done: u64) {
        self.bar.set_prefix(format!("epoch {epoch}/{}", self.n_epochs));
        self.bar.set_message("-");
        self.bar.set_position(steps_done);
        self.bar.reset_eta();
    }

    pub(super) fn step(&self) {
        self.bar.inc(1);
    }

    pub(super) fn set_loss(&self, loss: f64) {
        self.bar.set_message(format!("{loss:.5}"));
    }

    /// Prints a line above the bar.
    pub(super) fn print(&self, line: impl AsRef<str>) {
        self.bar.println(line);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
