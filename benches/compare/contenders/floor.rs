//! The floor: the hand-written loop of `benches/end_to_end/floor`.

use std::{
    fs::{self, File},
    io::{self, BufReader},
};

use super::{Contender, Job, Run};
use crate::{
    arrived::Expected,
    floor,
    hosts::{self, Of},
};

pub struct Floor;

impl Contender for Floor {
    fn name(&self) -> String {
        "hand-written loop (the floor)".to_owned()
    }

    fn sealed(&self) -> &'static str {
        "AES-256-GCM"
    }

    fn run(&self, job: &Job<'_>) -> io::Result<Run> {
        let target = job.place.join("floor");
        fs::create_dir_all(&target)?;
        let before = hosts::busy("self", Of::Itself);
        let taken = floor::run(job.files, &target, floor::Tuning::BEST)?;
        let busy = hosts::busy("self", Of::Itself) - before;
        if job.checked {
            for (index, file) in job.files.iter().enumerate() {
                let sealed = BufReader::new(File::open(target.join(format!("{index:07}")))?);
                let mut expected = Expected::open(file)?;
                floor::open(index, sealed, |plain| expected.takes(plain))?;
                expected.ends_whole()?;
            }
        }
        Ok(Run {
            busy: Some(busy),
            ..Run::of(taken)
        })
    }
}
