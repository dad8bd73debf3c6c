//! The database: rows in memory, and queries that are as slow and as unreliable as real ones.

use std::{fmt, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::scene::{Scene, Schedule};

pub(crate) const USERS: u32 = 2_000;
pub(crate) const PRODUCTS: u32 = 500;
/// How many words products are searched by.
pub(crate) const WORDS: u32 = 200;

/// What takes long to search for, since everybody asks for it at once.
pub(crate) const SALE: &str = "sale";

/// One row.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) name: String,
}

/// Another.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Product {
    pub(crate) id: u32,
    pub(crate) cents: u32,
}

/// All rows, numbered from 0.
#[derive(Debug)]
pub(crate) struct Database {
    schedule: Schedule,
    users: Mutex<Vec<User>>,
    products: Mutex<Vec<Product>>,
}

impl Database {
    pub(crate) fn new(schedule: Schedule) -> Self {
        let user = |id| User {
            id,
            name: format!("user number {id}"),
        };
        let product = |id| Product {
            id,
            cents: 100 + id,
        };
        Self {
            schedule,
            users: Mutex::new((0..USERS).map(user).collect()),
            products: Mutex::new((0..PRODUCTS).map(product).collect()),
        }
    }

    pub(crate) async fn find_user(&self, id: u32) -> Result<Option<User>, QueryFailed> {
        self.query(Duration::from_millis(4)).await?;
        Ok(self.users.lock().get(place(id)).cloned())
    }

    pub(crate) async fn rename_user(&self, id: u32, name: String) -> Result<(), QueryFailed> {
        self.query(Duration::from_millis(4)).await?;
        if let Some(user) = self.users.lock().get_mut(place(id)) {
            user.name = name;
        }
        Ok(())
    }

    pub(crate) async fn find_product(&self, id: u32) -> Result<Option<Product>, QueryFailed> {
        self.query(Duration::from_millis(15)).await?;
        Ok(self.products.lock().get(place(id)).cloned())
    }

    pub(crate) async fn reprice_product(&self, id: u32, cents: u32) -> Result<(), QueryFailed> {
        self.query(Duration::from_millis(15)).await?;
        if let Some(product) = self.products.lock().get_mut(place(id)) {
            product.cents = cents;
        }
        Ok(())
    }

    /// The numbers of the products that a word is found in.
    pub(crate) async fn search(&self, word: &str) -> Result<Vec<u32>, QueryFailed> {
        let usual = if word == SALE { 500 } else { 60 };
        self.query(Duration::from_millis(usual)).await?;
        let letters = word.len();
        let products = self.products.lock();
        let found = products.iter().filter(|it| place(it.id) % 40 == letters);
        Ok(found.map(|product| product.id).collect())
    }

    /// Takes half of `usual` at least, about as long most of the time, and much longer now and then.
    async fn query(&self, usual: Duration) -> Result<(), QueryFailed> {
        let luck = -(1.0 - fastrand::f64()).ln();
        let fails = if self.schedule.scene() == Scene::DatabaseFails {
            // It fails as databases do: after a while.
            sleep(Duration::from_millis(fastrand::u64(50..250))).await;
            0.7
        } else {
            0.003
        };
        sleep(usual.mul_f64(0.5 + luck / 2.0)).await;
        if fastrand::f64() < fails {
            Err(QueryFailed)
        } else {
            Ok(())
        }
    }
}

/// Where in its table a row is; an id that is too large for this machine is no row's.
fn place(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// A query was not answered.
#[derive(Debug)]
pub(crate) struct QueryFailed;

impl fmt::Display for QueryFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database did not answer the query")
    }
}

impl std::error::Error for QueryFailed {}
