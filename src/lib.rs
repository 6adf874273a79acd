//! LiveTranslate Central: the architecture page.
//!
//! One gateway that an operator runs and customers see as one address: it relays realtime voice translation
//! to DashScope, serves the APIs of OpenAI, Anthropic and DashScope over a pool of upstream accounts, issues licenses
//! and API keys, and keeps quotas so exactly that they can be billed.
//!
//! ```text
//!  customer's program                      one worker thread                             DashScope
//!  ┌────────────────┐ WebSocket ┌───────────────┐  Up  ┌──────────────┐ WebSocket ┌──────────────────┐
//!  │ SDK, browser,  │◄─────────►│ ClientSession │─────►│ UpstreamLink │◄─────────►│ LiveTranslate,   │
//!  │ livetranslate  │           │   (a shell)   │◄─────│ Relay, lease │           │ Omni, Gummy      │
//!  └────────────────┘           └───────────────┘ Down └──────┬───────┘           └──────────────────┘
//!                                                             │ demand, settle       main thread
//!                                 ┌────────┐  end, drain  ┌───▼─────────┐   one     ┌───────────────┐
//!                       admin ───►│ Roster │─────────────►│ QuotaKeeper │──────────►│ SQLite or     │
//!                                 └────────┘  (to links)  │    Book     │transaction│ PostgreSQL    │
//!                                                         └─────────────┘           └───────────────┘
//! ```
//!
//! # Floors
//! Every room imports only from floors below its own, and never from its parent; `tests/it/shape.rs` keeps it so.
//!
//! | floor | rooms |
//! | --- | --- |
//! | 8 | `main.rs`, [`cli`]: one file per command |
//! | 7 | [`app`]: opens the store, starts the actors, binds, drains: the only file that knows everyone |
//! | 6 | [`api`]: the front door. Every route in `routes`, who may come in in `guard`, one file per endpoint group; `document` makes `/openapi.json` of all that |
//! | 5 | [`gateway`]: what handlers may use |
//! | 4 | [`session`]: one live translation: the paired actors `client` and `link`, the pure `relay` (with `endings`), `legs` (with `replacement`), `leg`, `segments`, `source`, `customer`, `replay`, `dialogue`, `meter` and `watch`, the byte credit of `flow`, who is live in `roster` and `places`, what became of them, and of HTTP calls, elsewhere in `rounds` |
//! |   | [`completion`]: one HTTP call. The pure `head`, `outgoing`, `failure`, `relay`, `meter` and `usage`; the shells `call` (from account to account), `attempt` (one of them) and `pump` (a stream to its end); `bill`: what it owes |
//! | 3 | [`accounts`]: the operator's upstream accounts, read from environment and store into the pool; [`quota`]: the `keeper` actor and its handle, the pure `book`, `account`, `allot` and `window`, the transaction in `ledger` with `admission` and `takeover`; `healing` and the `heartbeat` look after other instances; `survival`, `absence` and `shelter` carry sessions through an absence of the store; for HTTP calls the pure `purse` and `rate`, `calls` and the transaction in `call_ledger`, `rates` with `shared_rate` over `redis`, who may not go on in `running`; [`retention`]: removes what is old enough, an hour at a time |
//! | 2 | [`upstream`]: the back door, and the `pool` of accounts with the pure `choice`, `health`, `models` and `breaker`; [`store`]: the cellar, where diesel lives; [`signer`]: signs and verifies licenses' tokens; [`seal`]: credentials at rest; [`credentials`]: whom the store has found good; [`logs`]: starts the log |
//! | 1 | [`wire`]: words on our wires; [`config`], [`ids`], [`clock`], [`error`], [`metrics`]: leaves; [`license`]: what a license and a key are, [`holder`]: what both together allow, [`payer`]: whose budgets count |
//! | beside | [`simulator`], the stand-in upstream, and [`client`], the customer's client: both know only floor 1 |
//!
//! # Four actors
//! Each owns state that changes over time; everything else is a function.
//!
//! | actor | owns | lives |
//! | --- | --- | --- |
//! | [`session::client::ClientSession`] | the customer's socket | as long as the socket. While its customer takes no data it is not polled, so it keeps no clock |
//! | [`session::link::UpstreamLink`] | the provider's sockets ([`session::wires`]), the session's [`session::relay::Relay`], its clock, meter, seat and lease | until the session's usage is written: it outlives the customer's socket, and the provider's |
//! | [`quota::keeper::QuotaKeeper`] | the [`quota::book::Book`] of open accounts | as long as the process |
//! | the roster's ([`session::places`]) | who is live, who can be taken up, MAX_SESSIONS and CONTINUITY_MEMORY_BYTES | as long as the process |
//!
//! The two halves of a session start on their worker's own arbiter, so a frame crosses no thread; what passes
//! between them ([`session::messages`]) is `Send` all the same, since a customer who comes back may come in on
//! another worker. Sockets are numbered: one that was replaced is not heard.
//!
//! # Walks
//! *An audio frame.* [`api::realtime`] admits a session once: guard → seat on the roster → account with the keeper
//! → dial → 101. Then: socket → [`session::frames`] (decode, join) → [`session::client`] → [`session::link`] →
//! [`session::relay`]: does the lease cover it? → provider. A frame that it doesn't cover is held, and all behind
//! it, while the keeper answers a demand. The relay never learns who pays; the store is never touched per frame.
//!
//! *A leg is lost.* A connection to the provider is a leg, and has a number. [`session::segments`] follows which
//! stretches of speech a leg has answered for; [`session::source`] keeps the client's frames from there on. When
//! the leg breaks, is silent or dead, [`session::replacement`] dials another, tells it the settings that the
//! provider had taken ([`session::script`]), and sends it what was kept; its greeting is withheld, its times are put
//! on the session's line, captions that the client has already are hidden ([`session::leg`]). Near its cap a leg is
//! replaced while it lives: the new one is ready first, begins in a pause, and speaks when the old one's tail is out.
//!
//! *A customer is lost.* With `?resumable=1` the relay has a [`session::customer`]: every event is counted into a
//! [`session::replay`] and sent from there as the socket takes it. When the socket breaks, the link goes on
//! listening; the roster knows it by the hash of its token. A new socket asks the link
//! ([`session::messages::TakeUp`]), gets what it missed, and sends its audio from the sample that the link has. What
//! is answered for, delivered and durably booked is acknowledged: the client may forget it.
//!
//! *A sample booked.* The link raises the session's high-water mark in its [`quota::tally::Tally`]. Once a second,
//! and whenever somebody asks, the keeper takes every changed account into one [`quota::batch::Batch`];
//! [`quota::ledger::write`] books the marks, gives back unused leases, and answers demands by one guarded `UPDATE`
//! for each license, all in one transaction. While it runs, requests queue for the next. The store's
//! threads give way to those that relay.
//!
//! *The store goes away.* A transaction fails, or doesn't answer by the next tick → [`quota::survival`]: sessions are
//! granted their next seconds out of the cushion that each license's sessions here have reserved beforehand
//! ([`quota::cushion`]), at will where no budget limits them; who was let in before ([`credentials`]) comes in again;
//! and beside a PostgreSQL every session's absolute marks go into a local spool ([`store::spool`]), once a second. When
//! the store answers, what it has is read again, one transaction turns what was granted into leases and usage, and
//! the spool is emptied. A process that dies meanwhile leaves its spool to the next one in its DATA_DIR
//! ([`quota::replay`]). After STORE_GRACE_SECONDS sessions end with `storage_unavailable`.
//!
//! *A session moves.* Its token comes in on another instance → [`quota::keeper::Quota::resume`] → the next batch →
//! [`quota::takeover`]: the row gets this instance and the next epoch, the old lease goes back, and what is booked
//! counts as forwarded. Whoever had it finds the epoch changed with its next line, and books nothing more. A crash
//! leaves rows behind: [`quota::healing`] settles and parks them, at once where the next process starts in the same
//! DATA_DIR ([`store::residence`]), else when the instance was silent for 15 s while the store answered.
//!
//! *A word for other instances.* Whatever changes licenses, keys or others' sessions raises a version in its own
//! transaction ([`store::announcements`]); PostgreSQL notifies of it. [`session::rounds`] looks once a second and at
//! each notification, and tells the roster which sessions here must end, or end at another time. Upstream accounts have
//! a version of their own, which [`accounts`] looks at once a second.
//!
//! *A chat call.* [`api::serve`]: guard (asks the store about a credential once a second at most) → [`completion::head`]
//! reads what must be known of the body → [`quota::rates`] → the call's share of its license's budgets → a task of its
//! own, [`completion::call`]: choose an account → [`completion::outgoing`] says the request in its words, unknown fields
//! intact → [`completion::attempt`] waits for the first byte that the caller may see. Until then a failure that is the
//! account's ([`completion::failure`]) leads to the next account; one that is the request's is told in the provider's
//! words. A stream then goes through [`completion::relay`], event by event, at the caller's pace: bytes are kept, or
//! translated by [`upstream::native`] where the account is called in DashScope's own protocol; what speaks of our
//! account is replaced. When the caller leaves, [`completion::pump`] reads on. Before the last word goes out, the bill
//! is settled.
//!
//! *A call booked.* [`quota::purse`] holds in the store what this instance may give out for a license, so that most
//! calls begin without asking; where little is left it holds nothing in advance, and each call waits for the keeper.
//! What an answer cost is a line in the journal ([`store::journal`]) before its last byte leaves: it survives the
//! process. A few times a second, and when somebody waits or reads, [`quota::call_ledger`] books all that gathered and
//! sets the holds anew, in one transaction; then the journal's segment goes. While the store is away the lines stay,
//! and a process that dies leaves them to the next one in its DATA_DIR. A call has an id: booked twice it counts once.
//!
//! *A budget.* It is a license's, or one of its keys': whoever uses a key is counted on both, in one step. Who pays has
//! one name ([`payer`]), by which holds and cushions are kept. Fixed windows begin anew with the clocks of their time
//! zone ([`quota::window`]); rolling ones count in slices of time ([`store::charging`]) and forget a slice when it has
//! left whole, so that no window of that length holds more than was allowed. A reset moves the mark from which a budget
//! counts; the ledger stays. Beyond its soft limit answers warn.
//!
//! *A report.* Whatever writes a row of usage, or begins a session, adds to [`store::usage_sums`] in the same transaction:
//! quarters of an hour, at which the days of every time zone begin, and days, each in several grains. A question over a
//! span of time is cut ([`store::usage_span`]) into the coarsest sums that answer it exactly, and rows at the ragged
//! ends. Rows go after USAGE_RETENTION_DAYS ([`retention`]), sums stay. [`store::reconciliation`] holds budgets against
//! them.
//! *A call's pace.* [`quota::rates`] asks [`quota::shared_rate`], where REDIS_URL is set: one script takes from the
//! buckets of license and key, by Redis' clock, or from none, and notes the call as running under a lease that is
//! renewed while it runs. [`quota::redis`] sends what many calls ask in one go; whoever waits in vain for the first time
//! has waited for all: until Redis answers again each process goes by its own [`quota::rate`].
//!
//! *A call may not go on.* What a call goes by is in [`quota::running`] while it runs. A change of its license or key
//! puts it in doubt, here at once ([`gateway::Gateway::license_changed`]), elsewhere by [`session::rounds`]; one
//! question tells how all of them stand. [`api::serve`] then answers a call that waits, [`completion::pump`] ends a
//! stream with an error event; what they cost is found out and booked as when a caller leaves.
//!
//! *A license.* [`api::admin`] makes id and time → [`store`] → [`signer`] → 201. On each use the guard verifies the
//! signature and then asks the store, which is the truth: suspension, revocation and new limits win over the token.
//! A change is told to the roster, which tells the license's live sessions, and announced to other instances.
//!
//! *A key.* It belongs to a license, and may have limits and budgets of its own: whoever asks what is allowed asks the
//! [`holder`] of both, and a use is charged to both or to neither. A key that joined a license narrows it; for one that
//! came without, a license was made, whose fields are the key's. *A plan* fills in what a new license leaves out
//! (`api::admin::filling`); the license keeps its copy. *A seat* ([`api::seats`]) is a row that one activation at a time
//! may add to its license; a machine that has sent heartbeats, and stops, gives it up.
//!
//! *An account.* [`accounts`] reads those of the environment and, with credentials that [`seal`] opens, those of the
//! store; one that can't be opened is found at start. Whoever calls a provider over HTTP asks the [`upstream::pool`]
//! for one: by model, then priority, then weight among the healthy ([`upstream::choice`]); a conversation stays where
//! its prompt cache is. What came of the call is reported, and makes the account's [`upstream::health`]: cool-downs by
//! kind of failure, of one model ([`upstream::models`]) or of all, and a [`upstream::breaker`], in which bad answers to one caller alone weigh nothing
//! ([`upstream::failures`]). Another account is tried only before the first byte.
//!
//! *A backup.* [`store::backup`] reads one moment of either store, table by table, whatever the tables are
//! ([`store::tables`]), into a SQLite file of the same schema, which gets its name when it is whole. [`store::restore`]
//! copies such a file, brings it up to date, and puts it into a store that nobody uses, in one transaction. What instances
//! held doesn't come along: nothing is reserved, and sessions that were live are settled by the next instance.
//!
//! *A change by the operator.* [`api::admin::access`] lets in whoever has ADMIN_KEY, from an address that
//! [`api::admin::lockout`] has not shut out for guessing. The change and its line in the audit log, with what
//! [`api::admin::difference`] finds between before and after, are one transaction.
//!
//! *An error.* Any room returns [`error::Error`]; its row decides HTTP status, code and close code. Before the
//! upgrade [`api::answer`] makes it a JSON body; in a session it is an `error` event and a close frame. Our own
//! causes go to the log once, with the request id.
//!
//! *The end.* SIGTERM → [`app::Running::stop`]: `/readyz` says 503, the roster refuses and tells every link to go
//! away; a link asks its provider to flush after the running sentence, says goodbye, closes with 1001, settles;
//! when no account is open the process exits.
//!
//! # What always holds
//! - Audio goes upstream only under a lease that covers the whole frame. All leases and all usage of a license
//!   together pass its budget by one frame of at most a second, in all ([`quota::allot`]).
//! - A session's mark only rises, and each step starts from the mark that the store has: a transaction whose
//!   outcome is unknown is read again, never repeated. Usage rows are appended, and cover each sample once.
//! - One instance at a time books for a session: each write carries its epoch, and who took it over has raised it.
//!   An ack is told only after the transaction that wrote it, and its samples are booked by then.
//! - What is granted while the store is away was reserved before, and is reserved still if the outcome of the last
//!   transaction is unknown ([`quota::cushion::floor`]); what is reserved so counts as remaining for people.
//! - A spool holds absolute marks: entered again, it changes nothing. New work is refused before a disk is full.
//! - `max_sessions` is counted in the store, over all instances; who is away for longest gives way.
//! - Each queue is bounded: messages towards the customer by 256 KiB of byte credit, towards the provider by 256 KiB
//!   ([`session::flow`]), each charged at least 1 KiB; when one is full its source is not read.
//! - A slow customer (30 s without taking data) is closed with 4008 and cut; a slow provider stops the customer's
//!   being read, and is given up after 30 s; both rules are [`session::watch`]'s.
//! - All calls of a license together pass a budget in tokens by what one call uses beyond what was left for it, and what
//!   calls use beyond their own limits; a budget in requests by nothing. What is held for calls is part of what is
//!   reserved, and comes back when they end, or when their instance is gone.
//! - A call is tried again only before its first byte, and booked once, by the answer that its caller got. A stream
//!   costs memory for what is under way, not for its length: two events wait for the caller, then the provider is not
//!   read.
//! - Every event passes byte for byte. Added are only: an `error` event before a close by the gateway, upstream
//!   `session.finish` (LiveTranslate) when the customer left without it or may send no more, and what leg replacement
//!   needs: one `response.done` for a response that was cut short, times on the session's line.
//! - A sample is billed once, however many legs, sockets and instances it went through: what is sent again lies below
//!   the session's mark. A caption whose `.done` was delivered is not said again within an epoch.
//! - What continuity keeps is bounded: a replay of 2 MiB, 58 s of source audio (3 MiB) a session,
//!   CONTINUITY_MEMORY_BYTES over all; beyond it those who are away for longest go first.
//! - Secrets, audio and text never reach a log; secrets print as `***`.
//!
//! # Seams
//! Other ways to a provider belong in [`upstream`], another dialect of callers in [`completion::api`]; more listeners of one speaker beside [`session::customer`].
pub mod accounts;
pub mod api;
pub mod app;
pub mod cli;
pub mod client;
pub mod clock;
pub mod completion;
pub mod config;
pub mod credentials;
pub mod error;
pub mod gateway;
pub mod holder;
pub mod ids;
pub mod license;
pub mod logs;
pub mod metrics;
pub mod payer;
pub mod quota;
pub mod retention;
pub mod seal;
pub mod session;
pub mod signer;
pub mod simulator;
pub mod store;
pub mod upstream;
pub mod wire;
