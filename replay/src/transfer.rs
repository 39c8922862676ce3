//! Exporting the log into files, and importing it from them.

use std::error::Error;
use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_compression::tokio::bufread::ZstdDecoder;
use async_compression::tokio::write::ZstdEncoder;
use clap::ValueEnum;
use orion_store::seal::LogPublicKey;
use orion_store::transfer::{self, ExportError, ImportError, Importer};
use orion_store::{MasterKeys, log};
use serde_json::json;
use sqlx::PgPool;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};

use crate::Format;
use crate::output::{done, progress_bar, progress_bar_of_bytes};
use crate::verbs::Outcome;

/// How much is written and read at a time.
const BUFFER: usize = 1 << 20;

/// What a zstd file begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How an export is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// Zstandard, RFC 8878.
    Zstd,
}

/// Where to, and what.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The file for the events; there must be none of that name yet.
    file: PathBuf,
    /// A file for the keys, which the events are read with; wrapped by the master key.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Makes the file smaller.
    #[arg(long, value_enum)]
    compress: Option<Compression>,
    /// How what was done is told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// From where.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// What `export` has written; whether it is compressed is seen.
    file: PathBuf,
    /// The keys that were exported with it.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The public keys of who signed the log, as `/.well-known/orion-log-key` gives them; unset: those of
    /// the settings, or nobody's.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How what was done is told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Writes the log into a file, and the keys into another.
pub async fn export(pool: &PgPool, export: &Export) -> Outcome {
    let bar = progress_bar(log::head(pool).await?.0.unsigned_abs());
    let written = |events| bar.inc(events);
    let (part, file) = Part::create(&export.file).await?;
    let mut output = BufWriter::with_capacity(BUFFER, file);
    let mut keys = match &export.keys {
        Some(path) => {
            let (part, file) = Part::create(path).await?;
            Some((part, BufWriter::with_capacity(BUFFER, file)))
        }
        None => None,
    };
    let keys_output = keys.as_mut().map(|(_, output)| output);
    let exported = match export.compress {
        None => transfer::export(pool, &mut output, keys_output, &written).await,
        Some(Compression::Zstd) => {
            let mut encoder = ZstdEncoder::new(&mut output);
            let exported = transfer::export(pool, &mut encoder, keys_output, &written).await;
            match encoder.shutdown().await {
                Ok(()) => exported,
                Err(error) => exported.and(Err(error.into())),
            }
        }
    };
    bar.finish_and_clear();
    let exported = exported.map_err(|error| {
        let is_of_keys = matches!(error, ExportError::WriteKeys(_));
        of_file(export.keys.as_ref().filter(|_| is_of_keys).unwrap_or(&export.file), error)
    })?;
    // Both or none get their names, the keys first: events that can be seen have their keys.
    let mut parts = Vec::new();
    if let Some((part, output)) = keys {
        parts.push(part.written(output).await?);
    }
    parts.push(part.written(output).await?);
    for part in parts {
        part.name().await?;
    }
    done(
        export.format,
        format_args!("exported  {} events\nroot      {}", exported.head, exported.root),
        &json!({ "events": exported.head, "root": exported.root, "sha256": exported.sha256 }),
    )
}

/// Reads a log from a file into an empty database.
pub async fn import(
    pool: &PgPool,
    masters: MasterKeys,
    log_keys: Vec<LogPublicKey>,
    import: &Import,
) -> Outcome {
    let keys = match &import.keys {
        Some(path) => Some(BufReader::new(read(path).await?)),
        None => None,
    };
    let file = read(&import.file).await?;
    let length = file.metadata().await.map_err(|error| of_file(&import.file, error))?.len();
    let bar = progress_bar_of_bytes(length);
    let mut input = BufReader::with_capacity(BUFFER, bar.wrap_async_read(file));
    let begins = input.fill_buf().await.map_err(|error| of_file(&import.file, error))?;
    let mut input: Box<dyn AsyncBufRead + Unpin + Send> = if begins.starts_with(&ZSTD_MAGIC) {
        let mut decoder = ZstdDecoder::new(input);
        decoder.multiple_members(true);
        Box::new(BufReader::with_capacity(BUFFER, decoder))
    } else {
        Box::new(input)
    };
    let importer = Importer { masters, keys, log_keys, must_be_signed: import.key.is_some() };
    let imported = transfer::import(pool, &mut input, importer).await;
    bar.finish_and_clear();
    let imported = imported.map_err(|error| {
        let is_of_keys = matches!(
            error,
            ImportError::ReadKeys(_) | ImportError::Key { .. } | ImportError::ForeignKey { .. }
        );
        of_file(import.keys.as_ref().filter(|_| is_of_keys).unwrap_or(&import.file), error)
    })?;
    let signed = match imported.signed {
        Some(size) => format!("the first {size}"),
        None => "not verified: no checkpoint came with it, or no public key is known".to_owned(),
    };
    done(
        import.format,
        format_args!(
            "imported  {} events\nroot      {}\nsigned    {signed}",
            imported.head, imported.root
        ),
        &json!({ "events": imported.head, "root": imported.root, "signed": imported.signed }),
    )
}

async fn read(path: &Path) -> Result<File, String> {
    File::open(path).await.map_err(|error| of_file(path, error))
}

impl Import {
    /// Refuses what is not there, before a database is made for it.
    pub fn look(&self) -> Result<(), String> {
        for path in [Some(&self.file), self.keys.as_ref()].into_iter().flatten() {
            std::fs::File::open(path).map_err(|error| of_file(path, error))?;
        }
        Ok(())
    }
}

/// An error and its causes, with the file that it is about.
fn of_file(path: &Path, error: impl Error) -> String {
    format!("{}: {}", path.display(), crate::line(&error))
}

/// A file that has its name when it is whole: until then it is called `<name>.part`, and removed if
/// nothing comes of it.
struct Part {
    path: PathBuf,
    part: PathBuf,
}

impl Part {
    /// Makes the file. It is readable by its owner only: a log tells much even without its keys.
    async fn create(path: &Path) -> Result<(Self, File), String> {
        if tokio::fs::try_exists(path).await.map_err(|error| of_file(path, error))? {
            return Err(format!("{}: there is such a file already", path.display()));
        }
        let mut part = OsString::from(path);
        part.push(".part");
        let part = PathBuf::from(part);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = OpenOptions::from(options).open(&part).await;
        let file = file.map_err(|error| of_file(&part, error))?;
        Ok((Self { path: path.to_owned(), part }, file))
    }

    /// Waits until all of it is on the disk.
    async fn written(self, mut output: BufWriter<File>) -> Result<Self, String> {
        let failed = |error| of_file(&self.path, error);
        output.flush().await.map_err(failed)?;
        output.get_ref().sync_all().await.map_err(failed)?;
        Ok(self)
    }

    /// Gives it its name.
    async fn name(self) -> Result<(), String> {
        let renamed = tokio::fs::rename(&self.part, &self.path).await;
        renamed.map_err(|error| of_file(&self.path, error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already when it was finished.
        let _ = std::fs::remove_file(&self.part);
    }
}
