//! sealift itself: two agents, everything on.

use std::io;

use super::{Contender, Job, Run};
use crate::sites::{self, Sites};

pub struct Sealift;

impl Contender for Sealift {
    fn name(&self) -> String {
        "sealift".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "AES-256-GCM"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let place = job.place.join("sites");
        let sites = job.tools.authority.sites(&place, job.source, job.hosts);
        let ours = sites.replicate(job.ready, job.files.len() as u64);
        if job.checked {
            self.check(job, &sites)?;
        }
        Ok(Run {
            taken: ours.taken,
            busy: Some(ours.busy),
            ours: Some(ours),
        })
    }
}

impl Sealift {
    /// Restores what was archived and compares it with the files.
    pub fn check(&self, job: &Job<'_>, sites: &Sites) -> io::Result<()> {
        let restored = sites::text(&job.place.join("restored"));
        let bucket = format!("{}/", sites::BUCKET);
        let config = sites.config("b");
        sites::run(&["restore", &bucket, &restored, "-c", &config]);
        // From a bucket they come under the names they have in it.
        let placed = job.place.join("restored/work");
        match placed.is_dir() {
            true => job.compare(&placed),
            false => job.compare(restored.as_ref()),
        }
    }
}
