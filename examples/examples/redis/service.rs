//! What a service writes to use the cache over Redis: reads go through it, writes invalidate it.

use std::{sync::Arc, time::Duration};

use cache_core::{Cache, Engine, Invalidation};
use cache_redis::Redis;

use crate::{
    BoxError,
    database::{Database, User},
};

/// A service that keeps a cache before its database.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) engine: Engine,
    pub(crate) users: Cache<i64, User>,
    pub(crate) db: Arc<Database>,
}

impl Service {
    /// Once, when the service starts.
    pub(crate) fn new(redis: Redis, prefix: &str, db: Database) -> Result<Self, BoxError> {
        let engine = Engine::builder(redis).build()?;
        let users = engine
            .cache("user")
            .prefix(prefix)
            .ttl(Duration::from_secs(60))
            .build()?;
        Ok(Self {
            engine,
            users,
            db: Arc::new(db),
        })
    }

    /// Read-through: the query runs only if the cache does not know the answer.
    pub(crate) async fn find_user(&self, id: i64) -> Result<Option<Arc<User>>, cache_core::Error> {
        let db = Arc::clone(&self.db);
        self.users
            .get_or_load(&id, async move || db.find_user(id).await)
            .await
    }

    /// Cache-aside: the database first, then the cache; the next read loads the new row, in
    /// whatever process.
    pub(crate) async fn rename_user(
        &self,
        id: i64,
        name: &str,
    ) -> Result<Invalidation, sqlx::Error> {
        self.db.rename_user(id, name).await?;
        Ok(self.users.invalidate(&id).await)
    }
}
