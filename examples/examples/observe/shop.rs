//! The service: reads go through a cache, writes invalidate it.

use std::{sync::Arc, time::Duration};

use cache_core::{Cache, Engine};

use crate::{
    BoxError,
    database::{Database, Product, QueryFailed, User},
};

/// What the page says about each cache, by its name.
pub(crate) const ABOUT: [(&str, &str); 3] = [
    ("user", "Rows by id, kept for 30 s. Some ids are nobody's."),
    ("product", "Rows by id, kept for 20 s. Prices change often."),
    ("search", "Lists by word, kept for 5 s. Queries are slow."),
];

/// A shop with three caches before its database.
#[derive(Debug)]
pub(crate) struct Shop {
    users: Cache<u32, User>,
    products: Cache<u32, Product>,
    searches: Cache<str, Vec<u32>>,
    db: Arc<Database>,
}

impl Shop {
    pub(crate) fn open(engine: &Engine, db: Database) -> Result<Self, BoxError> {
        let secs = Duration::from_secs;
        let user = engine.cache("user").ttl(secs(30)).negative_ttl(secs(10));
        Ok(Self {
            users: user.build()?,
            products: engine.cache("product").ttl(secs(20)).build()?,
            searches: engine.cache("search").ttl(secs(5)).build()?,
            db: Arc::new(db),
        })
    }

    pub(crate) async fn find_user(&self, id: u32) -> Result<Option<Arc<User>>, cache_core::Error> {
        let db = Arc::clone(&self.db);
        let load = async move || db.find_user(id).await;
        self.users.get_or_load(&id, load).await
    }

    pub(crate) async fn rename_user(&self, id: u32, name: String) -> Result<(), QueryFailed> {
        self.db.rename_user(id, name).await?;
        // Done or queued: this process does not read the old row again in either case.
        self.users.invalidate(&id).await;
        Ok(())
    }

    pub(crate) async fn find_product(
        &self,
        id: u32,
    ) -> Result<Option<Arc<Product>>, cache_core::Error> {
        let db = Arc::clone(&self.db);
        let load = async move || db.find_product(id).await;
        self.products.get_or_load(&id, load).await
    }

    pub(crate) async fn reprice_product(&self, id: u32, cents: u32) -> Result<(), QueryFailed> {
        self.db.reprice_product(id, cents).await?;
        self.products.invalidate(&id).await;
        Ok(())
    }

    pub(crate) async fn search(
        &self,
        word: &str,
    ) -> Result<Option<Arc<Vec<u32>>>, cache_core::Error> {
        let db = Arc::clone(&self.db);
        let asked = word.to_owned();
        let load = async move || db.search(&asked).await;
        self.searches.get_or_load(word, load).await
    }

    /// Makes a word cold again.
    pub(crate) async fn forget(&self, word: &str) {
        self.searches.invalidate(word).await;
    }
}
