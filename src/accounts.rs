//! The operator's upstream accounts, those of the environment and those of the store: opened, and given to the pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::clock;
use crate::config::Config;
use crate::config::settings::{Secret, Secrets, Upstream};
use crate::error::Error;
use crate::seal::{Seal, Unopened};
use crate::store::accounting;
use crate::store::accounts::{self, StoredAccount};
use crate::store::announcements;
use crate::store::backend::AnyConnection;
use crate::store::connection::Store;
use crate::upstream::account::{Account, Kind, Mode, State};
use crate::upstream::pool::Pool;

/// Accounts at most, those of the environment among them: each is a label of the figures.
pub const MOST: i64 = 500;
/// What ids and names of the environment's accounts begin with.
pub const ENVIRONMENT: &str = "env-";
/// Where an account without an address is called, if its kind has a place of its own.
pub const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
/// Likewise.
pub const DASHSCOPE_BASE_URL: &str = "https://dashscope-intl.aliyuncs.com";
/// Its share, where nobody says otherwise.
pub const DEFAULT_WEIGHT: u32 = 1;
/// Between two looks at whether another instance has changed something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The accounts; cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Accounts {
    shared: Arc<Shared>,
}

struct Shared {
    /// Those that DASHSCOPE_API_KEY and ANTHROPIC_API_KEY make, as they are before anybody changes them.
    environment: Vec<Account>,
    seal: Option<Seal>,
    store: Store,
    pool: Pool,
    /// Held while the store is read, so that what was read first doesn't come last.
    loaded: Mutex<Loaded>,
}

/// What the pool was given.
struct Loaded {
    version: i64,
    accounts: Vec<Account>,
}

impl Accounts {
    /// Reads the accounts and gives them to the pool. Credentials that ENCRYPTION_KEY_PREVIOUS opens are sealed anew.
    /// Blocks; run it at start.
    ///
    /// # Errors
    /// `InvalidRequest`, a wrong setting, when a stored credential can't be opened: the message names each such
    /// account and what to do. `StorageUnavailable`.
    pub fn load(config: &Config, store: Store, pool: Pool) -> Result<Self, Error> {
        let (environment, seal) = (environment(&config.upstream), seal_of(&config.secrets)?);
        let (version, rows) = store.run_blocking(|connection| {
            accounting::transaction(connection, |connection| {
                accounting::lock_ledger(connection)?;
                enter(connection, &environment)?;
                seal.as_ref().map_or(Ok(()), |seal| seal_anew(connection, seal))
            })?;
            read(connection)
        })?;
        let faults = faults(seal.as_ref(), &rows);
        if !faults.is_empty() {
            return Err(Error::field("ENCRYPTION_KEY", faults.join("\n")));
        }
        let opened = rows.iter().filter_map(|row| open(&environment, seal.as_ref(), row).ok().flatten());
        let loaded = Loaded { version, accounts: opened.collect() };
        pool.replace(loaded.accounts.clone());
        Ok(Self { shared: Arc::new(Shared { environment, seal, store, pool, loaded: Mutex::new(loaded) }) })
    }

