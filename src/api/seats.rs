//! `POST /v1/licenses/…`: a customer's program asks whether its license is good, and for a seat on it.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::time::Instant;

use super::admin::body::Body;
use super::admin::checks;
use super::guard::{self, Caller};
use super::refusal::Refusal;
use super::shown;
use crate::clock;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::license::Limits;
use crate::payer;
use crate::quota::rate::Subject;
use crate::quota::rates::Pass;
use crate::store::accounting;
use crate::store::backend::AnyConnection;
use crate::store::machines::{self, Machine};
use crate::store::{keys, licenses};
use crate::wire::machines::{
    ActivationView, Deactivated, MachineFields, MachineView, Released, SeatsView, ValidatedLicense, ValidationView,
};

const LONGEST_FINGERPRINT: usize = 255;
const LONGEST_NAME: usize = 200;
/// Where a license names no `max_machines`.
const MOST_MACHINES: u64 = 10_000;
/// What the machines of one license may ask in a minute, besides its calls.
const QUESTIONS: u64 = 6_000;

/// `POST …/validate`: 200 with `valid` and a constant `code`, whatever comes of it. Without a fingerprint the license
/// alone is looked at.
///
/// # Errors
/// `InvalidRequest` for a body of another shape; `StorageUnavailable`, `Internal`: nothing is known of the license then.
pub async fn validate(request: HttpRequest, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let fields = read(&body)?;
    match examine(&request, gateway, fields).await {
        Err(refusal) if refusal.row().status < 500 => Ok(answer(StatusCode::OK, &verdict(&Err(refusal)))),
        outcome => Ok(outcome?),
    }
}

async fn examine(request: &HttpRequest, gateway: Data<Gateway>, fields: MachineFields) -> Result<HttpResponse, Error> {
    let (caller, usable) = guard::examine(request).await?;
    let _pass = pace(&gateway, &caller).await?;
    let (now, seat) = (clock::now(), Seat::of(&gateway, &caller, fields)?);
    let license = ValidatedLicense {
        id: caller.license.id.clone(),
        key_id: caller.key.as_ref().map(|key| key.id.clone()),
        plan: caller.license.plan.clone(),
        status: shown::status(&caller.license, now),
        expires_at: caller.holder().expires_at(),
    };
    let (timeout, asks) = (seat.timeout, seat.fingerprint.is_some());
    let found = gateway.store.run(move |connection| seat.look(connection, &caller)).await?;
    let outcome = if asks { usable.and(found.outcome) } else { usable };
    let machine = found.machine.map(|machine| view(machine, timeout)).transpose()?;
    let view = ValidationView { license: Some(license), machine, seats: Some(found.seats), ..verdict(&outcome) };
    Ok(answer(StatusCode::OK, &view))
}

/// `POST …/activate`: 201 with the machine that took a seat, 200 where it has one already.
///
/// # Errors
/// `MachineLimit` when no seat is free; `InvalidRequest`, naming the field at fault; what the license is refused for.
pub async fn activate(caller: Caller, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let seat = Seat::wanted(&gateway, &caller, &body)?;
    let (_pass, timeout) = (pace(&gateway, &caller).await?, seat.timeout);
    let taken = gateway.store.run(move |connection| {
        accounting::transaction(connection, |connection| {
            let (new, machine) = seat.take(connection)?;
            Ok((new, machine, seat.look(connection, &caller)?.seats))
        })
    });
    let (new, machine, seats) = taken.await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(status, &ActivationView { machine: view(machine, timeout)?, seats }))
}

/// `POST …/deactivate`: its seat is free; again answers the same.
///
/// # Errors
/// `InvalidRequest`, naming the field at fault; what the license is refused for.
pub async fn deactivate(caller: Caller, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let seat = Seat::wanted(&gateway, &caller, &body)?;
    let _pass = pace(&gateway, &caller).await?;
    let done = gateway.store.run(move |connection| {
        let fingerprint = seat.name()?.to_owned();
        machines::delete(connection, &seat.license_id, &fingerprint)?;
        Ok((fingerprint, seat.look(connection, &caller)?.seats))
    });
    let (fingerprint, seats) = done.await?;
    let view = Deactivated { machine: Released { fingerprint, deactivated: true }, seats };
    Ok(answer(StatusCode::OK, &view))
}

