//! A spool is entered as often as processes are killed on the way: always with the same books.

use diesel::prelude::*;
use livetranslate::clock;
use livetranslate::quota::{healing, replay};
use livetranslate::store::backend::AnyConnection;
use livetranslate::store::connection::{Location, Store};
use livetranslate::store::schema::sessions;
use livetranslate::store::spool::{Entry, Spool};
use proptest::prelude::*;
use serde_json::json;

use crate::support::app::on_both_stores;
use crate::support::ledger::{instance, recorded, sessions_stored, store_with, used_and_reserved};

#[derive(Debug, Clone)]
enum Act {
    /// The next marks of a session reach the spool: samples, tokens, and whether it ended.
    Spool(usize, i64, i64, bool),
    /// The spool is entered; maybe the process is killed before it can remove it.
    Replay,
    /// An older copy of the spool is entered.
    ReplayOld(usize),
    /// Somebody settles what the dead process has left behind.
    Heal,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..4, 0_i64..100_000, 0_i64..50, any::<bool>())
            .prop_map(|(who, samples, tokens, ended)| Act::Spool(who, samples, tokens, ended)),
        3 => Just(Act::Replay),
        2 => (0_usize..8).prop_map(Act::ReplayOld),
        1 => Just(Act::Heal),
    ]
}

fn entry(who: usize) -> Entry {
    Entry {
        session_id: format!("s{who}"),
        license_id: "lic".to_owned(),
        key_id: None,
        model: "m".to_owned(),
        instance_id: "dead".to_owned(),
        started_at_us: 1,
        resume_hash: (who.is_multiple_of(2)).then(|| format!("hash{who}")),
        epoch: 1,
        entered: false,
        samples: 0,
        input_tokens: 0,
        output_tokens: 0,
        ack_samples: 0,
        ack_metered: 0,
        end_reason: None,
        settings: None,
        written_at_us: 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_spool_means_the_same_however_often_it_is_entered(acts in prop::collection::vec(act(), 5..60)) {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(Location::Sqlite(folder.path().join("x.db")), 1 << 40);
        let mut entries: Vec<Entry> = (0..4).map(entry).collect();
        let mut spool = Spool::open(&folder.path().join("spool"), "dead").unwrap();
        let mut copies: Vec<Vec<Entry>> = Vec::new();
        let enter = |entries: &[Entry]| store.run_blocking(|c| replay::replay(c, entries, clock::now())).unwrap().moved;
        let heal = || store.run_blocking(|c| healing::heal(c, &[], &instance("other"), clock::now())).unwrap();
        for act in acts {
            match act {
                Act::Spool(who, samples, tokens, ended) => {
                    let session = &mut entries[who];
                    session.samples += samples;
                    session.input_tokens += tokens;
                    session.ack_samples = session.samples;
                    session.ack_metered = session.samples;
                    session.end_reason = session.end_reason.take().or_else(|| ended.then(|| "done".to_owned()));
                    spool.write(std::slice::from_ref(session)).unwrap();
                    copies.push(spool.entries().unwrap());
                }
                Act::Replay => { enter(&spool.entries().unwrap()); }
                Act::ReplayOld(age) => {
                    if let Some(copy) = copies.iter().rev().nth(age) {
                        enter(copy);
                    }
                }
                Act::Heal => { heal(); }
            }
        }
        // The next process finds the file without its owner.
        drop(spool);
        let mut orphan = Spool::orphans(&folder.path().join("spool")).unwrap().pop().unwrap();
        let kept = orphan.entries().unwrap();
        enter(&kept);
        prop_assert_eq!(enter(&kept), 0);
        orphan.remove();
        heal();
        let samples: i64 = kept.iter().map(|entry| entry.samples).sum();
        prop_assert_eq!(used_and_reserved(&store), (samples, 0));
        prop_assert_eq!(recorded(&store), samples);
        prop_assert!(sessions_stored(&store).iter().all(|(_, status, ..)| status != "live"));
    }
}

#[test]
fn settings_that_the_store_lacks_come_with_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(Location::Sqlite(folder.path().join("x.db")), 1 << 40);
    let enter = |entries: &[Entry]| store.run_blocking(|c| replay::replay(c, entries, clock::now())).unwrap().moved;
    let settings = || -> Option<String> {
        let read = |c: &mut AnyConnection| Ok(sessions::table.select(sessions::settings).first(c)?);
        store.run_blocking(read).unwrap()
    };
    let mut spool = Spool::open(&folder.path().join("spool"), "dead").unwrap();
    let french = Entry { samples: 1_600, settings: Some("french".to_owned()), ..entry(0) };
    spool.write(std::slice::from_ref(&french)).unwrap();
    spool.write(&[Entry { samples: 3_200, ..entry(0) }]).unwrap();
    let kept = spool.entries().unwrap();
    assert_eq!(enter(&kept), 1);
    assert_eq!(settings().as_deref(), Some("french"));
    assert_eq!(enter(&kept), 0);
    assert_eq!(enter(&[Entry { settings: Some("older".to_owned()), ..french }]), 0, "the store has heard more");
    enter(&[Entry { samples: 4_800, settings: Some("english".to_owned()), ..entry(0) }]);
    assert_eq!(settings().as_deref(), Some("english"));
}

#[test]
fn a_license_that_the_store_lacks_keeps_nobody_from_starting() {
    on_both_stores(async |app| {
        let license = app.operator().post("/admin/licenses", &json!({})).await.body;
        let spools = app.folder().join("data/spool");
        let mut spool = Spool::open(&spools, "dead").unwrap();
        let known = Entry { license_id: license["id"].as_str().unwrap().to_owned(), samples: 1_600, ..entry(0) };
        spool.write(&[known, Entry { samples: 3_200, ..entry(1) }]).unwrap();
        drop(spool);
        let next = app.start_beside(|config| config.store.data_dir = app.folder().join("data")).await;
        let read = |c: &mut AnyConnection| {
            Ok(sessions::table.select((sessions::id, sessions::booked_samples)).load::<(String, i64)>(c)?)
        };
        let store = Store::open(Location::parse(app.store_url()).unwrap()).unwrap();
        assert_eq!(store.run_blocking(read).unwrap(), [("s0".to_owned(), 1_600)]);
        assert!(spools.join("dead.unread").exists() && !spools.join("dead.db").exists());
        next.stop().await;
    });
}