    /// Reads the accounts again: something changed. One that can't be opened here, as its credential was sealed with
    /// a key that only other instances have, stays as it was.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub async fn reload(&self) -> Result<(), Error> {
        let Shared { environment, seal, store, pool, loaded } = &*self.shared;
        let mut loaded = loaded.lock().await;
        let (version, rows) = store.run(read).await?;
        let known = |id: &str| loaded.accounts.iter().find(|account| account.id == id).cloned();
        let opened = rows.iter().filter_map(|row| {
            open(environment, seal.as_ref(), row).unwrap_or_else(|fault| {
                log::error!("{fault}");
                known(&row.id)
            })
        });
        *loaded = Loaded { version, accounts: opened.collect() };
        pool.replace(loaded.accounts.clone());
        Ok(())
    }

    /// Reads the accounts again after a change that was made here. If that fails, it is found soon.
    pub async fn changed(&self) {
        if let Err(error) = self.reload().await {
            log::warn!("a change of accounts takes effect later: {}", error.cause().unwrap_or_default());
        }
    }

    /// Keeps up with what other instances change, until it is dropped.
    pub async fn keep_up(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look().await {
                log::debug!("what other instances did to accounts is not known: {}", error.cause().unwrap_or_default());
            }
        }
    }

    async fn look(&self) -> Result<(), Error> {
        let version = self.shared.store.run(announcements::accounts_version).await?;
        if self.shared.loaded.lock().await.version == version {
            return Ok(());
        }
        self.reload().await
    }

    /// The account as the store has it now, with its credential; `None` where there is none, or it can't be opened.
    ///
    /// # Errors
    /// `StorageUnavailable`.
    pub async fn fresh(&self, id: &str) -> Result<Option<Account>, Error> {
        self.reload().await?;
        Ok(self.shared.loaded.lock().await.accounts.iter().find(|account| account.id == id).cloned())
    }

    /// The account that the environment makes under this id.
    #[must_use]
    pub fn of_environment(&self, id: &str) -> Option<&Account> {
        self.shared.environment.iter().find(|account| account.id == id)
    }

    /// Ids of the accounts that the environment makes.
    #[must_use]
    pub fn environment_ids(&self) -> Vec<String> {
        self.shared.environment.iter().map(|account| account.id.clone()).collect()
    }

    /// The credential of an account sealed with ENCRYPTION_KEY, where it is sealed with another one; `None` where
    /// there is nothing to do.
    ///
    /// # Errors
    /// Why it can't be, in a sentence that says what to do.
    pub fn seal_anew(&self, row: &StoredAccount) -> Result<Option<String>, String> {
        let seal = self.shared.seal.as_ref();
        let current = |sealed: &String| seal.is_some_and(|seal| seal.is_current(sealed));
        if row.sealed_credential.as_ref().is_none_or(current) {
            return Ok(None);
        }
        let opened = credential(seal, row)?;
        let sealed = opened.map(|opened| self.seal(&row.id, &opened)).transpose();
        sealed.map_err(|error| error.to_string())
    }

    /// A credential as the store may keep it.
    ///
    /// # Errors
    /// `Conflict` without ENCRYPTION_KEY.
    pub fn seal(&self, id: &str, credential: &Secret) -> Result<String, Error> {
        let Some(seal) = &self.shared.seal else {
            return Err(Error::Conflict(
                "credentials are kept sealed, and ENCRYPTION_KEY is not set: make one with `openssl rand -hex 16`, \
                 set it in the environment of every instance, and start again"
                    .to_owned(),
            ));
        };
        seal.seal(id, credential)
    }
}

/// The seal of the settings.
///
/// # Errors
/// `Internal` when no key can be made: a defect.
pub fn seal_of(secrets: &Secrets) -> Result<Option<Seal>, Error> {
    let previous = secrets.encryption_key_previous.as_ref();
    secrets.encryption_key.as_ref().map(|key| Seal::new(key, previous)).transpose()
}

/// What is wrong with the credentials of `rows`, a sentence each that says what to do.
#[must_use]
pub fn faults(seal: Option<&Seal>, rows: &[StoredAccount]) -> Vec<String> {
    rows.iter().filter_map(|row| credential(seal, row).err()).collect()
}

/// The accounts of the environment.
fn environment(settings: &Upstream) -> Vec<Account> {
    let anthropic_base_url = settings.anthropic_base_url.as_deref().unwrap_or(ANTHROPIC_BASE_URL);
    let keys = [
        (Kind::Dashscope, &settings.dashscope_api_key, settings.dashscope_http_base_url.as_str()),
        (Kind::Anthropic, &settings.anthropic_api_key, anthropic_base_url),
    ];
    let account = |(kind, key, base_url): (Kind, &Option<Secret>, &str)| {
        let id = format!("{ENVIRONMENT}{}", kind.word());
        Some(Account {
            name: id.clone(),
            id,
            kind,
            base_url: base_url.trim_end_matches('/').to_owned(),
            credential: key.clone()?,
            mode: Mode::default(),
            models: Vec::new(),
            weight: DEFAULT_WEIGHT,
            priority: 0,
            max_concurrency: None,
            state: State::default(),
        })
    };
    keys.into_iter().filter_map(account).collect()
}

