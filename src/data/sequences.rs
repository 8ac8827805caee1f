use crate::ids::{ItemId, UserId};
/// tmp
#[derive(Debug)]
pub struct Sequences { /// t
    pub n_items: usize, /// t
    pub rows: Vec<Vec<ItemId>> }
impl Sequences {
    /// t
    pub fn n_users(&self) -> usize { self.rows.len() }
    /// t
    pub fn n_items(&self) -> usize { self.n_items }
    /// t
    pub fn items(&self, u: UserId) -> &[ItemId] { &self.rows[u.index()] }
}
