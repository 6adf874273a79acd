//! A disk without room: new work is refused in plain words, before old work is lost.

use serde_json::json;

use crate::support::app::{TestApp, on_sqlite_with};
use crate::support::customer::MODEL;

#[test]
fn a_full_disk_is_said_plainly_and_takes_no_new_work() {
    let no_disk_is_so_large = |config: &mut livetranslate::config::Config| config.store.disk_margin_bytes = 1 << 62;
    on_sqlite_with(no_disk_is_so_large, async |app: &TestApp| {
        let alice = app.licensee(60.0).await;
        let health = loop {
            let health = app.operator().get("/health").await;
            if health.body["components"]["database"] != "ok" {
                break health;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!((health.status, &health.body["status"]), (200, &json!("degraded")));
        assert_eq!(health.body["components"]["database"], "disk full");
        assert_eq!(app.operator().get("/readyz").await.status, 503);
        let refusal = alice.refusal(&format!("/v1/realtime?model={MODEL}")).await;
        assert_eq!((refusal.status, refusal.code()), (503, "storage_unavailable"));
        assert!(refusal.header("retry-after").is_some());
    });
}
