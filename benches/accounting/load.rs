//! Fills a ledger as a year's business would: many licenses of unequal size, some with keys, a few models each.

use std::io;
use std::time::Instant;

use diesel::connection::SimpleConnection;
use livetranslate::store::connection::Store;

/// How many licenses there are.
pub(crate) const LICENSES: u64 = 2_000;
/// The days over which usage is spread.
pub(crate) const DAYS: i64 = 89;
/// The tokens of each row, which its key has too.
pub(crate) const ROW_TOKENS: i64 = 150;
/// What the gateway sums existing rows up with.
const MIGRATION: &str = include_str!("../../migrations/2026-11-21-090000_usage_sums/up.sql");

/// Runs statements.
pub(crate) fn execute(store: &Store, statements: &str) -> io::Result<()> {
    store.run_blocking(|connection| Ok(connection.batch_execute(statements)?)).map_err(io::Error::other)
}

/// The id of a row.
pub(crate) fn row_id(number: u64) -> String {
    format!("call_{number:016x}")
}

/// When a row was written.
pub(crate) fn row_time_us(number: u64, events: u64, now_us: i64) -> i64 {
    let span = i128::from(DAYS) * 86_400_000_000;
    let since = span * i128::from(number) / i128::from(events);
    now_us - (span - since) as i64
}

/// Licenses, keys, `events` rows of usage up to `now_us`, sessions, and the sums of them all.
pub(crate) fn fill(store: &Store, events: u64, now_us: i64) -> io::Result<()> {
    let begun = Instant::now();
    let step = |what: &str| println!("  {:4} s: {what}", begun.elapsed().as_secs());
    let span = DAYS * 86_400_000_000;
    execute(
        store,
        "SET statement_timeout = 0; SET synchronous_commit = off; SET work_mem = '256MB'; \
         SET maintenance_work_mem = '512MB'",
    )?;
    execute(
        store,
        &format!(
            "INSERT INTO licenses (id, token_id, label, status, scopes, models, allowed_ips, limits, metadata, \
         created_at_us, updated_at_us) SELECT 'lic_' || lpad(n::text, 6, '0'), '', 'Customer ' || n, \
         CASE WHEN n % 20 = 0 THEN 'suspended' ELSE 'active' END, '[]', '[]', '[]', '{{}}', '{{}}', \
         {now_us} - {span} + n, {now_us} FROM generate_series(0, {LICENSES} - 1) AS n; \
         INSERT INTO api_keys (id, license_id, own_license, secret_hash, label, status, created_at_us, updated_at_us) \
         SELECT 'key' || lpad(n::text, 6, '0'), 'lic_' || lpad(n::text, 6, '0'), FALSE, md5(n::text), 'Key ' || n, \
         'active', {now_us} - {span} + n, {now_us} FROM generate_series(0, {LICENSES} - 1) AS n WHERE n % 2 = 0; \
         INSERT INTO budgets (id, license_id, unit, window_span, window_mode, tz, limit_units, period_start_us) \
         SELECT 'bud_' || lpad(n::text, 6, '0'), 'lic_' || lpad(n::text, 6, '0'), 'tokens', 'lifetime', 'fixed', \
         'UTC', 1000000000000000, 0 FROM generate_series(0, {LICENSES} - 1) AS n"
        ),
    )?;
    step("licenses and keys");
    // The square makes some licenses large: the largest hundredth has a tenth of all.
    execute(
        store,
        &format!(
            "INSERT INTO usage_events (session_id, mark_samples, mark_tokens, license_id, key_id, model, samples, \
         input_tokens, output_tokens, occurred_at_us, requests, cached_tokens, reasoning_tokens, usage_source, route, \
         account) SELECT 'call_' || lpad(to_hex(n), 16, '0'), 0, {ROW_TOKENS}, 'lic_' || lpad(l::text, 6, '0'), \
         CASE WHEN l % 2 = 0 AND n % 3 > 0 THEN 'key' || lpad(l::text, 6, '0') END, \
         'model-' || (l + n % 3) % 10, CASE WHEN n % 4 = 0 THEN 16000 * (n % 60) ELSE 0 END, 100, 50, \
         {now_us} - {span} + ({span} * (n::numeric / {events}))::bigint, CASE WHEN n % 4 = 0 THEN 0 ELSE 1 END, 10, 5, \
         'upstream', CASE WHEN n % 4 = 0 THEN 'realtime' ELSE 'chat' END, 'env-dashscope' \
         FROM (SELECT n, floor({LICENSES} * power(random(), 2))::bigint AS l \
               FROM generate_series(0::bigint, {events} - 1) AS n) AS drawn"
        ),
    )?;
    step(&format!("{events} rows of usage"));
    execute(
        store,
        &format!(
            "INSERT INTO sessions (id, license_id, model, instance_id, status, started_at_us, ended_at_us) \
         SELECT 'sess_' || n, 'lic_' || lpad((n % {LICENSES})::text, 6, '0'), 'model-' || n % 10, 'ins', 'ended', \
         {now_us} - {span} + ({span} * (n::numeric / ({events} / 100 + 1)))::bigint, {now_us} \
         FROM generate_series(0::bigint, {events} / 100) AS n"
        ),
    )?;
    execute(store, "DELETE FROM usage_sums")?;
    let (_, sums) = MIGRATION.split_once("-- sums of what is there").unwrap_or_default();
    execute(store, sums)?;
    step("their sums");
    for table in ["usage_events", "usage_sums", "sessions", "licenses", "api_keys", "budgets"] {
        execute(store, &format!("VACUUM ANALYZE {table}"))?;
    }
    execute(store, "CHECKPOINT")?;
    step("as after a night's vacuum");
    Ok(())
}
