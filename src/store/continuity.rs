//! The sentences about sessions that outlive their instance: parked, taken over, giving way.

use diesel::prelude::*;

use super::backend::AnyConnection;
use super::page::{Page, lower, pattern};
use super::schema::{api_keys, licenses, sessions};
use crate::error::Error;
use crate::payer;

/// A session as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = sessions)]
pub struct SessionRow {
    /// The session.
    pub id: String,
    /// Who pays.
    pub license_id: String,
    /// The API key it came with.
    pub key_id: Option<String>,
    /// Model.
    pub model: String,
    /// The process that holds it, or held it last.
    pub instance_id: String,
    /// `live`, `parked` or `ended`.
    pub status: String,
    /// When it was admitted.
    pub started_at_us: i64,
    /// High-water mark, samples.
    pub booked_samples: i64,
    /// Lease, samples.
    pub leased_samples: i64,
    /// Samples in the usage ledger.
    pub recorded_samples: i64,
    /// Input tokens booked.
    pub booked_input_tokens: i64,
    /// Output tokens booked.
    pub booked_output_tokens: i64,
    /// Input tokens in the usage ledger.
    pub recorded_input_tokens: i64,
    /// Output tokens in the usage ledger.
    pub recorded_output_tokens: i64,
    /// One more with each instance that took it over.
    pub epoch: i64,
    /// Hash of its resume token.
    pub resume_hash: Option<String>,
    /// Until when it can be resumed, where it is parked.
    pub resume_until_us: Option<i64>,
    /// Since when no client is attached.
    pub away_since_us: Option<i64>,
    /// What the client has set, JSON.
    pub settings: Option<String>,
    /// Done up to here, samples at the client's rate.
    pub ack_samples: i64,
    /// Likewise, metered samples.
    pub ack_metered: i64,
    /// Why the operator wants it to end.
    pub end_wanted: Option<String>,
}

/// The sessions with these ids, in no order.
///
/// # Errors
/// The store's.
pub fn find_all(connection: &mut AnyConnection, ids: &[String]) -> Result<Vec<SessionRow>, Error> {
    Ok(sessions::table.filter(sessions::id.eq_any(ids)).select(SessionRow::as_select()).load(connection)?)
}

/// The sessions whose resume tokens have these hashes, in no order.
///
/// # Errors
/// The store's.
pub fn by_resume_hash(connection: &mut AnyConnection, hashes: &[String]) -> Result<Vec<SessionRow>, Error> {
    let resumable = sessions::table.filter(sessions::resume_hash.eq_any(hashes));
    Ok(resumable.select(SessionRow::as_select()).load(connection)?)
}

/// What became of a session, its license and its key.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Standing {
    /// The session.
    pub id: String,
    /// The process that holds it.
    pub instance_id: String,
    /// `live`, `parked` or `ended`.
    pub status: String,
    /// Why the operator wants it to end.
    pub end_wanted: Option<String>,
    /// The license's status.
    pub license_status: String,
    /// The license's end.
    pub license_expires_at_us: Option<i64>,
    /// The key's status, where it came with one.
    pub key_status: Option<String>,
    /// The key's end.
    pub key_expires_at_us: Option<i64>,
}

/// What became of these sessions; of one that is not written yet, nothing.
///
/// # Errors
/// The store's.
pub fn standings(connection: &mut AnyConnection, ids: &[String]) -> Result<Vec<Standing>, Error> {
    Ok(sessions::table
        .inner_join(licenses::table.on(licenses::id.eq(sessions::license_id)))
        .left_join(api_keys::table.on(sessions::key_id.eq(api_keys::id.nullable())))
        .filter(sessions::id.eq_any(ids))
        .select((
            sessions::id,
            sessions::instance_id,
            sessions::status,
            sessions::end_wanted,
            licenses::status,
            licenses::expires_at_us,
            api_keys::status.nullable(),
            api_keys::expires_at_us.nullable(),
        ))
        .load(connection)?)
}

/// What a page of live sessions is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// A part of the session's, license's or key's id, or of the model.
    pub text: Option<String>,
    /// One license's sessions.
    pub license_id: Option<String>,
}