/// Gives the environment's accounts rows, where what the operator changes about them is kept.
fn enter(connection: &mut AnyConnection, environment: &[Account]) -> Result<(), Error> {
    let now = clock::now();
    for account in environment {
        if accounts::find(connection, &account.id)?.is_some() {
            continue;
        }
        let row = StoredAccount {
            id: account.id.clone(),
            name: account.name.clone(),
            kind: account.kind.word().to_owned(),
            mode: account.mode.word().to_owned(),
            base_url: account.base_url.clone(),
            sealed_credential: None,
            models: account.models.clone(),
            weight: account.weight,
            priority: account.priority,
            max_concurrency: account.max_concurrency,
            state: account.state.word().to_owned(),
            created_at: now,
            updated_at: now,
        };
        accounts::insert(connection, &row)?;
    }
    Ok(())
}

/// So that ENCRYPTION_KEY_PREVIOUS can be given up.
fn seal_anew(connection: &mut AnyConnection, seal: &Seal) -> Result<(), Error> {
    let mut count = 0;
    for mut row in accounts::all(connection)? {
        let Some(sealed) = row.sealed_credential.as_deref().filter(|sealed| !seal.is_current(sealed)) else { continue };
        let Ok(credential) = seal.open(&row.id, sealed) else { continue };
        row.sealed_credential = Some(seal.seal(&row.id, &credential)?);
        accounts::write(connection, &row)?;
        count += 1;
    }
    if count > 0 {
        log::info!("sealed the credentials of {count} accounts anew with ENCRYPTION_KEY");
    }
    Ok(())
}

/// What is announced while the rows are read has another version.
fn read(connection: &mut AnyConnection) -> Result<(i64, Vec<StoredAccount>), Error> {
    Ok((announcements::accounts_version(connection)?, accounts::all(connection)?))
}

/// A row as an account; `None` for one that an earlier environment left.
fn open(environment: &[Account], seal: Option<&Seal>, row: &StoredAccount) -> Result<Option<Account>, String> {
    let own = environment.iter().find(|account| account.id == row.id);
    let (kind, base_url, credential) = match (credential(seal, row)?, own) {
        (Some(credential), _) => (Kind::read(&row.kind), row.base_url.clone(), credential),
        (None, Some(own)) => (Some(own.kind), own.base_url.clone(), own.credential.clone()),
        (None, None) => return Ok(None),
    };
    let (Some(kind), Some(mode), Some(state)) = (kind, Mode::read(&row.mode), State::read(&row.state)) else {
        return Err(format!("the account `{}` is of a later version of this program", row.name));
    };
    Ok(Some(Account {
        id: row.id.clone(),
        name: row.name.clone(),
        kind,
        base_url,
        credential,
        mode,
        models: row.models.clone(),
        weight: row.weight,
        priority: row.priority,
        max_concurrency: row.max_concurrency,
        state,
    }))
}

/// The credential of a row that has one.
fn credential(seal: Option<&Seal>, row: &StoredAccount) -> Result<Option<Secret>, String> {
    let Some(sealed) = &row.sealed_credential else { return Ok(None) };
    let StoredAccount { id, name, .. } = row;
    let lost = format!("if it is lost, remove the account from the store: DELETE FROM accounts WHERE id = '{id}'");
    let Some(seal) = seal else {
        return Err(format!(
            "the credential of the account `{name}` is sealed, and ENCRYPTION_KEY is not set: set the key that it was \
             sealed with; {lost}"
        ));
    };
    seal.open(id, sealed).map(Some).map_err(|fault| match fault {
        Unopened::AnotherKey => format!(
            "the credential of the account `{name}` {fault}: set that one as ENCRYPTION_KEY, or as \
             ENCRYPTION_KEY_PREVIOUS beside a new one; {lost}"
        ),
        Unopened::Damaged => {
            format!("the credential of the account `{name}` {fault} in the store: restore a backup; {lost}")
        }
    })
}
