//! The database: users in a SQLite file that all processes open, and a count of the queries of this
//! one.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

/// One row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
}

/// A SQLite file.
#[derive(Debug)]
pub(crate) struct Database {
    pool: SqlitePool,
    queries: AtomicU64,
}

/// Makes a database with users numbered from 1.
pub(crate) async fn create(file: &Path, users: i64) -> Result<(), sqlx::Error> {
    let database = Database::open(file).await?;
    sqlx::query("CREATE TABLE user (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        .execute(&database.pool)
        .await?;
    let mut transaction = database.pool.begin().await?;
    for id in 1..=users {
        sqlx::query("INSERT INTO user (id, name) VALUES (?, ?)")
            .bind(id)
            .bind(format!("user number {id}"))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    database.pool.close().await;
    Ok(())
}

impl Database {
    pub(crate) async fn open(file: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        Ok(Self {
            pool: SqlitePool::connect_with(options).await?,
            queries: AtomicU64::new(0),
        })
    }

    /// How many queries this process has sent.
    pub(crate) fn queries(&self) -> u64 {
        self.queries.load(Ordering::SeqCst)
    }

    pub(crate) async fn find_user(&self, id: i64) -> Result<Option<User>, sqlx::Error> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        let row: Option<(i64, String)> = sqlx::query_as("SELECT id, name FROM user WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(id, name)| User { id, name }))
    }

    /// A query that takes its time, as on a database that is busy or far away.
    pub(crate) async fn find_user_slowly(&self, id: i64) -> Result<Option<User>, sqlx::Error> {
        let user = self.find_user(id).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        user
    }

    pub(crate) async fn rename_user(&self, id: i64, name: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE user SET name = ? WHERE id = ?")
            .bind(name)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