/// `POST …/heartbeat`: the machine lives; it tells until when the next one is due.
///
/// # Errors
/// `MachineNotActivated`; `InvalidRequest`, naming the field at fault; what the license is refused for.
pub async fn heartbeat(caller: Caller, gateway: Data<Gateway>, body: Body) -> Result<HttpResponse, Refusal> {
    let seat = Seat::wanted(&gateway, &caller, &body)?;
    let (_pass, timeout) = (pace(&gateway, &caller).await?, seat.timeout);
    let found = gateway.store.run(move |connection| {
        let machine = (seat.license_id.as_str(), seat.name()?);
        machines::beat(connection, machine, seat.now.as_microsecond(), seat.dead_us)?;
        machines::find(connection, machine.0, machine.1, seat.dead_us)
    });
    let machine = found.await?.ok_or(Error::MachineNotActivated)?;
    Ok(answer(StatusCode::OK, &view(machine, timeout)?))
}

/// A seat that is asked for or about.
struct Seat {
    license_id: String,
    key_id: Option<String>,
    fingerprint: Option<String>,
    name: Option<String>,
    metadata: Option<String>,
    now: Timestamp,
    timeout: SignedDuration,
    /// Who was heard of then, and not since, is dead.
    dead_us: i64,
}

impl Seat {
    fn of(gateway: &Gateway, caller: &Caller, fields: MachineFields) -> Result<Self, Error> {
        let (now, timeout) = (clock::now(), timeout(gateway));
        Ok(Self {
            license_id: caller.license.id.clone(),
            key_id: caller.key.as_ref().map(|key| key.id.clone()),
            fingerprint: fields.fingerprint,
            name: fields.name,
            metadata: fields.metadata.map(|metadata| licenses::json(&metadata)).transpose()?,
            now,
            timeout,
            dead_us: dead_us(now, timeout),
        })
    }

    /// One that can't be asked for without a fingerprint.
    fn wanted(gateway: &Gateway, caller: &Caller, body: &Body) -> Result<Self, Error> {
        let seat = Self::of(gateway, caller, read(body)?)?;
        seat.name()?;
        Ok(seat)
    }

    fn name(&self) -> Result<&str, Error> {
        let missing = || Error::field("fingerprint", "fingerprint is missing: it tells this machine from others");
        self.fingerprint.as_deref().ok_or_else(missing)
    }

    /// Takes the seat inside a transaction; whether it is a new one.
    fn take(&self, connection: &mut AnyConnection) -> Result<(bool, Machine), Error> {
        machines::lock(connection, &self.license_id)?;
        machines::delete_dead(connection, &self.license_id, self.dead_us)?;
        let key_id = self.key_id.as_deref().unwrap_or(payer::NO_KEY).to_owned();
        let present = machines::find(connection, &self.license_id, self.name()?, self.dead_us)?;
        if present.as_ref().is_none_or(|machine| machine.key_id != key_id) {
            self.check(connection, present.is_none())?;
        }
        let now_us = self.now.as_microsecond();
        let new = present.is_none();
        let before = present.unwrap_or_else(|| Machine {
            license_id: self.license_id.clone(),
            fingerprint: self.fingerprint.clone().unwrap_or_default(),
            key_id: key_id.clone(),
            name: None,
            metadata: "{}".to_owned(),
            activated_at_us: now_us,
            seen_at_us: None,
        });
        let machine = Machine {
            key_id,
            name: self.name.clone().or(before.name),
            metadata: self.metadata.clone().unwrap_or(before.metadata),
            // Who sends heartbeats has sent one.
            seen_at_us: before.seen_at_us.map(|_| now_us),
            ..before
        };
        if new {
            machines::insert(connection, &machine)?;
        } else {
            machines::describe(connection, &machine)?;
        }
        Ok((new, machine))
    }

    /// Whether there is a seat for one machine more: on the license if it has none there, and for the key.
    fn check(&self, connection: &mut AnyConnection, on_license: bool) -> Result<(), Error> {
        // As they are now: whoever lowers them need not wait for us.
        let license = licenses::find(connection, &self.license_id)?.ok_or(Error::InvalidApiKey)?;
        let limit = license.limits.max_machines.map_or(MOST_MACHINES, |limit| limit.min(MOST_MACHINES));
        if on_license {
            refuse_beyond(limit, machines::count(connection, &self.license_id, self.dead_us)?)?;
        }
        let key = self.key_id.as_ref().map(|id| keys::find(connection, id)).transpose()?.flatten();
        if let Some((key, limit)) = key.and_then(|key| key.narrowing.limits.max_machines.map(|limit| (key, limit))) {
            refuse_beyond(limit, machines::count_of_key(connection, &self.license_id, &key.id, self.dead_us)?)?;
        }
        Ok(())
    }

