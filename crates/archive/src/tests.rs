//! The properties an archive holds, over a real disk, keystore and catalog.

mod canaries;
mod compacting;
mod continuing;
mod damage;
mod failing;
mod following;
mod layers;
mod meeting;
mod merging;
mod needing;
mod ordering;
mod purging;
mod quotas;
mod rebuilding;
mod reserve;
mod resuming;
mod rewrapping;
mod scrubbing;
mod shares;
mod site;
mod storing;
mod writing;
