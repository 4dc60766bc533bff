//! Refresh tokens: policies, rotation, loss.

use std::time::Duration;

use causeway_simulator::{Fault, FaultKind, OauthAction, RefreshPolicy};
use serde_json::{Value, json};

use crate::browser::{APP, connected, refresh, text};
use crate::client::Client;

fn dead() -> Value {
    json!({ "error": "invalid_grant", "error_description": "expired access/refresh token" })
}

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn a_policy_ends_refresh_tokens_by_age_by_idleness_or_at_once() {
    for (policy, ages) in [
        (RefreshPolicy::UntilRevoked, [200, 200, 200]),
        (RefreshPolicy::ExpireAfter, [200, 400, 400]),
        (RefreshPolicy::ExpireUnused, [200, 200, 400]),
        (RefreshPolicy::Immediately, [400, 400, 400]),
    ] {
        let org = Client::with_settings(|settings| {
            settings.refresh_policy = policy;
            settings.refresh_lifetime_s = 30 * 24 * 3_600;
        })
        .await;
        let tokens = connected(&org).await;
        for (days, expected) in [20, 20, 40].into_iter().zip(ages) {
            org.control().advance_clock(DAY * days);
            let (status, body) = refresh(&org, text(&tokens, "refresh_token")).await;
            assert_eq!(status, expected, "{policy:?} {days}");
            assert!(status == 200 || body == dead(), "{body}");
        }
        org.control().update_settings(|settings| settings.token_validity_expired = true);
        let (status, body) = refresh(&org, text(&tokens, "refresh_token")).await;
        assert!(status == 200 || body["error_description"] == "token validity expired");
    }
}

#[tokio::test]
async fn several_sessions_of_one_refresh_token_live_side_by_side() {
    let mut org = Client::new().await;
    let tokens = connected(&org).await;
    let (_, second) = refresh(&org, text(&tokens, "refresh_token")).await;
    for token in [text(&tokens, "access_token"), text(&second, "access_token")] {
        org.token = token.to_owned();
        assert_eq!(org.get("limits").await.0, 200);
    }
}

#[tokio::test]
async fn a_sixth_refresh_token_ends_the_oldest_in_silence() {
    let org = Client::new().await;
    let mut tokens = Vec::new();
    for _ in 0..6 {
        tokens.push(connected(&org).await);
    }
    assert_eq!(refresh(&org, text(&tokens[0], "refresh_token")).await, (400, dead()));
    for kept in &tokens[1..] {
        assert_eq!(refresh(&org, text(kept, "refresh_token")).await.0, 200);
    }
}

#[tokio::test]
async fn a_rotated_answer_that_is_lost_costs_the_family_when_the_old_token_comes_again() {
    let mut org = Client::with_settings(|settings| settings.refresh_rotation = true).await;
    let tokens = connected(&org).await;
    let lost =
        Fault::once(FaultKind::CommitThenDrop).on_path("/services/oauth2/token").containing("grant_type=refresh_token");
    org.control().arm(lost);
    let form = [("grant_type", "refresh_token"), ("refresh_token", text(&tokens, "refresh_token")), APP[0], APP[1]];
    assert!(org.http.post(org.url("/services/oauth2/token")).form(&form).send().await.is_err());
    org.token = text(&tokens, "access_token").to_owned();
    assert_eq!(org.get("limits").await.0, 200);
    assert_eq!(refresh(&org, text(&tokens, "refresh_token")).await, (400, dead()));
    assert_eq!(org.get("limits").await.0, 401);
}

#[tokio::test]
async fn within_the_grace_the_old_token_gives_the_current_one_again() {
    let org = Client::with_settings(|settings| {
        settings.refresh_rotation = true;
        settings.refresh_grace_s = 60;
    })
    .await;
    let tokens = connected(&org).await;
    let first = text(&tokens, "refresh_token");
    let (_, rotated) = refresh(&org, first).await;
    org.control().advance_clock(Duration::from_secs(30));
    let (status, again) = refresh(&org, first).await;
    assert_eq!((status, &again["refresh_token"]), (200, &rotated["refresh_token"]));
    assert_ne!(again["access_token"], rotated["access_token"]);
    assert_eq!(org.control().oauth_audit().last().map(|entry| entry.action), Some(OauthAction::Forgiven));
    org.control().advance_clock(Duration::from_secs(31));
    assert_eq!(refresh(&org, first).await, (400, dead()));
    assert_eq!(refresh(&org, text(&rotated, "refresh_token")).await, (400, dead()));
}

#[tokio::test]
async fn a_refresh_from_elsewhere_is_refused_and_the_token_survives() {
    let org = Client::with_settings(|settings| settings.refresh_rotation = true).await;
    let tokens = connected(&org).await;
    org.control().update_settings(|settings| settings.refresh_ip_ranges = vec!["10.0.0.0/8".into()]);
    let (status, body) = refresh(&org, text(&tokens, "refresh_token")).await;
    assert_eq!((status, text(&body, "error_description")), (400, "ip restricted or invalid login hours"));
    org.control().update_settings(|settings| settings.refresh_ip_ranges = vec!["127.0.0.0/8".into()]);
    assert_eq!(refresh(&org, text(&tokens, "refresh_token")).await.0, 200);
}

#[tokio::test]
async fn the_instance_may_move_between_refreshes() {
    let org = Client::new().await;
    let tokens = connected(&org).await;
    assert_eq!(text(&tokens, "instance_url"), org.simulator.base_url());
    org.control().update_settings(|settings| settings.instance_url = Some("https://moved.my.salesforce.com".into()));
    let (_, body) = refresh(&org, text(&tokens, "refresh_token")).await;
    assert_eq!(text(&body, "instance_url"), "https://moved.my.salesforce.com");
    assert_eq!(body.get("refresh_token"), None);
}

#[tokio::test]
async fn another_app_cannot_use_a_refresh_token_and_does_not_burn_it() {
    let org = Client::with_settings(|settings| settings.refresh_rotation = true).await;
    org.control().register_app(causeway_simulator::ConnectedApp::new("thief", "s")).unwrap();
    let tokens = connected(&org).await;
    let token = text(&tokens, "refresh_token");
    let form =
        [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", "thief"), ("client_secret", "s")];
    assert_eq!(org.token(&form).await, (400, dead()));
    assert_eq!(refresh(&org, token).await.0, 200);
}

#[tokio::test]
async fn an_administrator_revokes_what_an_app_was_given() {
    let mut org = Client::new().await;
    let tokens = connected(&org).await;
    org.token = text(&tokens, "access_token").to_owned();
    let request = org.http.post(org.url("/_sim/oauth/revoke")).json(&json!({ "client_id": "causeway-dev" }));
    let (status, body) = crate::client::read(request.send().await.unwrap()).await;
    assert_eq!((status, body), (200, json!({ "revoked": 1 })));
    assert_eq!(refresh(&org, text(&tokens, "refresh_token")).await, (400, dead()));
    assert_eq!(org.get("limits").await.0, 401);
}
