//! Every rule by which saved objects are made fit for another cluster, on a real API server.
//!
//! The table names each rule's tests. Those under `needs` fail without the rule, which is itself tested; those under
//! `spares` show what the rule must leave alone.

mod letter;
mod made_elsewhere;
mod metadata;
mod place;
mod services;
mod volumes;
mod workloads;

use std::panic::AssertUnwindSafe;

use ckbackup::restore::RULES;
use futures::FutureExt;

macro_rules! rules {
    ($($rule:ident { needs: $needs:tt, spares: $spares:tt $(,)? })+) => {
        /// The rules that have a test which fails without them.
        const TESTED: &[&str] = &[$(stringify!($rule)),+];

        $(mod $rule {
            #[allow(unused_imports)]
            use crate::rules::*;
            rules!(@needs $rule $needs);
            rules!(@spares $spares);
        })+
    };
    (@needs $rule:ident [$($module:ident::$test:ident),+ $(,)?]) => {$(
        #[tokio::test]
        async fn $test() {
            $module::$test().await;
            fails_without(&stringify!($rule).replace('_', "-"), $module::$test()).await;
        }
    )+};
    (@spares [$($module:ident::$test:ident),* $(,)?]) => {$(
        #[tokio::test]
        async fn $test() {
            $module::$test().await;
        }
    )*};
}

rules! {
    being_deleted {
        needs: [made_elsewhere::what_was_being_deleted_stays_deleted],
        spares: [metadata::finalizers_of_living_objects_stay],
    }
    mirror_pods {
        needs: [made_elsewhere::a_mirror_of_a_static_pod_is_left_to_the_kubelet],
        spares: [],
    }
    controller_owned {
        needs: [
            made_elsewhere::what_a_controller_makes_is_left_to_it,
            made_elsewhere::claims_of_ephemeral_volumes_are_left_to_their_pod,
        ],
        spares: [
            made_elsewhere::what_nobody_would_make_again_is_restored,
            made_elsewhere::what_an_operator_owns_is_restored,
        ],
    }
    finished {
        needs: [workloads::what_came_to_its_end_does_not_run_again],
        spares: [workloads::what_has_not_come_to_its_end_runs],
    }
    generated_token_secrets {
        needs: [made_elsewhere::generated_tokens_are_left_out],
        spares: [made_elsewhere::token_secrets_by_hand_and_other_secrets_are_restored],
    }
    cluster_made {
        needs: [
            made_elsewhere::what_the_api_server_made_is_left_to_it,
            made_elsewhere::what_other_parts_of_a_cluster_make_is_left_to_them,
        ],
        spares: [made_elsewhere::namesakes_of_what_clusters_make_are_restored],
    }
    server_set_metadata {
        needs: [metadata::an_object_as_saved_is_refused_and_is_created_without_what_servers_set],
        spares: [metadata::names_labels_and_annotations_stay],
    }
    owner_references {
        needs: [metadata::references_carry_the_new_uid_of_a_restored_owner_or_are_left_out],
        spares: [],
    }
    token_secret_data {
        needs: [made_elsewhere::a_token_secret_by_hand_comes_back_without_the_old_token],
        spares: [made_elsewhere::token_secrets_by_hand_and_other_secrets_are_restored],
    }
    service_account_tokens {
        needs: [made_elsewhere::a_service_account_keeps_only_the_secrets_that_come_back],
        spares: [],
    }
    cluster_ips {
        needs: [services::a_service_gets_a_new_cluster_ip, services::a_load_balancer_gets_new_addresses],
        spares: [services::services_without_a_cluster_ip_stay_without],
    }
    node_ports {
        needs: [services::node_ports_are_given_anew, services::a_load_balancer_gets_new_addresses],
        spares: [services::node_ports_are_preserved_where_the_plan_says_so],
    }
    volume_bindings {
        needs: [
            volumes::a_volume_awaits_its_claim_by_name,
            volumes::a_claim_keeps_its_volume_only_when_that_is_in_the_backup,
            volumes::a_bound_claim_without_a_class_is_given_none,
        ],
        spares: [volumes::claims_keep_what_they_ask_for],
    }
    job_selectors {
        needs: [workloads::a_job_gets_a_selector_of_its_own],
        spares: [workloads::a_job_with_a_manual_selector_keeps_it, workloads::labels_with_a_jobs_name_stay],
    }
    deployment_revisions {
        needs: [workloads::a_deployments_revisions_are_counted_anew],
        spares: [],
    }
    namespace_finalizers {
        needs: [metadata::a_namespace_gets_only_the_finalizer_that_the_server_sets],
        spares: [],
    }
    pod_placement {
        needs: [workloads::a_pod_is_placed_anew, workloads::a_pod_gets_the_priority_that_its_class_has_now],
        spares: [workloads::a_pod_keeps_its_volumes_tokens_and_tolerations],
    }
    status {
        needs: [metadata::status_is_not_restored_where_it_is_a_subresource],
        spares: [metadata::status_is_restored_where_it_is_part_of_the_object],
    }
}

#[test]
fn every_rule_has_a_test() {
    let tested: Vec<_> = TESTED.iter().map(|name| name.replace('_', "-")).collect();
    let rules: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(tested, rules);
}

/// A test that passes without the rule it is for shows nothing.
async fn fails_without(rule: &str, test: impl Future<Output = ()>) {
    assert!(RULES.iter().any(|known| known.name == rule), "there is no rule {rule}");
    let outcome = place::WITHOUT.scope(rule.to_string(), AssertUnwindSafe(test).catch_unwind()).await;
    assert!(outcome.is_err(), "it passes without the rule {rule}");
}
