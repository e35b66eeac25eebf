//! How the library reports progress without knowing whether a terminal, a log or nobody is looking.

/// Receives what is going on. Implementations must be cheap: `advance` is called once per page or object.
pub trait Progress: Send + Sync {
    /// A task begins; `items` is its size where it is known.
    fn begin(&self, task: &str, items: Option<u64>);
    /// A task got further by so many items and bytes.
    fn advance(&self, task: &str, items: u64, bytes: u64);
    /// A task ended; `outcome` is a few words ("31,034 objects, 4 problems").
    fn end(&self, task: &str, outcome: &str);
    /// One line that a person should see, whatever else is on the screen.
    fn say(&self, line: &str);
}

/// Reports to nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: &str, _: u64, _: u64) {}
    fn end(&self, _: &str, _: &str) {}
    fn say(&self, _: &str) {}
}
