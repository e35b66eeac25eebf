//! Object storage: opened, spoken to, and its errors in words. A vault stands in one, and so does what is saved from one or
//! restored into it.

mod connect;
mod credentials;
mod explain;
mod objects;
mod s3;
mod upload;

pub use self::connect::{Opened, StoreSettings, connect};
pub use self::explain::{Place, begins_behind_the_end, is_missing_bucket, is_unanswered, is_unknown_version};
pub use self::objects::{Listing, Object, Objects, Unreadable};
pub use self::s3::{ListedKey, Removed, S3, Version};
pub use self::upload::{LargeUpload, Put};