    /// How it stands. The seats are those of the key where it has fewer left.
    fn look(&self, connection: &mut AnyConnection, caller: &Caller) -> Result<Standing, Error> {
        let found = match &self.fingerprint {
            Some(fingerprint) => machines::find(connection, &self.license_id, fingerprint, self.dead_us)?,
            None => None,
        };
        let max_machines = caller.license.limits.max_machines;
        let mut seats =
            SeatsView { machines: machines::count(connection, &self.license_id, self.dead_us)?, max_machines };
        let of_key = caller.key.as_ref().and_then(|key| key.narrowing.limits.max_machines.map(|limit| (key, limit)));
        if let Some((key, limit)) = of_key {
            let machines = machines::count_of_key(connection, &self.license_id, &key.id, self.dead_us)?;
            let of_key = SeatsView { machines, max_machines: Some(limit) };
            if left(of_key) < left(seats) {
                seats = of_key;
            }
        }
        let limit = Error::MachineLimit { limit: seats.max_machines.unwrap_or(MOST_MACHINES) };
        let outcome = match &found {
            None if left(seats) > 0 => Err(Error::MachineNotActivated),
            None => Err(limit),
            // A limit that was lowered is for who came first.
            Some(machine) => match max_machines.map(licenses::column) {
                Some(most) if machines::count_before(connection, machine, self.dead_us)? >= most => Err(limit),
                Some(_) | None => Ok(()),
            },
        };
        Ok(Standing { machine: found, outcome, seats })
    }
}

/// How a seat that is asked about stands.
struct Standing {
    /// The machine, if it has one.
    machine: Option<Machine>,
    /// What its program may be told of it.
    outcome: Result<(), Error>,
    seats: SeatsView,
}

fn left(seats: SeatsView) -> i64 {
    licenses::column(seats.max_machines.unwrap_or(MOST_MACHINES)) - seats.machines
}

fn refuse_beyond(limit: u64, taken: i64) -> Result<(), Error> {
    if taken >= licenses::column(limit) { Err(Error::MachineLimit { limit }) } else { Ok(()) }
}

fn read(body: &Body) -> Result<MachineFields, Error> {
    let fields: MachineFields = body.read_or_default()?;
    if let Some(fingerprint) = &fields.fingerprint {
        checks::text("fingerprint", fingerprint, LONGEST_FINGERPRINT)?;
    }
    if let Some(name) = &fields.name {
        checks::text("name", name, LONGEST_NAME)?;
    }
    if let Some(metadata) = &fields.metadata {
        checks::metadata_size(metadata)?;
    }
    Ok(fields)
}

async fn pace(gateway: &Gateway, caller: &Caller) -> Result<Pass, Error> {
    let limits = Limits { rpm_limit: Some(QUESTIONS), ..Limits::default() };
    let subject = Subject { id: format!("seats of {}", caller.license.id), limits };
    gateway.rates.enter(vec![subject], Instant::now()).await.0
}

/// After so long without a heartbeat a machine that has sent one is dead.
#[must_use]
pub fn timeout(gateway: &Gateway) -> SignedDuration {
    SignedDuration::from_secs(licenses::column(gateway.config.licenses.machine_timeout_seconds))
}

/// Who was heard of then, and not since, is dead at `now`.
#[must_use]
pub fn dead_us(now: Timestamp, timeout: SignedDuration) -> i64 {
    now.saturating_sub(timeout).unwrap_or(Timestamp::MIN).as_microsecond()
}

/// A machine as programs and the operator see it.
///
/// # Errors
/// `Internal`: a defect.
pub fn view(machine: Machine, timeout: SignedDuration) -> Result<MachineView, Error> {
    let last = machine.seen_at_us.map(clock::at);
    Ok(MachineView {
        fingerprint: machine.fingerprint,
        name: machine.name,
        key_id: Some(machine.key_id).filter(|key_id| key_id != payer::NO_KEY),
        metadata: serde_json::from_str(&machine.metadata).map_err(Error::internal)?,
        activated_at: clock::at(machine.activated_at_us),
        last_heartbeat_at: last,
        heartbeat_due_at: last.and_then(|last| last.saturating_add(timeout).ok()),
    })
}

fn verdict(outcome: &Result<(), Error>) -> ValidationView {
    let (valid, code, message) = match outcome {
        Ok(()) => (true, "valid", "the license may be used".to_owned()),
        Err(refusal) => (false, refusal.row().code, refusal.to_string()),
    };
    ValidationView { valid, code, message, license: None, machine: None, seats: None }
}

fn answer(status: StatusCode, view: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(view)
}
