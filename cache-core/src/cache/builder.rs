//! Builds a cache.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use super::{
    handle::Cache,
    values::{Values, Weigher},
};
use crate::{
    BuildError, Engine, Form, InvalidTtl, Jitter, Policy, Ttl, codec::Codec, flight::CacheId,
    observer::Observer,
};

const DEFAULT_NEGATIVE_TTL: Duration = Duration::from_secs(60);

/// Builds a [`Cache`]; made by [`Engine::cache`].
///
/// Setters only record; [`build`](Self::build) checks everything. The defaults are in the table of
/// [`EngineBuilder`](crate::EngineBuilder).
#[must_use = "a builder does nothing until `build` is called"]
pub struct CacheBuilder<K: ?Sized, V, C> {
    engine: Engine,
    name: String,
    prefix: Option<String>,
    ttl: Option<Duration>,
    negative: Negative,
    jitter: f64,
    codec: C,
    weigher: Option<Weigher<V>>,
    key: PhantomData<fn(&K)>,
}

/// For how long "there is no such thing" is remembered.
#[derive(Clone, Copy, Debug)]
enum Negative {
    Default,
    For(Duration),
    Never,
}

impl<K: ?Sized, V, C: Default> CacheBuilder<K, V, C> {
    pub(crate) fn new(engine: Engine, name: &str) -> Self {
        Self {
            engine,
            name: name.to_owned(),
            prefix: None,
            ttl: None,
            negative: Negative::Default,
            jitter: 0.10,
            codec: C::default(),
            weigher: None,
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, V, C> CacheBuilder<K, V, C> {
    /// Sets how long values live. It must be given.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets for how long "there is no such thing" is remembered. Default: 60 seconds, or
    /// the engine's longest TTL if that is shorter.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative = Negative::For(ttl);
        self
    }

    /// Does not remember that there is no such thing: each call asks the loader again.
    pub fn no_negative(mut self) -> Self {
        self.negative = Negative::Never;
        self
    }

    /// Sets the fraction by which each TTL is lengthened or shortened at random, from 0.0 to 0.5.
    /// Default: 0.10, so that an hour becomes 54 to 66 minutes.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = fraction;
        self
    }

    /// Sets what the keys of this cache begin with. Default: its name and `:`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets how values become bytes. Default: [`Json`](crate::codec::Json).
    pub fn codec<D: Codec<V>>(self, codec: D) -> CacheBuilder<K, V, D> {
        CacheBuilder {
            engine: self.engine,
            name: self.name,
            prefix: self.prefix,
            ttl: self.ttl,
            negative: self.negative,
            jitter: self.jitter,
            codec,
            weigher: self.weigher,
            key: PhantomData,
        }
    }

    /// Sets how many bytes a value weighs, for a backend that is limited by bytes. Default: its
    /// encoded length, which costs an encoding per load.
    pub fn weigher(mut self, weigher: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Checks the settings and builds the cache.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with the name of the setting and the remedy.
    pub fn build(self) -> Result<Cache<K, V>, BuildError>
    where
        V: Send + Sync + 'static,
        C: Codec<V>,
    {
        let Self {
            engine,
            name,
            prefix,
            ttl,
            negative,
            jitter,
            codec,
            weigher,
            key: _,
        } = self;
        let inner = &engine.inner;
        let config = &inner.core.config;
        let in_range = |setting, ttl| {
            Ttl::new(ttl, config.longest_ttl)
                .map_err(|source: InvalidTtl| BuildError::Ttl { setting, source })
        };
        let ttl = in_range("ttl", ttl.ok_or(BuildError::NoTtl)?)?;
        let negative_ttl = match negative {
            Negative::Default => Some(Ttl::clamp(DEFAULT_NEGATIVE_TTL, config.longest_ttl)),
            Negative::For(ttl) => Some(in_range("negative_ttl", ttl)?),
            Negative::Never => None,
        };
        let jitter = Jitter::new(jitter).map_err(BuildError::Jitter)?;
        let form = inner.core.backend.form();
        let backend = inner.core.backend.name();
        match form {
            Form::Encoded if !C::ENCODES => return Err(BuildError::InProcessCodec { backend }),
            Form::WeighedObject if !C::ENCODES && weigher.is_none() => {
                return Err(BuildError::NoWeigher { backend });
            }
            Form::Object | Form::WeighedObject | Form::Encoded => {}
        }
        if name.is_empty() {
            return Err(BuildError::EmptyName);
        }
        let prefix = prefix.unwrap_or_else(|| format!("{name}:"));
        if prefix.len() >= config.max_key_len {
            return Err(BuildError::PrefixTooLong {
                length: prefix.len(),
                limit: config.max_key_len,
            });
        }
        let claimed = inner.names.claim(&name, &prefix)?;
        let observer = inner
            .recorder
            .as_ref()
            .map_or(Observer::Nobody, |recorder| {
                Observer::Cache(recorder.cache(&name))
            });
        let values = Values {
            id: CacheId(inner.core.next_id()),
            name: claimed,
            form,
            coding: Box::new(codec),
            weigher,
            policy: Policy {
                ttl,
                negative_ttl,
                jitter,
                longest_ttl: config.longest_ttl,
                whole_seconds: config.compat,
            },
            observer,
        };
        Ok(Cache::new(engine.clone(), Arc::new(values)))
    }
}

impl<K: ?Sized, V, C> fmt::Debug for CacheBuilder<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("ttl", &self.ttl)
            .field("negative", &self.negative)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}
