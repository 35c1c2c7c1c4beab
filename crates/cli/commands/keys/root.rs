//! `sealift keys rekey-root`: the keystore under another root key.

use std::path::{Path, PathBuf};

use clap::Args;
use sealift_agent::{
    Error, Exit, World,
    admin::{Keys as Act, NewRootKey, Request, RootKeyChanged},
    write_new,
};
use sealift_keys::RootSecret;

use crate::{
    cli::Global,
    commands::{ask, rows},
    output::{self, Outcome, counted},
};

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RekeyRoot {
    /// The new root key; a file that is not there is made
    #[arg(long, value_name = "FILE")]
    root_key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase that opens the keystore from now on
    #[arg(long, value_name = "FILE")]
    root_key_passphrase_file: Option<PathBuf>,
}

impl RekeyRoot {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let new = self.new_root_key()?;
        let request = Request::Keys(Act::RekeyRoot(new));
        let (_site, answers) = ask(global, request).await?;
        rows(answers, |changed: RootKeyChanged| {
            let keys = counted(changed.keys as u64, "key is", "keys are");
            let (file, setting) = (changed.file.display(), &changed.setting);
            let text = format!(
                "{keys} sealed under the root key in {file}\n\
                 Name it now in the configuration: {setting} = \"{file}\", and start the agent \
                 again. What is sealed under the root key before stays until then."
            );
            output::row(global.json, &changed, text)
        })
        .await?;
        Ok(Exit::Done)
    }

    /// Absolute: whoever reads the file may run elsewhere.
    fn new_root_key(&self) -> Result<NewRootKey, Error> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
        if let Some(path) = &self.root_key_passphrase_file {
            return Ok(NewRootKey {
                file: absolute(path)?,
                is_passphrase: true,
            });
        }
        let file = absolute(
            self.root_key_file
                .as_deref()
                .unwrap_or(Path::new("root.key")),
        )?;
        if !file.exists() {
            let secret = RootSecret::generate(&*World::real().rng);
            let text = secret.to_file_text().unwrap_or_default();
            write_new(&file, text.as_bytes(), 0o600)?;
        }
        Ok(NewRootKey {
            file,
            is_passphrase: false,
        })
    }
}