/// One page of live sessions, by their start; one row more than the page holds when there are more.
///
/// # Errors
/// The store's.
pub fn list(connection: &mut AnyConnection, filter: &Filter, page: &Page) -> Result<Vec<SessionRow>, Error> {
    let mut query = sessions::table.filter(sessions::status.eq("live")).into_boxed();
    if let Some(license_id) = &filter.license_id {
        query = query.filter(sessions::license_id.eq(license_id.clone()));
    }
    if let Some(text) = &filter.text {
        let wanted = pattern(text);
        let in_ids =
            sessions::id.like(wanted.clone()).escape('\\').or(sessions::license_id.like(wanted.clone()).escape('\\'));
        let in_key = lower(sessions::key_id).like(wanted.clone()).escape('\\').assume_not_null();
        let in_model = lower(sessions::model.nullable()).like(lower(wanted)).escape('\\').assume_not_null();
        query = query.filter(in_ids.or(in_model).or(sessions::key_id.is_not_null().and(in_key)));
    }
    if let Some((time_us, id)) = page.after.clone() {
        query = if page.newest_first {
            let tie = sessions::started_at_us.eq(time_us).and(sessions::id.lt(id));
            query.filter(sessions::started_at_us.lt(time_us).or(tie))
        } else {
            let tie = sessions::started_at_us.eq(time_us).and(sessions::id.gt(id));
            query.filter(sessions::started_at_us.gt(time_us).or(tie))
        };
    }
    query = if page.newest_first {
        query.order((sessions::started_at_us.desc(), sessions::id.desc()))
    } else {
        query.order((sessions::started_at_us.asc(), sessions::id.asc()))
    };
    Ok(query.limit(page.limit + 1).select(SessionRow::as_select()).load(connection)?)
}

/// How many sessions are live.
///
/// # Errors
/// The store's.
pub fn count_live(connection: &mut AnyConnection) -> Result<i64, Error> {
    Ok(sessions::table.filter(sessions::status.eq("live")).count().get_result(connection)?)
}

/// Gives sessions that have not ended to an instance: their epoch rises, what they were leased they hold no more.
///
/// # Errors
/// The store's.
pub fn take_over(connection: &mut AnyConnection, ids: &[String], instance_id: &str) -> Result<usize, Error> {
    let not_ended = sessions::table.filter(sessions::id.eq_any(ids)).filter(sessions::status.ne("ended"));
    let taken = diesel::update(not_ended).set((
        sessions::instance_id.eq(instance_id),
        sessions::epoch.eq(sessions::epoch + 1),
        sessions::status.eq("live"),
        sessions::leased_samples.eq(sessions::booked_samples),
        sessions::away_since_us.eq(None::<i64>),
        sessions::resume_until_us.eq(None::<i64>),
        sessions::end_reason.eq(None::<String>),
        sessions::ended_at_us.eq(None::<i64>),
    ));
    Ok(taken.execute(connection)?)
}

/// Makes sessions live again whose instance was wrongly taken for gone; what they were leased was given back.
///
/// # Errors
/// The store's.
pub fn revive(connection: &mut AnyConnection, ids: &[String]) -> Result<usize, Error> {
    let healed = sessions::table
        .filter(sessions::id.eq_any(ids))
        .filter(sessions::status.ne("live"))
        .filter(sessions::end_reason.eq_any(["crashed", "window_over"]))
        .filter(sessions::end_wanted.is_null());
    let revived = diesel::update(healed).set((
        sessions::status.eq("live"),
        sessions::resume_until_us.eq(None::<i64>),
        sessions::end_reason.eq(None::<String>),
        sessions::ended_at_us.eq(None::<i64>),
    ));
    Ok(revived.execute(connection)?)
}

/// How many sessions of these licenses have a client, or may have one again.
///
/// # Errors
/// The store's.
pub fn count_living(
    connection: &mut AnyConnection,
    license_ids: &[String],
) -> Result<Vec<(String, Option<String>, i64)>, Error> {
    let living = sessions::table
        .filter(sessions::license_id.eq_any(license_ids))
        .filter(sessions::status.eq_any(["live", "parked"]))
        .filter(sessions::away_since_us.is_null().or(sessions::resume_hash.is_not_null()))
        .group_by((sessions::license_id, sessions::key_id))
        .select((sessions::license_id, sessions::key_id, diesel::dsl::count_star()));
    Ok(living.load(connection)?)
}

/// The sessions of a license, or of one of its keys, whose client may come back, longest away first.
///
/// # Errors
/// The store's.
pub fn longest_away(
    connection: &mut AnyConnection,
    (license_id, key_id): (&str, &str),
    most: i64,
) -> Result<Vec<SessionRow>, Error> {
    let mut away = sessions::table
        .filter(sessions::license_id.eq(license_id))
        .filter(sessions::status.eq_any(["live", "parked"]))
        .filter(sessions::away_since_us.is_not_null())
        .filter(sessions::resume_hash.is_not_null())
        .order((sessions::away_since_us, sessions::id))
        .limit(most)
        .into_boxed();
    if key_id != payer::NO_KEY {
        away = away.filter(sessions::key_id.eq(key_id));
    }
    Ok(away.select(SessionRow::as_select()).load(connection)?)
}

