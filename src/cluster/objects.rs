//! Reading and writing single objects.

use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::{ApiError, Call, Cluster};

/// The field manager under which objects are written.
pub const FIELD_MANAGER: &str = "ckbackup";

/// One write may wait for admission webhooks, which may take 30 s each.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

impl Cluster {
    /// Creates an object in a collection.
    pub async fn create(&self, collection: &str, object: Bytes) -> Result<Bytes, ApiError> {
        let path = format!("{collection}?fieldManager={FIELD_MANAGER}");
        self.write(Method::POST, &path, "application/json", object).await
    }

    /// Whether an object could be created, with every field that it has; nothing is stored.
    pub async fn rehearse(&self, collection: &str, object: Bytes) -> Result<Bytes, ApiError> {
        let path = format!("{collection}?fieldManager={FIELD_MANAGER}&dryRun=All&fieldValidation=Strict");
        self.write(Method::POST, &path, "application/json", object).await
    }

    /// Server-side apply of an object, taking over fields that others own.
    pub async fn apply(&self, object_path: &str, object: Bytes) -> Result<Bytes, ApiError> {
        let path = format!("{object_path}?fieldManager={FIELD_MANAGER}&force=true");
        self.write(Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// Merges a patch into an object or subresource.
    pub async fn merge(&self, object_path: &str, patch: Bytes) -> Result<Bytes, ApiError> {
        let path = format!("{object_path}?fieldManager={FIELD_MANAGER}");
        self.write(Method::PATCH, &path, "application/merge-patch+json", patch).await
    }

    /// Replaces an object or subresource.
    pub async fn replace(&self, object_path: &str, object: Bytes) -> Result<Bytes, ApiError> {
        let path = format!("{object_path}?fieldManager={FIELD_MANAGER}");
        self.write(Method::PUT, &path, "application/json", object).await
    }

    /// Deletes an object.
    pub async fn delete(&self, object_path: &str) -> Result<Bytes, ApiError> {
        self.send(Call { method: Method::DELETE, ..Call::get(object_path, WRITE_TIMEOUT) }).await
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        object: Bytes,
    ) -> Result<Bytes, ApiError> {
        let content = Some((content_type, object));
        self.send(Call { method, content, ..Call::get(path, WRITE_TIMEOUT) }).await
    }
}
