//! `sealift keys rekey-root`: the keystore under another root key.

use std::path::{Path, PathBuf};

use clap::Args;
use sealift_agent::{
    Error, Exit, World,
    admin::{Keys as Act, NewRootKey, Request, RootKeyChanged, RootKeyForm, RootKeyWrapped},
    write_new,
};
use sealift_keys::RootSecret;

use crate::{
    cli::Global,
    commands::{ask, rows},
    output::{self, Outcome, counted},
};

/// What the file that is named last holds.
const FILES: [&str; 2] = ["root_key_passphrase_file", "root_key_wrapped_file"];

#[derive(Debug, Args)]
pub(crate) struct RekeyRoot {
    /// The new root key; a file that is not there is made
    #[arg(long, value_name = "FILE", required_unless_present_any = FILES, conflicts_with_all = FILES)]
    root_key_file: Option<PathBuf>,
    /// A file whose first line is the passphrase that opens the keystore from now on
    #[arg(long, value_name = "FILE", conflicts_with = "root_key_wrapped_file")]
    root_key_passphrase_file: Option<PathBuf>,
    /// The new root key as a key service wrapped it; made with --under
    #[arg(long, value_name = "FILE")]
    root_key_wrapped_file: Option<PathBuf>,
    /// The key of a key service that is to make and wrap it, as in aws-kms/alias/root
    #[arg(long, value_name = "KEY", requires = "root_key_wrapped_file")]
    under: Option<String>,
}

impl RekeyRoot {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        let new = self.new_root_key(global).await?;
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
    async fn new_root_key(&self, global: &Global) -> Result<NewRootKey, Error> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
        if let Some(path) = &self.root_key_passphrase_file {
            return Ok(NewRootKey {
                file: absolute(path)?,
                holds: RootKeyForm::Passphrase,
            });
        }
        if let Some(path) = &self.root_key_wrapped_file {
            let file = absolute(path)?;
            if let Some(under) = &self.under {
                wrap(global, under, &file).await?;
            }
            let holds = RootKeyForm::Wrapped;
            return Ok(NewRootKey { file, holds });
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
        let holds = RootKeyForm::Key;
        Ok(NewRootKey { file, holds })
    }
}

/// Has a root key made and wrapped, and its file durable before anything is sealed under it.
async fn wrap(global: &Global, under: &str, file: &Path) -> Result<(), Error> {
    if file.exists() {
        return Err(Error::Request {
            what: "--root-key-wrapped-file",
            found: format!("{}, which is there already", file.display()),
            allowed: "another name, or this one without --under".to_owned(),
        });
    }
    let under = under.to_owned();
    let (_site, answers) = ask(global, Request::Keys(Act::WrapRoot { under })).await?;
    let mut text = String::new();
    rows(answers, |wrapped: RootKeyWrapped| {
        text = wrapped.text;
        Ok(())
    })
    .await?;
    write_new(file, text.as_bytes(), 0o600)
}