/// Ends parked sessions for good. Their accounts are settled already.
///
/// # Errors
/// The store's.
pub fn end_parked(connection: &mut AnyConnection, ids: &[String], reason: &str) -> Result<usize, Error> {
    let parked = sessions::table.filter(sessions::id.eq_any(ids)).filter(sessions::status.eq("parked"));
    let ended = diesel::update(parked).set((
        sessions::status.eq("ended"),
        sessions::end_reason.eq(reason),
        sessions::resume_hash.eq(None::<String>),
        sessions::resume_until_us.eq(None::<i64>),
        sessions::settings.eq(None::<String>),
    ));
    Ok(ended.execute(connection)?)
}

/// Ends for good the parked sessions whose window was over before `now_us`.
///
/// # Errors
/// The store's.
pub fn end_windows(connection: &mut AnyConnection, now_us: i64) -> Result<usize, Error> {
    let over = sessions::table.filter(sessions::status.eq("parked")).filter(sessions::resume_until_us.le(now_us));
    let ids: Vec<String> = over.select(sessions::id).load(connection)?;
    if ids.is_empty() { Ok(0) } else { end_parked(connection, &ids, "window_over") }
}

/// Notes that the operator wants a live session to end; its instance sees to it. False if it isn't live.
///
/// # Errors
/// The store's.
pub fn want_end(connection: &mut AnyConnection, id: &str, why: &str) -> Result<bool, Error> {
    let live = sessions::table.filter(sessions::id.eq(id)).filter(sessions::status.eq("live"));
    Ok(diesel::update(live).set(sessions::end_wanted.eq(why)).execute(connection)? > 0)
}

/// A session's account as a spool has it.
#[derive(Debug, Clone)]
pub struct Raised {
    /// The session.
    pub id: String,
    /// High-water mark, samples.
    pub booked_samples: i64,
    /// Lease, samples.
    pub leased_samples: i64,
    /// Input tokens booked.
    pub booked_input_tokens: i64,
    /// Output tokens booked.
    pub booked_output_tokens: i64,
    /// Samples in the usage ledger.
    pub recorded_samples: i64,
    /// Input tokens in the usage ledger.
    pub recorded_input_tokens: i64,
    /// Output tokens in the usage ledger.
    pub recorded_output_tokens: i64,
    /// Done up to here, samples at the client's rate.
    pub ack_samples: i64,
    /// Likewise, metered samples.
    pub ack_metered: i64,
    /// The client's settings, if they changed.
    pub settings: Option<String>,
    /// Why and when it ended, if it did.
    pub ended: Option<(String, i64)>,
}

/// Sets a session's account, whatever its state: under the ledger's lock only, after a look at it.
///
/// # Errors
/// The store's.
pub fn raise(connection: &mut AnyConnection, raised: &Raised) -> Result<(), Error> {
    let marks = (
        sessions::booked_samples.eq(raised.booked_samples),
        sessions::leased_samples.eq(raised.leased_samples),
        sessions::booked_input_tokens.eq(raised.booked_input_tokens),
        sessions::booked_output_tokens.eq(raised.booked_output_tokens),
        sessions::recorded_samples.eq(raised.recorded_samples),
        sessions::recorded_input_tokens.eq(raised.recorded_input_tokens),
        sessions::recorded_output_tokens.eq(raised.recorded_output_tokens),
        sessions::ack_samples.eq(raised.ack_samples),
        sessions::ack_metered.eq(raised.ack_metered),
        raised.settings.as_ref().map(|settings| sessions::settings.eq(settings)),
    );
    diesel::update(sessions::table.find(&raised.id)).set(marks).execute(connection)?;
    if let Some((reason, ended_at_us)) = &raised.ended {
        let end = (
            sessions::status.eq("ended"),
            sessions::end_reason.eq(reason),
            sessions::ended_at_us.eq(ended_at_us),
            sessions::resume_hash.eq(None::<String>),
            sessions::settings.eq(None::<String>),
        );
        diesel::update(sessions::table.find(&raised.id)).set(end).execute(connection)?;
    }
    Ok(())
}
