//! How many files this process may have open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sealift_terms::limits::{FILES_KEPT_BACK, UPLOAD_FILES_MAX};

/// Raises the number of files that may be open to what the system allows at most:
/// the usual limit is meant for programs that wait with `select`.
///
/// # Errors
/// What the operating system says.
pub fn raise_file_limit() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    let most = Rlimit {
        current: maximum,
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, most)?)
}

/// Files of unfinished uploads that may be open: what the system allows, without
/// those that everything else needs.
pub(crate) fn upload_files_max() -> usize {
    of_limit(getrlimit(Resource::Nofile).current)
}

fn of_limit(limit: Option<u64>) -> usize {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.unwrap_or(usize::MAX);
    let kept = FILES_KEPT_BACK.min(limit / 2);
    (limit - kept).min(UPLOAD_FILES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        raise_file_limit().unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn some_files_are_kept_for_connections_and_databases() {
        assert_eq!(of_limit(Some(1024)), 512);
        assert_eq!(of_limit(Some(4096)), 4096 - FILES_KEPT_BACK);
        assert_eq!(of_limit(Some(1 << 40)), UPLOAD_FILES_MAX);
        assert_eq!(of_limit(None), UPLOAD_FILES_MAX);
    }
}
