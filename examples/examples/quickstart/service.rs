//! What a service writes to use the cache: reads go through it, writes invalidate it.

use std::sync::Arc;

use cache_core::{Cache, Invalidation};

use crate::database::{Database, User};

/// A service that keeps a cache before its database.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) users: Cache<i64, User>,
    pub(crate) db: Arc<Database>,
}

impl Service {
    /// Read-through: the query runs only if the cache does not know the answer.
    pub(crate) async fn find_user(&self, id: i64) -> Result<Option<Arc<User>>, cache_core::Error> {
        let db = Arc::clone(&self.db);
        self.users
            .get_or_load(&id, async move || db.find_user(id).await)
            .await
    }

    /// Cache-aside: the database first, then the cache; the next read loads the new row.
    pub(crate) async fn rename_user(
        &self,
        id: i64,
        name: &str,
    ) -> Result<Invalidation, sqlx::Error> {
        self.db.rename_user(id, name).await?;
        Ok(self.users.invalidate(&id).await)
    }
}
