//! What every implementation of the traits must do, as functions that panic where
//! it does not. Each takes a function that makes a new, empty ledger.
//!
//! ```text
//!  conformance::journal(|| …).await     conformance::catalog(|| …).await
//!                    conformance::audit(|| …).await
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc
)]

mod audit;
mod catalog;
mod catalog_rebuild;
mod damage;
mod journal;
mod journal_batches;
mod journal_purges;
mod journal_queue;
mod layers;
mod notes;
pub mod sample;

use std::sync::Arc;

use crate::{AuditLog, Catalog, Journal};

/// A new journal.
pub type MadeJournal = Arc<dyn Journal>;
/// A new catalog and the audit log that is written with its commits.
pub type MadeCatalog = (Arc<dyn Catalog>, Arc<dyn AuditLog>);

/// Holds a [`Journal`] to its words.
pub async fn journal(make: impl Fn() -> MadeJournal) {
    journal::known_keys_come_in_the_order_of_their_bytes(&*make()).await;
    journal::what_is_known_is_the_highest_order(&*make()).await;
    journal::recording_twice_keeps_one_transfer(&*make()).await;
    journal::how_a_version_stands_is_told_with_those_whose_ids_begin_as_its_own(&*make()).await;
    journal::all_facts_of_a_transfer_come_back(&*make()).await;
    journal::listings_filter_and_go_on(&*make()).await;
    journal::a_new_rule_finds_what_was_never_sent(&*make()).await;
    journal::a_new_rule_finds_what_was_removed_here_and_lives_there(&*make()).await;
    journal::small_memories_are_kept(&*make()).await;
    journal::intents_are_kept_by_bucket_until_they_are_forgotten(&*make()).await;
    journal_queue::a_lease_is_exclusive(make()).await;
    journal_queue::what_is_not_due_is_not_leased(&*make()).await;
    journal_queue::what_goes_ahead_is_leased_before_what_waits(&*make()).await;
    journal_queue::a_batch_is_settled_whole_or_not_at_all(&*make()).await;
    journal_queue::outcomes_change_status_and_counts(&*make()).await;
    journal_queue::completed_stays_completed(&*make()).await;
    journal_queue::requeue_takes_what_it_names(&*make()).await;
    journal_queue::a_version_that_the_peer_found_damaged_is_sent_there_again(&*make()).await;
    journal_queue::a_peer_that_rolled_back_gets_the_later_ones_again(&*make()).await;
    journal_queue::a_version_is_queued_again_whatever_became_of_it(&*make()).await;
    journal_queue::what_was_left_out_is_queued_by_itself(&*make()).await;
    journal_queue::what_was_there_before_it_was_left_out_is_known_to_be_there(&*make()).await;
    journal_queue::old_rows_fold_into_one_per_key(&*make()).await;
    journal_queue::of_deleted_keys_stays_what_a_peer_that_lost_all_is_sent(&*make()).await;
    journal_queue::tags_fold_no_version_and_older_tags_of_their_own(&*make()).await;
    journal_batches::a_cancelled_batch_leaves_everything_as_it_stood(&*make()).await;
    journal_batches::what_is_on_its_way_has_its_outcome_or_is_put_back(&*make()).await;
    journal_batches::a_paused_batch_waits_until_it_goes_on(&*make()).await;
    journal_batches::what_became_owed_since_is_not_taken_back(&*make()).await;
    journal_batches::what_two_batches_queued_is_sent_for_the_one_that_is_left(&*make()).await;
    journal_batches::what_a_batch_came_to_stays_whatever_is_queued_again(&*make()).await;
    journal_batches::what_rules_leave_out_of_a_batch_has_not_failed(&*make()).await;
    journal_batches::what_a_batch_alone_wants_is_not_late(&*make()).await;
    journal_batches::so_many_batches_are_remembered(&*make()).await;
    journal_purges::what_was_sent_comes_in_key_order_with_its_purge(&*make()).await;
    journal_purges::a_purge_is_held_back_and_nothing_queues_it_earlier(&*make()).await;
    journal_purges::a_purge_that_was_left_out_or_given_up_is_queued_again(&*make()).await;
    journal_purges::what_a_purge_is_found_by_does_not_fold(&*make()).await;
}

/// Holds a [`Catalog`] to its words.
pub async fn catalog(make: impl Fn() -> MadeCatalog) {
    catalog::a_commit_is_known_with_its_receipt(&*make().0).await;
    catalog::latest_is_the_highest_order_whatever_came_first(&*make().0).await;
    catalog::the_same_version_again_is_known_or_a_conflict(&*make().0).await;
    catalog::a_version_sealed_anew_takes_the_place_of_that_sealing_alone(&*make().0).await;
    catalog::a_group_is_looked_up_as_its_versions_one_by_one(&*make().0).await;
    catalog::sequences_grow_in_the_order_of_commits(&*make().0).await;
    let (made, log) = make();
    catalog::a_commit_is_whole_or_nothing(&*made, &*log).await;
    catalog::listings_go_on_where_they_ended(&*make().0).await;
    catalog::tags_and_purges_take_effect(&*make().0).await;
    catalog::uploads_and_parts_are_kept_until_the_commit(&*make().0).await;
    catalog::packs_files_and_key_versions_are_counted(&*make().0).await;
    damage::a_damaged_version_is_taken_again_and_its_bytes_are_remembered(&*make().0).await;
    damage::only_the_sealing_that_was_examined_is_put_in_quarantine(&*make().0).await;
    damage::what_was_copied_moves_unless_it_rests_elsewhere_by_now(&*make().0).await;
    damage::a_file_tells_since_when_something_in_it_is_dead(&*make().0).await;
    damage::what_the_scrub_left_is_remembered(&*make().0).await;
    notes::are_kept_under_their_names_until_forgotten(&*make().0).await;
    layers::both_key_records_are_kept_and_counted(&*make().0).await;
    layers::an_upload_in_two_layers_comes_back_with_both(&*make().0).await;
    catalog_rebuild::finds_in_any_order_give_the_same_catalog(&make).await;
    catalog_rebuild::a_rebuild_begins_a_new_epoch_and_keeps_the_log(&make).await;
    catalog_rebuild::the_newest_mark_of_a_hold_says_which_notes_are_kept(&make).await;
}

/// Holds an [`AuditLog`] to its words.
pub async fn audit(make: impl Fn() -> MadeCatalog) {
    let (made, log) = make();
    audit::leaves_are_canonical_and_hashed(&*log).await;
    audit::leaves_of_a_commit_are_durable_with_it(&*made, &*log).await;
    audit::refusals_are_counted_together(&*make().1).await;
}
